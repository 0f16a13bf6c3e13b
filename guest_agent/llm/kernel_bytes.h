// SPDX-License-Identifier: Apache-2.0
// What the kernels that multiply integers share: unpacking and adding bytes.

/* A kernel file includes kernel_block.h or kernel_super.h, for the dot products. */

#ifndef LLM_KERNEL_BYTES_H
#define LLM_KERNEL_BYTES_H

#include "half.h"
#include "types.h"
#include "vector_avx2.h"

#define PANEL_MAX 6 /* vectors of a panel */

/* Weights come in one sequential stream, row after row, which the processor's own prefetchers
 * follow only within a page: this asks for what comes later. It may lie beyond the matrix: a
 * prefetch cannot fault. */
#ifndef PREFETCH_AHEAD
#define PREFETCH_AHEAD 2048 /* bytes */
#endif

LLM_AVX2_INLINE void prefetch(const uint8_t *blocks, size_t bytes)
{
#pragma GCC unroll 5
    for (size_t line = 0; line < bytes; line += 64) {
        _mm_prefetch((const char *)((uintptr_t)blocks + PREFETCH_AHEAD + line), _MM_HINT_T0);
    }
}

/* Returns the half-precision number at `bytes` in all lanes. */
LLM_AVX2_INLINE __m256 load_half(const uint8_t *bytes)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)llm_load_u16(bytes)));
}

/* Returns the low four bits of 16 bytes, then the high four of each. */
LLM_AVX2_INLINE __m256i load_nibbles(const uint8_t *bytes)
{
    __m128i packed = _mm_loadu_si128((const void *)bytes);
    __m256i both =
        _mm256_inserti128_si256(_mm256_castsi128_si256(packed), _mm_srli_epi16(packed, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Returns 16 in each byte whose bit in the 32 bits at `bytes` is set, 0 in the others. */
LLM_AVX2_INLINE __m256i load_sixteens(const uint8_t *bytes)
{
    const __m256i spread =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i bits = _mm256_set1_epi32((int)llm_load_u32(bytes));
    bits = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit), _mm256_set1_epi8(16));
}

/* Returns the sum of the lanes. */
LLM_AVX2_INLINE float sum_lanes(__m256 sums)
{
    __m256 zero = _mm256_setzero_ps();
    return _mm_cvtss_f32(llm_sum_lanes(sums, zero, zero, zero));
}

/* Adds the products of each four unsigned and signed bytes to the lanes of the sum. Two products
 * must fit 16 bits: the types' integers do. */
LLM_AVX2_INLINE __m256i llm_add_bytes(__m256i sum, __m256i bytes, __m256i signs)
{
    __m256i pairs = _mm256_maddubs_epi16(bytes, signs);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#endif
