// SPDX-License-Identifier: Apache-2.0
// What the unit tests share: reproducible random numbers and a clock that stands still.
#ifndef TESTS_UNIT_SUPPORT_H
#define TESTS_UNIT_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// A random sequence. Tests start from test_seed() and say the seed where they fail, so that
// GUILLOTINE_TEST_SEED=... repeats a failure.
struct random {
    uint64_t state;
};

static inline uint64_t test_seed(void)
{
    const char *text = getenv("GUILLOTINE_TEST_SEED");
    return text ? strtoull(text, NULL, 0) : 0x6775696c6c6f7469ull;
}

static inline struct random random_start(uint64_t stream)
{
    return (struct random){test_seed() + stream * 0x9e3779b97f4a7c15ull};
}

// splitmix64: every state is a good one.
static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// In [0, bound); bound is not 0. The bias does not matter here.
static inline uint64_t random_below(struct random *random, uint64_t bound)
{
    return random_next(random) % bound;
}

static inline int random_chance(struct random *random, unsigned percent)
{
    return random_below(random, 100) < percent;
}

static inline void random_fill(struct random *random, void *target, size_t length)
{
    uint8_t *bytes = (uint8_t *)target;
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)random_next(random);
}

#endif
