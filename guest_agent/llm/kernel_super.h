// SPDX-License-Identifier: Apache-2.0
// Dot products of blocks of 256 integers with AVX2: included once by each kernel file of such a
// type.

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
 * and gets multiply_avx2(), which takes vectors as LLM_FORM_INTEGERS_256. */

#ifndef LLM_KERNEL_SUPER_H
#define LLM_KERNEL_SUPER_H

#include "kernel_bytes.h"

#define SUPER_ELEMENTS 256
#define SUPER_PARTS    8

/* The sums of a block stay exact: a pair of products has at most 2 * 63 * 127, less than the 32,767
 * that a 16-bit lane takes; two pairs, times a factor of at most 128, eight times, are less than
 * 2^26. So are the corrections: 2 * 16 * 127 * 128, times an offset of 32 at most 2^24. */
LLM_AVX2_INLINE void super_step(__m256 (*sums)[TILE_VECTORS_MAX], const uint8_t *const *blocks,
                                const uint8_t *const *vectors, size_t column, size_t columns,
                                size_t rows, size_t count)
{
    const size_t scales = llm_activation_scales(columns) + column / SUPER_ELEMENTS * sizeof(float);
    const size_t totals = llm_activation_sums(LLM_FORM_INTEGERS_256, columns) + column / 8;
    struct factors factors[TILE_ROWS_MAX];
    __m256i products[TILE_ROWS_MAX][TILE_VECTORS_MAX];
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        factors[row] = open_factors(blocks[row]);
        for (size_t ahead = 0; ahead < SUPER_BYTES; ahead += 64) {
            prefetch(blocks[row] + ahead);
        }
    }
#pragma GCC unroll 8
    for (size_t part = 0; part < SUPER_PARTS; part++) {
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            __m256i weights = part_integers(blocks[row], part);
            __m256i factor = part_factor(&factors[row], part);
#pragma GCC unroll 8
            for (size_t vector = 0; vector < count; vector++) {
                const void *input = vectors[vector] + column + 32 * part;
                __m256i pairs = _mm256_maddubs_epi16(weights, _mm256_loadu_si256(input));
                __m256i terms = _mm256_madd_epi16(pairs, factor);
                products[row][vector] =
                    part == 0 ? terms : _mm256_add_epi32(products[row][vector], terms);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        __m256i correction = corrections(&factors[row]);
#pragma GCC unroll 8
        for (size_t vector = 0; vector < count; vector++) {
            __m256 factor = _mm256_broadcast_ss((const void *)(vectors[vector] + scales));
            __m256i total = _mm256_loadu_si256((const void *)(vectors[vector] + totals));
            __m256i excess = _mm256_madd_epi16(total, correction);
            __m256 sum = sums[row][vector];
            if (SUPER_OFFSET != 0) {
                excess = _mm256_mullo_epi32(excess, _mm256_set1_epi32(SUPER_OFFSET));
                products[row][vector] = _mm256_sub_epi32(products[row][vector], excess);
            } else {
                sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(excess),
                                       _mm256_mul_ps(super_minimum(blocks[row]), factor), sum);
            }
            sums[row][vector] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[row][vector]),
                                _mm256_mul_ps(super_scale(blocks[row]), factor), sum);
        }
    }
}

LLM_AVX2_INLINE void multiply_tile(const struct llm_product *product, size_t first_row,
                                   size_t first_vector, size_t rows, size_t vectors)
{
    __m256 sums[TILE_ROWS_MAX][TILE_VECTORS_MAX];
    const uint8_t *blocks[TILE_ROWS_MAX];
    const uint8_t *inputs[TILE_VECTORS_MAX];
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        blocks[row] = product->rows + (first_row + row) * product->row_stride;
#pragma GCC unroll 8
        for (size_t vector = 0; vector < vectors; vector++) {
            sums[row][vector] = _mm256_setzero_ps();
        }
    }
#pragma GCC unroll 8
    for (size_t vector = 0; vector < vectors; vector++) {
        inputs[vector] = llm_product_vector(product, first_vector + vector);
    }
    for (size_t column = 0; column < product->columns; column += SUPER_ELEMENTS) {
        super_step(sums, blocks, inputs, column, product->columns, rows, vectors);
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            blocks[row] += SUPER_BYTES;
        }
    }
#pragma GCC unroll 8
    for (size_t vector = 0; vector < vectors; vector++) {
        __m256 totals[TILE_ROWS_MAX];
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            totals[row] = sums[row][vector];
        }
        store_sums(product->output + (first_vector + vector) * product->output_stride + first_row,
                   totals, rows);
    }
}

#endif
