// SPDX-License-Identifier: Apache-2.0
// Numbers as people write them: integers, sizes with binary suffixes, CPU lists.
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include <stdint.h>

#include "error.h"

// CPUs that a list can name.
#define CPU_LIST_MAX 1024

// A set of host CPUs, as a bit per CPU.
struct cpu_list {
    uint64_t bits[CPU_LIST_MAX / 64];
};

// Parses a whole decimal number in [minimum, maximum]. Returns 0 or -1.
int number_parse(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *value,
                 struct error *err);

// Parses a size in bytes with an optional suffix KiB, MiB or GiB ("64MiB"). Returns 0 or -1.
int number_parse_size(const char *text, uint64_t *bytes, struct error *err);

// Parses a CPU list in the kernel's form ("0-3,8"). An empty text is an error. Returns 0 or -1.
int cpu_list_parse(const char *text, struct cpu_list *list, struct error *err);

// Writes the kernel's form of a list ("0-3,8") to `text` of `size` bytes, cut if it is longer.
void cpu_list_format(const struct cpu_list *list, char *text, unsigned long size);

static inline void cpu_list_add(struct cpu_list *list, unsigned cpu)
{
    list->bits[cpu / 64] |= 1ull << (cpu % 64);
}

static inline int cpu_list_has(const struct cpu_list *list, unsigned cpu)
{
    return cpu < CPU_LIST_MAX && (list->bits[cpu / 64] >> (cpu % 64) & 1);
}

// Number of CPUs in the list.
unsigned cpu_list_count(const struct cpu_list *list);

// The n-th CPU of the list, counted from 0 in ascending order, or -1.
int cpu_list_nth(const struct cpu_list *list, unsigned n);

#endif
