// SPDX-License-Identifier: Apache-2.0
// Guest addresses as distinct types: they cannot be dereferenced or mixed up by accident.
#ifndef MEMORY_GPA_H
#define MEMORY_GPA_H

#include <stdbool.h>
#include <stdint.h>

#define GUEST_PAGE_SIZE       4096ull
#define GUEST_LARGE_PAGE_SIZE (2ull << 20)

// Guest-physical address.
struct gpa {
    uint64_t value;
};

// Guest-virtual address.
struct gva {
    uint64_t value;
};

static inline struct gpa gpa_add(struct gpa base, uint64_t offset)
{
    return (struct gpa){base.value + offset};
}

static inline struct gva gva_add(struct gva base, uint64_t offset)
{
    return (struct gva){base.value + offset};
}

// True if [address, address + length) lies in [base, base + size); overflow-safe for any input.
static inline bool range_contains(uint64_t base, uint64_t size, uint64_t address, uint64_t length)
{
    return length <= size && address >= base && address - base <= size - length;
}

// True if the two ranges share a byte; neither may wrap.
static inline bool range_overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size && b_size && a < b + b_size && b < a + a_size;
}

// Rounds up to a power-of-two alignment. Returns false if that overflows.
static inline bool align_up(uint64_t value, uint64_t alignment, uint64_t *aligned)
{
    if (__builtin_add_overflow(value, alignment - 1, aligned))
        return false;
    *aligned &= ~(alignment - 1);
    return true;
}

#endif
