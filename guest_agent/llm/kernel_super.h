// SPDX-License-Identifier: Apache-2.0
// Dot products of blocks of 256 integers with AVX2 or AVX-512 VNNI: included by each
// kernel file of such a type, for each of the sets (see kernel_set.h).

/* A block has a scale and integer factors for its parts. The including file defines, before it
 * includes this one,
 *
 *   SUPER_BYTES   the bytes a block is stored in
 *   SUPER_OFFSET  N > 0: N is subtracted from every integer, and corrections() are the factors;
 *                 0: the block has a second scale, and -minimum * corrections() is added
 *   struct factors  the integer factors of a block
 *   LLM_AVX2_INLINE struct factors open_factors(const uint8_t *block)
 *   LLM_AVX2_INLINE __m256i part_integers(const uint8_t *block, size_t part)
 *       returns the integers of the elements 32 * part to 32 * part + 31, 0 to 63, as bytes
 *   LLM_AVX2_INLINE __m256i part_factor(const struct factors *factors, size_t part)
 *       returns their factors, as 16-bit numbers, one for each pair of elements
 *   LLM_AVX2_INLINE __m256i corrections(const struct factors *factors)
 *       returns 16-bit numbers, one for each 16 elements
 *   LLM_AVX2_INLINE __m256 super_scale(const uint8_t *block), super_minimum(const uint8_t *block)
 *       return the scales in all lanes
 *
 * and gets multiply_avx2() or multiply_vnni(), which take vectors as LLM_FORM_INTEGERS_256. */

#ifndef LLM_KERNEL_SUPER_H
#define LLM_KERNEL_SUPER_H

#include "kernel_bytes.h"

#define SUPER_ELEMENTS 256
#define SUPER_PARTS    8
#define SUPER_PANEL    6

#endif

#include "kernel_set.h"

/* The sums of a block stay exact: a pair of products has at most 2 * 63 * 127, less than the 32,767
 * that a 16-bit lane takes; two pairs, times a factor of at most 128, eight times, are less than
 * 2^26. So are the corrections: 2 * 16 * 127 * 128, times an offset of 32 at most 2^24. */
KERNEL_INLINE void KERNEL_NAME(super_step)(__m256 *sums, const uint8_t *block,
                                           const uint8_t *const *inputs, size_t column,
                                           size_t columns, size_t vectors)
{
    const size_t scales_at =
        llm_activation_scales(columns) + column / SUPER_ELEMENTS * sizeof(float);
    const size_t sums_at = llm_activation_sums(LLM_FORM_INTEGERS_256, columns) + column / 8;
    const struct factors factors = open_factors(block);
    const __m256i correction = corrections(&factors);
    __m256i products[PANEL_MAX];
    prefetch(block, SUPER_BYTES);
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        products[vector] = _mm256_setzero_si256();
    }
#pragma GCC unroll 8
    for (size_t part = 0; part < SUPER_PARTS; part++) {
        __m256i weights = part_integers(block, part);
        __m256i factor = part_factor(&factors, part);
#pragma GCC unroll 6
        for (size_t vector = 0; vector < vectors; vector++) {
            const void *input = inputs[vector] + column + 32 * part;
            __m256i pairs = _mm256_maddubs_epi16(weights, _mm256_loadu_si256(input));
            products[vector] = ADD_PAIRS(products[vector], pairs, factor);
        }
    }
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        __m256 scale = _mm256_broadcast_ss((const void *)(inputs[vector] + scales_at));
        __m256i totals = _mm256_loadu_si256((const void *)(inputs[vector] + sums_at));
        __m256i excess = _mm256_madd_epi16(totals, correction);
        if (SUPER_OFFSET != 0) {
            excess = _mm256_mullo_epi32(excess, _mm256_set1_epi32(SUPER_OFFSET));
            products[vector] = _mm256_sub_epi32(products[vector], excess);
        } else {
            sums[vector] =
                _mm256_fnmadd_ps(_mm256_cvtepi32_ps(excess),
                                 _mm256_mul_ps(super_minimum(block), scale), sums[vector]);
        }
        sums[vector] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[vector]),
                                       _mm256_mul_ps(super_scale(block), scale), sums[vector]);
    }
}

KERNEL_INLINE void KERNEL_NAME(multiply_panel)(const struct llm_product *product, size_t row,
                                               size_t first_vector, size_t vectors)
{
    const uint8_t *block = product->rows + row * product->row_stride;
    const uint8_t *inputs[PANEL_MAX];
    __m256 sums[PANEL_MAX];
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        inputs[vector] = llm_product_vector(product, first_vector + vector);
        sums[vector] = _mm256_setzero_ps();
    }
    for (size_t column = 0; column < product->columns; column += SUPER_ELEMENTS) {
        KERNEL_NAME(super_step)(sums, block, inputs, column, product->columns, vectors);
        block += SUPER_BYTES;
    }
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        product->output[(first_vector + vector) * product->output_stride + row] =
            sum_lanes(sums[vector]);
    }
}

KERNEL static void KERNEL_NAME(multiply)(const struct llm_product *product)
{
    KERNEL_NAME(multiply_panels)(product, SUPER_PANEL);
}
