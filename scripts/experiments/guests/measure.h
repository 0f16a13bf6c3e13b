// SPDX-License-Identifier: Apache-2.0
// What guests of experiments share: random numbers with a seed, time, text for the console.
#ifndef EXPERIMENTS_GUESTS_MEASURE_H
#define EXPERIMENTS_GUESTS_MEASURE_H

#include <guillotine/cell.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// xorshift64*, by Marsaglia and Vigna; receivers on the host compute the same numbers.
static uint64_t measure_random_state = 1;

static inline void measure_seed(const char *text)
{
    measure_random_state = strtoull(text, NULL, 10) * 0x9e3779b97f4a7c15ull | 1;
}

static inline uint64_t measure_random(void)
{
    uint64_t x = measure_random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    measure_random_state = x;
    return x * 0x2545f4914f6cdd1dull;
}

// From `first` to `last`, both included.
static inline uint32_t measure_between(uint32_t first, uint32_t last)
{
    return first + (uint32_t)((measure_random() >> 32) % ((uint64_t)last - first + 1));
}

// The time stamp counter, where the host does not deny it: there, this is a violation.
static inline uint64_t measure_cycles(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

// Loops: the only delay that needs no clock.
static inline void measure_loop(uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++)
        __asm__ volatile("" : : : "memory");
}

// Collects text and writes it to the console when it is asked to, or has no room.
struct measure_text {
    char bytes[65536];
    size_t length;
};

static inline void measure_flush(struct measure_text *text)
{
    cell_console_write(text->bytes, text->length);
    text->length = 0;
}

__attribute__((format(printf, 2, 3))) static inline void measure_say(struct measure_text *text,
                                                                     const char *format, ...)
{
    va_list list;
    if (sizeof(text->bytes) - text->length < 256)
        measure_flush(text);
    va_start(list, format);
    int length = vsnprintf(text->bytes + text->length, 256, format, list);
    va_end(list);
    text->length += length < 256 ? (size_t)length : 255;
}

#endif
