// SPDX-License-Identifier: Apache-2.0
// The factors of Q4_K and Q5_K blocks as kernel_super.h wants them.

#ifndef LLM_FACTORS_AVX2_H
#define LLM_FACTORS_AVX2_H

#include "factors.h"
#include "kernel_bytes.h"

struct factors {
    __m256i scales;   /* eight 16-bit numbers, twice */
    __m256i minimums; /* eight 16-bit numbers, each twice */
};

LLM_AVX2_INLINE struct factors open_factors(const uint8_t *block)
{
    __m128i scales = _mm_cvtsi64_si128((long long)llm_scale_factors(block));
    __m128i minimums = _mm_cvtsi64_si128((long long)llm_minimum_factors(block));
    minimums = _mm_unpacklo_epi8(minimums, minimums);
    return (struct factors){_mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(scales)),
                            _mm256_cvtepu8_epi16(minimums)};
}

LLM_AVX2_INLINE __m256i part_factor(const struct factors *factors, size_t part)
{
    return _mm256_shuffle_epi8(factors->scales, _mm256_set1_epi16((short)(0x0100 + 0x0202 * part)));
}

LLM_AVX2_INLINE __m256i corrections(const struct factors *factors)
{
    return factors->minimums;
}

LLM_AVX2_INLINE __m256 super_scale(const uint8_t *block)
{
    return load_half(block);
}

LLM_AVX2_INLINE __m256 super_minimum(const uint8_t *block)
{
    return load_half(block + 2);
}

#endif
