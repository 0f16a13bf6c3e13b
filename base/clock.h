// SPDX-License-Identifier: Apache-2.0
// The one source of time: everything that waits takes a struct clock, so that tests own time.
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

// A clock. now_ns is monotonic and counts suspend (boot-time clock); wall_ns is Unix time and may
// step, so it only stamps records and expires orders.
struct clock {
    uint64_t (*now_ns)(const struct clock *clock);
    uint64_t (*wall_ns)(const struct clock *clock);
    void *context;
};

// The host's clocks.
extern const struct clock clock_host;

static inline uint64_t clock_now_ns(const struct clock *clock)
{
    return clock->now_ns(clock);
}

static inline uint64_t clock_wall_ns(const struct clock *clock)
{
    return clock->wall_ns(clock);
}

#endif
