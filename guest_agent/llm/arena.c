// SPDX-License-Identifier: Apache-2.0
// A bump allocator over the memory the platform gives; nothing is ever freed.

#include "arena.h"

#define ARENA_LINE 64 /* bytes: the widest vector register, and a line no two workers share */

void *llm_arena_take(struct llm_arena *arena, uint64_t count, uint64_t size)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > UINT64_MAX / 4 ||
        arena->used > UINT64_MAX / 4) {
        arena->exhausted = true;
        return NULL;
    }
    bytes = (bytes + ARENA_LINE - 1) / ARENA_LINE * ARENA_LINE;

    uint64_t start = arena->used;
    arena->used += bytes;
    if (arena->base == NULL) {
        return NULL;
    }
    if (arena->used > arena->length) {
        arena->exhausted = true;
        return NULL;
    }
    return arena->base + start;
}
