// SPDX-License-Identifier: Apache-2.0
// Names of isolation levels.
#include "level.h"

const char *level_name(unsigned level)
{
    static const char *const names[LEVEL_COUNT] = {
        "standard", "probation", "severed", "offline", "decapitation", "immolation",
    };
    return level < LEVEL_COUNT ? names[level] : "unknown";
}

const char *level_cause_text(uint32_t cause)
{
    switch (cause) {
    case LEVEL_CAUSE_NONE:
        return "no reason given";
    case LEVEL_CAUSE_SUPERVISOR_SILENT:
        return "it missed the supervisor's heartbeats";
    case LEVEL_CAUSE_POLLER_STUCK:
        return "one of its pollers was stuck";
    case LEVEL_CAUSE_CONTROL_STUCK:
        return "its control thread was stuck";
    case LEVEL_CAUSE_WATCHDOG_STUCK:
        return "its watchdog was stuck";
    case LEVEL_CAUSE_STOPPED:
        return "it was stopped, or did not get to run, for longer than a heartbeat";
    case LEVEL_CAUSE_MEMORY_ERROR:
        return "uncorrected memory error";
    default:
        return cause > LEVEL_CAUSE_SIGNAL && cause < LEVEL_CAUSE_SIGNAL + 64 ? "fatal signal"
                                                                             : "unknown reason";
    }
}
