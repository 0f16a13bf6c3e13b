// SPDX-License-Identifier: Apache-2.0
// Dot products of blocks of 32 integers with AVX2: included once by each kernel file of such a
// type.

/* A block begins with its scale, a half. The including file defines, before it includes this one,
 *
 *   BLOCK_BYTES    the bytes a block is stored in
 *   BLOCK_MINIMUM  1 if a second half, which is added to every element, follows the scale and the
 *                  integers are not negative; 0 if there is none and the integers have a sign
 *   LLM_AVX2_INLINE __m256i load_integers(const uint8_t *block)
 *       returns the 32 integers: element = scale * integer (+ minimum)
 *
 * and gets multiply_avx2(), which takes vectors as LLM_FORM_INTEGERS_32. */

#ifndef LLM_KERNEL_BLOCK_H
#define LLM_KERNEL_BLOCK_H

#include "kernel_bytes.h"

#define BLOCK_ELEMENTS 32

struct block_tile {
    __m256 sums[TILE_ROWS_MAX][TILE_VECTORS_MAX];
    __m128 minimums[TILE_ROWS_MAX][TILE_VECTORS_MAX]; /* in the first lane: what they add */
};

/* Returns the products of weights and vector, added up in eight lanes. A pair of products has at
 * most 2 * 128 * 127, less than the 32,767 that a 16-bit lane takes. */
LLM_AVX2_INLINE __m256 multiply_block(__m256i magnitudes, __m256i weights, __m256i vector)
{
    __m256i factors = BLOCK_MINIMUM ? vector : _mm256_sign_epi8(vector, weights);
    __m256i pairs = _mm256_maddubs_epi16(magnitudes, factors);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* One block of every row and vector of the tile. */
LLM_AVX2_INLINE void block_step(struct block_tile *tile, const uint8_t *const *blocks,
                                const uint8_t *const *vectors, size_t column, size_t columns,
                                size_t rows, size_t count)
{
    const size_t scales = llm_activation_scales(columns) + column / 8;
    const size_t sums = llm_activation_sums(LLM_FORM_INTEGERS_32, columns) + column / 8;
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        const uint8_t *block = blocks[row];
        __m256i weights = load_integers(block);
        __m256i magnitudes = BLOCK_MINIMUM ? weights : _mm256_abs_epi8(weights);
        __m256 scale = load_half(block);
#pragma GCC unroll 8
        for (size_t vector = 0; vector < count; vector++) {
            __m256i integers = _mm256_loadu_si256((const void *)(vectors[vector] + column));
            __m256 factor = _mm256_broadcast_ss((const void *)(vectors[vector] + scales));
            tile->sums[row][vector] =
                _mm256_fmadd_ps(multiply_block(magnitudes, weights, integers),
                                _mm256_mul_ps(scale, factor), tile->sums[row][vector]);
            if (BLOCK_MINIMUM) {
                __m128 minimum = _mm256_castps256_ps128(load_half(block + 2));
                __m128 sum = _mm_load_ss((const void *)(vectors[vector] + sums));
                tile->minimums[row][vector] =
                    _mm_fmadd_ss(minimum, sum, tile->minimums[row][vector]);
            }
        }
        prefetch(block);
    }
}

LLM_AVX2_INLINE void multiply_tile(const struct llm_product *product, size_t first_row,
                                   size_t first_vector, size_t rows, size_t vectors)
{
    struct block_tile tile;
    const uint8_t *blocks[TILE_ROWS_MAX];
    const uint8_t *inputs[TILE_VECTORS_MAX];
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        blocks[row] = product->rows + (first_row + row) * product->row_stride;
#pragma GCC unroll 8
        for (size_t vector = 0; vector < vectors; vector++) {
            tile.sums[row][vector] = _mm256_setzero_ps();
            tile.minimums[row][vector] = _mm_setzero_ps();
        }
    }
#pragma GCC unroll 8
    for (size_t vector = 0; vector < vectors; vector++) {
        inputs[vector] = llm_product_vector(product, first_vector + vector);
    }
    for (size_t column = 0; column < product->columns; column += BLOCK_ELEMENTS) {
        block_step(&tile, blocks, inputs, column, product->columns, rows, vectors);
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            blocks[row] += BLOCK_BYTES;
        }
    }
#pragma GCC unroll 8
    for (size_t vector = 0; vector < vectors; vector++) {
        __m256 sums[TILE_ROWS_MAX];
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            __m128 first = _mm_move_ss(_mm_setzero_ps(), tile.minimums[row][vector]);
            __m256 minimum = _mm256_zextps128_ps256(first);
            sums[row] = BLOCK_MINIMUM ? _mm256_add_ps(tile.sums[row][vector], minimum)
                                      : tile.sums[row][vector];
        }
        store_sums(product->output + (first_vector + vector) * product->output_stride + first_row,
                   sums, rows);
    }
}

#endif
