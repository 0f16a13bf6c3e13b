// SPDX-License-Identifier: Apache-2.0
// Regular expressions (PCRE2) whose cost is bounded: steps, depth and memory.
#ifndef POLICY_POLICY_PATTERN_H
#define POLICY_POLICY_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "policy_memory.h"

#define POLICY_PATTERN_MAX_BYTES 1024u

// Bounds of one search. PCRE2 counts steps anew at every place where a match may begin: what one of
// them may take follows from how many there are.
#define POLICY_SEARCH_MAX_BYTES (64u << 10)
#define POLICY_SEARCH_STEPS     2000000u // in all
#define POLICY_SEARCH_STEPS_MIN 64u      // at each place, however many there are
#define POLICY_PATTERN_MEMORY   (64u << 10)

struct policy_patterns;

// Room for `count` patterns, in `memory`, which everything that belongs to them comes from. All
// that searching will need is taken here. Returns NULL and sets *err if there is none.
struct policy_patterns *policy_patterns_create(size_t count, struct policy_memory *memory,
                                               struct error *err);

// Compiles one more: bytes, not characters; no look at what is in the pattern's name. Returns its
// index, or -1. The message names the position in the pattern; *at is that too, if not NULL.
int policy_patterns_add(struct policy_patterns *patterns, const char *text, size_t length,
                        int ignore_case, size_t *at, struct error *err);

enum policy_found {
    POLICY_FOUND,
    POLICY_NOT_FOUND,
    POLICY_SEARCH_FAILED, // too many bytes, too many steps, or too much memory
};

// Searches `length` bytes from `start` on. When found, *from and *to bound what was. No allocation,
// no system call.
enum policy_found policy_patterns_search(struct policy_patterns *patterns, unsigned index,
                                         const uint8_t *bytes, size_t length, size_t start,
                                         size_t *from, size_t *to);

#endif
