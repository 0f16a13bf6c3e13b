// SPDX-License-Identifier: Apache-2.0
// Watches a counter that somebody else raises while it is alive.
#include "heartbeat.h"

void heartbeat_watch_start(struct heartbeat_watch *watch, uint64_t period_ns, uint64_t value,
                           bool starting, uint64_t now_ns)
{
    *watch = (struct heartbeat_watch){
        .period_ns = period_ns,
        .value = value,
        .moved_ns = now_ns,
        .checked_ns = now_ns,
        .starting = starting,
    };
}

static void note_beat(struct heartbeat_watch *watch, uint64_t now_ns)
{
    watch->moved_ns = now_ns;
    watch->graced = false;
}

enum heartbeat_state heartbeat_watch_check(struct heartbeat_watch *watch, uint64_t value,
                                           uint64_t now_ns)
{
    uint64_t due_ns = watch->checked_ns + heartbeat_interval_ns(watch->period_ns);
    uint64_t late_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    watch->checked_ns = now_ns;
    if (late_ns > watch->period_ns)
        return HEARTBEAT_LATE;
    if (value != watch->value) {
        watch->value = value;
        watch->starting = false;
        note_beat(watch, now_ns);
        return HEARTBEAT_ALIVE;
    }
    uint64_t silent_ns = heartbeat_watch_age_ns(watch, now_ns);
    uint64_t limit_ns = watch->period_ns;
    if (watch->starting && limit_ns < HEARTBEAT_START_NS)
        limit_ns = HEARTBEAT_START_NS;
    if (silent_ns <= limit_ns)
        return HEARTBEAT_ALIVE;
    if (late_ns > watch->period_ns / 2 && !watch->graced && silent_ns <= 2 * limit_ns) {
        watch->graced = true;
        return HEARTBEAT_ALIVE;
    }
    return HEARTBEAT_LOST;
}

void heartbeat_watch_excuse(struct heartbeat_watch *watch, uint64_t now_ns)
{
    note_beat(watch, now_ns);
}
