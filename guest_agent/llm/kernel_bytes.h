// SPDX-License-Identifier: Apache-2.0
// What the kernels that multiply integers share: products of bytes, and the walk over tiles.

/* A kernel file includes kernel_block.h or kernel_super.h, which include this one. They provide
 *
 *   multiply_tile(product, first_row, first_vector, rows, vectors)
 *
 * which computes a tile of dot products; `rows` and `vectors` are constants at every call, so that
 * the loops unroll and the sums stay in registers. */

#ifndef LLM_KERNEL_BYTES_H
#define LLM_KERNEL_BYTES_H

#include "half.h"
#include "types.h"
#include "vector_avx2.h"

/* A vector alone is multiplied with several rows, because a sum has to wait for itself; several
 * vectors with one row, which is unpacked once for all of them. */
#ifndef SINGLE_ROWS
#define SINGLE_ROWS 4
#endif
#ifndef PANEL_VECTORS
#define PANEL_VECTORS 6
#endif
#define TILE_ROWS_MAX    SINGLE_ROWS
#define TILE_VECTORS_MAX PANEL_VECTORS

/* Weights come in one sequential stream, row after row, which the processor's own prefetchers
 * follow only within a page and not far: this asks for what comes `PREFETCH_AHEAD` bytes later. It
 * may lie beyond the matrix: a prefetch cannot fault. */
#define PREFETCH_AHEAD 2048

LLM_AVX2_INLINE void prefetch(const uint8_t *block)
{
    _mm_prefetch((const char *)((uintptr_t)block + PREFETCH_AHEAD), _MM_HINT_T0);
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

/* Stores the sums of the lanes of sums[0] to sums[rows - 1] in a row. */
LLM_AVX2_INLINE void store_sums(float *output, const __m256 *sums, size_t rows)
{
    __m256 zero = _mm256_setzero_ps();
    __m256 totals[4] = {zero, zero, zero, zero};
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        totals[row] = sums[row];
    }
    float stored[4];
    _mm_storeu_ps(stored, llm_sum_lanes(totals[0], totals[1], totals[2], totals[3]));
    memcpy(output, stored, rows * sizeof(float));
}

LLM_AVX2_INLINE void multiply_tile(const struct llm_product *product, size_t first_row,
                                   size_t first_vector, size_t rows, size_t vectors);

LLM_AVX2_INLINE void multiply_rows(const struct llm_product *product, size_t row, size_t rows)
{
    size_t vector = 0;
    for (; vector + PANEL_VECTORS <= product->vector_count; vector += PANEL_VECTORS) {
        for (size_t index = 0; index < rows; index++) {
            multiply_tile(product, row + index, vector, 1, PANEL_VECTORS);
        }
    }
    for (; vector < product->vector_count; vector++) {
        multiply_tile(product, row, vector, rows, 1);
    }
}

LLM_AVX2 static void multiply_avx2(const struct llm_product *product)
{
    size_t row = 0;
    for (; row + SINGLE_ROWS <= product->row_count; row += SINGLE_ROWS) {
        multiply_rows(product, row, SINGLE_ROWS);
    }
    for (; row < product->row_count; row++) {
        multiply_rows(product, row, 1);
    }
}

#endif
