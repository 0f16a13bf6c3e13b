// SPDX-License-Identifier: Apache-2.0
// Dot products of blocks of 32 integers with AVX2 or AVX-512 VNNI: included by each
// kernel file of such a type, for each of the sets (see kernel_set.h).

/* A block begins with its scale, a half. The including file defines, before it includes this one,
 *
 *   BLOCK_BYTES   the bytes a block is stored in
 *   BLOCK_OFFSET  what an element has besides scale * integer:
 *                 OFFSET_NONE     nothing; integers have a sign
 *                 OFFSET_MINIMUM  a second half, after the scale, is added; integers have no sign
 *                 N > 0           N is subtracted from the integers, which have no sign
 *   LLM_AVX2_INLINE __m256i load_integers(const uint8_t *block)
 *       returns the 32 integers
 *
 * and gets multiply_avx2() or multiply_vnni(), which take vectors as LLM_FORM_INTEGERS_32. */

#ifndef LLM_KERNEL_BLOCK_H
#define LLM_KERNEL_BLOCK_H

#include "kernel_bytes.h"

#define BLOCK_ELEMENTS 32
#define GROUP_BLOCKS   8 /* whose scales are converted together */
#define GROUP_ELEMENTS (GROUP_BLOCKS * BLOCK_ELEMENTS)
#define BLOCK_PANEL    4
#define OFFSET_NONE    0
#define OFFSET_MINIMUM (-1)

/* The sums of a panel: two chains, of even and odd blocks, and what offsets add. */
struct block_sums {
    __m256 products[PANEL_MAX][2];
    __m256 offsets[PANEL_MAX];
};

/* Returns the halves at `offset` of each block of a group; zeros for those from `count` on. */
LLM_AVX2_INLINE __m256 group_halves(const uint8_t *blocks, size_t offset, size_t count)
{
    if (count == GROUP_BLOCKS) { /* put together by the scalar units: the others are busy */
        uint64_t low = 0;
        uint64_t high = 0;
#pragma GCC unroll 4
        for (size_t block = 0; block < GROUP_BLOCKS / 2; block++) {
            const uint8_t *half = blocks + block * BLOCK_BYTES + offset;
            low |= (uint64_t)llm_load_u16(half) << 16 * block;
            high |= (uint64_t)llm_load_u16(half + GROUP_BLOCKS / 2 * BLOCK_BYTES) << 16 * block;
        }
        return _mm256_cvtph_ps(_mm_set_epi64x((long long)high, (long long)low));
    }
    uint16_t halves[GROUP_BLOCKS] = {0};
    for (size_t block = 0; block < count; block++) {
        halves[block] = llm_load_u16(blocks + block * BLOCK_BYTES + offset);
    }
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)halves));
}

#endif

#include "kernel_set.h"

/* Returns the products of a block and the vector's integers, added up in eight lanes. A pair has at
 * most 2 * 128 * 127, less than the 32,767 that a 16-bit lane takes. */
KERNEL_INLINE __m256 KERNEL_NAME(multiply_block)(__m256i weights, __m256i magnitudes,
                                                 __m256i integers)
{
    if (BLOCK_OFFSET == OFFSET_NONE) {
        integers = _mm256_sign_epi8(integers, weights);
    }
    return _mm256_cvtepi32_ps(ADD_BYTES(_mm256_setzero_si256(), magnitudes, integers));
}

/* Adds the products of `blocks` blocks, GROUP_BLOCKS except at the end of a row. The scales of a
 * vector are padded with zeros to whole groups. */
KERNEL_INLINE void KERNEL_NAME(group_step)(struct block_sums *sums, const uint8_t *row,
                                           const uint8_t *const *inputs, size_t column,
                                           size_t columns, size_t blocks, size_t vectors)
{
    const size_t scales_at = llm_activation_scales(columns) + column / 8;
    const size_t sums_at = llm_activation_sums(LLM_FORM_INTEGERS_32, columns) + column / 8;
    const uint8_t *group = row + column / BLOCK_ELEMENTS * BLOCK_BYTES;
    float factors[PANEL_MAX][GROUP_BLOCKS];
    __m256 scales = group_halves(group, 0, blocks);
    __m256 offsets = scales;
    if (BLOCK_OFFSET == OFFSET_MINIMUM) {
        offsets = group_halves(group, 2, blocks);
    }
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        __m256 other = _mm256_loadu_ps((const void *)(inputs[vector] + scales_at));
        _mm256_storeu_ps(factors[vector], _mm256_mul_ps(scales, other));
        if (BLOCK_OFFSET != OFFSET_NONE) {
            __m256 total = _mm256_loadu_ps((const void *)(inputs[vector] + sums_at));
            sums->offsets[vector] = _mm256_fmadd_ps(offsets, total, sums->offsets[vector]);
        }
    }
    prefetch(group, GROUP_BLOCKS * BLOCK_BYTES);
#pragma GCC unroll 8
    for (size_t block = 0; block < blocks; block++) {
        __m256i weights = load_integers(group + block * BLOCK_BYTES);
        __m256i magnitudes = BLOCK_OFFSET == OFFSET_NONE ? _mm256_abs_epi8(weights) : weights;
#pragma GCC unroll 6
        for (size_t vector = 0; vector < vectors; vector++) {
            const void *input = inputs[vector] + column + block * BLOCK_ELEMENTS;
            __m256 terms =
                KERNEL_NAME(multiply_block)(weights, magnitudes, _mm256_loadu_si256(input));
            __m256 *sum = &sums->products[vector][block % 2];
            *sum = _mm256_fmadd_ps(terms, _mm256_broadcast_ss(&factors[vector][block]), *sum);
        }
    }
}

KERNEL_INLINE void KERNEL_NAME(multiply_panel)(const struct llm_product *product, size_t row,
                                               size_t first_vector, size_t vectors)
{
    const uint8_t *data = product->rows + row * product->row_stride;
    const uint8_t *inputs[PANEL_MAX];
    struct block_sums sums;
    size_t columns = product->columns;
    size_t column = 0;
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        inputs[vector] = llm_product_vector(product, first_vector + vector);
        sums.products[vector][0] = _mm256_setzero_ps();
        sums.products[vector][1] = _mm256_setzero_ps();
        sums.offsets[vector] = _mm256_setzero_ps();
    }
    for (; column + GROUP_ELEMENTS <= columns; column += GROUP_ELEMENTS) {
        KERNEL_NAME(group_step)(&sums, data, inputs, column, columns, GROUP_BLOCKS, vectors);
    }
    if (column < columns) {
        struct block_sums rest = sums;
        KERNEL_NAME(group_step)
        (&rest, data, inputs, column, columns, (columns - column) / BLOCK_ELEMENTS, vectors);
        sums = rest;
    }
#pragma GCC unroll 6
    for (size_t vector = 0; vector < vectors; vector++) {
        __m256 sum = _mm256_add_ps(sums.products[vector][0], sums.products[vector][1]);
        if (BLOCK_OFFSET == OFFSET_MINIMUM) {
            sum = _mm256_add_ps(sum, sums.offsets[vector]);
        } else if (BLOCK_OFFSET != OFFSET_NONE) {
            const __m256 offset = _mm256_set1_ps((float)-BLOCK_OFFSET);
            sum = _mm256_fmadd_ps(offset, sums.offsets[vector], sum);
        }
        product->output[(first_vector + vector) * product->output_stride + row] = sum_lanes(sum);
    }
}

KERNEL static void KERNEL_NAME(multiply)(const struct llm_product *product)
{
    KERNEL_NAME(multiply_panels)(product, BLOCK_PANEL);
}
