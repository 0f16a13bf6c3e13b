// SPDX-License-Identifier: Apache-2.0
// A bump allocator over the memory the platform gives; nothing is ever freed.

#ifndef LLM_ARENA_H
#define LLM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With base NULL the arena only measures: takes always succeed and return NULL, and `used` ends as
 * the length a real arena needs for the same takes. */
struct llm_arena {
    uint8_t *base;
    uint64_t length; /* bytes at base */
    uint64_t used;   /* bytes taken, or that would have been taken had there been enough */
    bool exhausted;  /* a take did not fit */
};

/* Takes `count` objects of `size` bytes, aligned to a cache line of 64 bytes. Returns NULL, and
 * sets `exhausted`, if they do not fit; the caller looks at the flag once after all takes. The
 * memory is as the platform gave it, zeroed; it belongs to the arena. */
void *llm_arena_take(struct llm_arena *arena, uint64_t count, uint64_t size);

#endif
