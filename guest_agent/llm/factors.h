// SPDX-License-Identifier: Apache-2.0
// The factors of Q4_K and Q5_K blocks: eight pairs of 6-bit numbers in 12 bytes.

#ifndef LLM_FACTORS_H
#define LLM_FACTORS_H

#include "half.h"

/* A block has a half-precision scale and minimum, then the factors of both for eight parts of 32
 * elements: element = scale * factor * integer - minimum * factor of the minimum. */
#define FACTORS_OFFSET 4

/* Of the twelve bytes the low six bits of the first four are the factors of parts 0 to 3, those of
 * the next four their minimum's; for parts 4 to 7 the low halves of the last four bytes are the low
 * four bits of the factors, the high halves those of the minimum's, and the two high bits of the
 * first eight bytes complete them (source: the GGML library's block_q4_K). Each function returns
 * the eight numbers, part 0 in the lowest byte. */
static inline uint64_t llm_scale_factors(const uint8_t *block)
{
    uint32_t first = llm_load_u32(block + FACTORS_OFFSET);
    uint32_t last = llm_load_u32(block + FACTORS_OFFSET + 8);
    uint32_t high = (last & 0x0f0f0f0fu) | (first >> 2 & 0x30303030u);
    return (first & 0x3f3f3f3fu) | (uint64_t)high << 32;
}

static inline uint64_t llm_minimum_factors(const uint8_t *block)
{
    uint32_t second = llm_load_u32(block + FACTORS_OFFSET + 4);
    uint32_t last = llm_load_u32(block + FACTORS_OFFSET + 8);
    uint32_t high = (last >> 4 & 0x0f0f0f0fu) | (second >> 2 & 0x30303030u);
    return (second & 0x3f3f3f3fu) | (uint64_t)high << 32;
}

/* Returns scale and minimum of the elements of `part`, 0 to 7, of a block. */
static inline float llm_part_scale(const uint8_t *block, size_t part)
{
    return llm_half_to_float(llm_load_u16(block)) *
           (float)(llm_scale_factors(block) >> 8 * part & 0xff);
}

static inline float llm_part_minimum(const uint8_t *block, size_t part)
{
    return llm_half_to_float(llm_load_u16(block + 2)) *
           (float)(llm_minimum_factors(block) >> 8 * part & 0xff);
}

#endif
