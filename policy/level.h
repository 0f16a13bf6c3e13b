// SPDX-License-Identifier: Apache-2.0
// Isolation levels, and the two shared pages that carry them between supervisor, VMM and backends.
#ifndef POLICY_LEVEL_H
#define POLICY_LEVEL_H

#include <stdatomic.h>
#include <stdint.h>

enum level {
    LEVEL_STANDARD = 0,
    LEVEL_PROBATION = 1,
    LEVEL_SEVERED = 2,
    LEVEL_OFFLINE = 3,
    LEVEL_DECAPITATION = 4,
    LEVEL_IMMOLATION = 5,
    LEVEL_COUNT,
};

// "standard" ... "immolation"; "unknown" for anything else.
const char *level_name(unsigned level);

#define LEVEL_PAGE_SIZE 4096u

#define LEVEL_MAX_POLLERS 4u

// Why a side went Offline by itself, for the other one's report. A side that dies of a signal says
// LEVEL_CAUSE_SIGNAL plus its number.
enum level_cause {
    LEVEL_CAUSE_NONE = 0,
    LEVEL_CAUSE_SUPERVISOR_SILENT = 1,
    LEVEL_CAUSE_POLLER_STUCK = 2,
    LEVEL_CAUSE_CONTROL_STUCK = 3,
    LEVEL_CAUSE_STOPPED = 4, // its own watchdog did not run for longer than a period
    LEVEL_CAUSE_MEMORY_ERROR = 5,
    LEVEL_CAUSE_WATCHDOG_STUCK = 6,
    LEVEL_CAUSE_SIGNAL = 0x100,
};

// In words that fit behind "the VMM went offline: ". Any value is allowed.
const char *level_cause_text(uint32_t cause);

// One page, written by exactly one side. `hold` is not a level: gate shut, vCPUs paused.
struct level_page {
    _Atomic uint32_t level;
    _Atomic uint32_t hold;
    _Atomic uint64_t beat;                        // heartbeats of the writer so far
    _Atomic uint32_t observed[LEVEL_MAX_POLLERS]; // VMM: level that each poller acts on
    _Atomic uint32_t cause;                       // enum level_cause of the writer's own Offline
    uint32_t reserved;
    _Atomic uint64_t doorbells; // VMM: rung in all, as far as its pollers have heard
    uint8_t pad[4048];
};
_Static_assert(sizeof(struct level_page) == LEVEL_PAGE_SIZE, "one page");

// The level that everybody acts on: the maximum of both pages. A value that is not a level, or a
// hold, counts as at least Severed: doubt resolves to the more restrictive side.
static inline unsigned level_effective(const struct level_page *a, const struct level_page *b)
{
    unsigned x = atomic_load_explicit(&a->level, memory_order_acquire);
    unsigned y = atomic_load_explicit(&b->level, memory_order_acquire);
    unsigned level = x > y ? x : y;
    if (level < LEVEL_SEVERED && (atomic_load_explicit(&a->hold, memory_order_acquire) ||
                                  atomic_load_explicit(&b->hold, memory_order_acquire)))
        level = LEVEL_SEVERED;
    return level;
}

// The same without the hold: what stands in answers and reports.
static inline unsigned level_named(const struct level_page *a, const struct level_page *b)
{
    unsigned x = atomic_load_explicit(&a->level, memory_order_acquire);
    unsigned y = atomic_load_explicit(&b->level, memory_order_acquire);
    return x > y ? x : y;
}

// What ports may do.
enum level_gate {
    LEVEL_GATE_OPEN,
    LEVEL_GATE_HELD, // nothing passes for now; nothing is dropped
    LEVEL_GATE_SHUT, // what is in flight is dropped
};

// The gate of a port that is open up to level `highest`, LEVEL_STANDARD or LEVEL_PROBATION.
static inline enum level_gate level_gate_up_to(const struct level_page *a,
                                               const struct level_page *b, unsigned highest)
{
    unsigned x = atomic_load_explicit(&a->level, memory_order_acquire);
    unsigned y = atomic_load_explicit(&b->level, memory_order_acquire);
    if (x > highest || y > highest)
        return LEVEL_GATE_SHUT;
    if (atomic_load_explicit(&a->hold, memory_order_acquire) ||
        atomic_load_explicit(&b->hold, memory_order_acquire))
        return LEVEL_GATE_HELD;
    return LEVEL_GATE_OPEN;
}

// The gate of whatever Probation leaves open.
static inline enum level_gate level_gate(const struct level_page *a, const struct level_page *b)
{
    return level_gate_up_to(a, b, LEVEL_PROBATION);
}

#endif
