// SPDX-License-Identifier: Apache-2.0
// Small AVX2 helpers shared by the kernel files and the vector operations.

#ifndef LLM_VECTOR_AVX2_H
#define LLM_VECTOR_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Marks a function compiled for these instruction sets inside a baseline file. It may be called
 * only after the sets were found present; the inline form, only from such functions. */
#define LLM_AVX2        __attribute__((target("avx2,fma,f16c")))
#define LLM_AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma,f16c")))

/* The same for the instructions of AVX-512 VNNI on registers of 256 bits. */
#define LLM_VNNI_SETS   "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"
#define LLM_VNNI        __attribute__((target(LLM_VNNI_SETS)))
#define LLM_VNNI_INLINE static inline __attribute__((always_inline, target(LLM_VNNI_SETS)))

/* Returns the first `count`, below 8, floats at `values` and zeros; reads no more than those. */
LLM_AVX2_INLINE __m256 llm_load_some_floats(const float *values, size_t count)
{
    float padded[8] = {0};
    memcpy(padded, values, count * sizeof(float));
    return _mm256_loadu_ps(padded);
}

/* Returns the sums of the lanes of a, b, c and d; the order of each sum is
 * ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). */
LLM_AVX2_INLINE __m128 llm_sum_lanes(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

#endif
