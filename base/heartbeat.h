// SPDX-License-Identifier: Apache-2.0
// Watches a counter that somebody else raises while it is alive.
//
// The rules are the same on both sides of the VMM's channel. A beat is due four times in a period,
// and is looked for as often, so that a late wake-up here or there costs nothing. Silence for a
// period is a loss. On a loaded machine whoever watches is late itself, and what kept it from
// running may have kept the other side too: if it was more than half a period late it looks once
// more before it decides. That is the only excuse: silence for two periods is a loss whoever was
// late, and a watcher that is later than a whole period was stopped and can vouch for nothing.
#ifndef BASE_HEARTBEAT_H
#define BASE_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#define HEARTBEAT_PERIOD_MIN_MS     100u
#define HEARTBEAT_PERIOD_MAX_MS     60000u
#define HEARTBEAT_PERIOD_DEFAULT_MS 1000u

// Until the first beat of a side that is still starting.
#define HEARTBEAT_START_NS 10000000000ull

enum heartbeat_state {
    HEARTBEAT_ALIVE,
    HEARTBEAT_LOST, // the other side was silent for too long
    HEARTBEAT_LATE, // the watcher itself did not run for too long
};

struct heartbeat_watch {
    uint64_t period_ns;
    uint64_t value;      // of the counter, as last seen
    uint64_t moved_ns;   // when it was first seen
    uint64_t checked_ns; // last look
    bool starting;       // it has not moved yet
    bool graced;         // the watcher was late, and silence was let pass once
};

// How often to beat and to look, in nanoseconds.
static inline uint64_t heartbeat_interval_ns(uint64_t period_ns)
{
    return period_ns / 4;
}

// Begins to watch at `now_ns` (boot-time clock) a counter that stands at `value`. With `starting`
// its first beat may take HEARTBEAT_START_NS, if that is longer than a period.
void heartbeat_watch_start(struct heartbeat_watch *watch, uint64_t period_ns, uint64_t value,
                           bool starting, uint64_t now_ns);

// Looks at the counter. To be called at least every heartbeat_interval_ns; any move counts.
enum heartbeat_state heartbeat_watch_check(struct heartbeat_watch *watch, uint64_t value,
                                           uint64_t now_ns);

// The other side has a good reason to be silent now: as if it had beaten.
void heartbeat_watch_excuse(struct heartbeat_watch *watch, uint64_t now_ns);

// Age of the last beat at `now_ns`.
static inline uint64_t heartbeat_watch_age_ns(const struct heartbeat_watch *watch, uint64_t now_ns)
{
    return now_ns > watch->moved_ns ? now_ns - watch->moved_ns : 0;
}

#endif
