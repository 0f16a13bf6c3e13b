// SPDX-License-Identifier: Apache-2.0
// Dot products with AVX2, FMA and F16C for one type stored as floats: included once by
// each kernel file of such a type.

/* A chunk is 32 columns from a multiple of 32. The including file defines, before it includes this
 * one,
 *
 *   CHUNK_BYTES   the bytes a chunk is stored in
 *   struct chunk  where the columns of a chunk are stored
 *   LLM_AVX2_INLINE struct chunk open_chunk(const uint8_t *row, size_t column)
 *   LLM_AVX2_INLINE __m256 load_eight(const struct chunk *chunk, size_t offset)
 *       returns 8 elements from `offset`, a multiple of 8 below 32, as floats
 *   LLM_AVX2_INLINE __m256 load_some(const struct chunk *chunk, size_t offset, size_t count)
 *       as load_eight, but only the first `count`, below 8, elements, and zeros.
 *
 * The file gets multiply_avx2(). The instruction sets are enabled per function, so that the rest of
 * the file stays baseline. */

#ifndef LLM_KERNEL_AVX2_H
#define LLM_KERNEL_AVX2_H

#include "types.h"
#include "vector_avx2.h"

#define TILE_ROWS_MAX    4
#define TILE_VECTORS_MAX 3

#define PREFETCH_TILE_MAX 8192 /* bytes: a quarter of a first-level cache */
#define PREFETCH_AHEAD    1024 /* bytes */

struct tile {
    const uint8_t *rows[TILE_ROWS_MAX];
    const float *vectors[TILE_VECTORS_MAX];
    /* Two independent chains per product; with four products at a time that is what hides the
     * latency of the multiply-add units (4 cycles, 2 units). */
    __m256 sums[TILE_ROWS_MAX][TILE_VECTORS_MAX][2];
};

/* One step of 8 columns, at `column + offset`, for every product of the tile. */
LLM_AVX2_INLINE void tile_step(struct tile *tile, const struct chunk *chunks, size_t column,
                               size_t offset, size_t rows, size_t vectors)
{
    size_t chain = offset / 8 % 2;
    __m256 parts[TILE_VECTORS_MAX];
#pragma GCC unroll 3
    for (size_t vector = 0; vector < vectors; vector++) {
        parts[vector] = _mm256_loadu_ps(tile->vectors[vector] + column + offset);
    }
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        __m256 weights = load_eight(&chunks[row], offset);
#pragma GCC unroll 3
        for (size_t vector = 0; vector < vectors; vector++) {
            __m256 *sums = tile->sums[row][vector];
            sums[chain] = _mm256_fmadd_ps(weights, parts[vector], sums[chain]);
        }
    }
}

/* The last, fewer than 32, columns. */
LLM_AVX2_INLINE void tile_rest(struct tile *tile, size_t column, size_t count, size_t rows,
                               size_t vectors)
{
    size_t offset = 0;
    struct chunk chunks[TILE_ROWS_MAX];
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        chunks[row] = open_chunk(tile->rows[row], column);
    }
    /* No loop: which sums a step adds to must be known when this is compiled. */
    if (count >= 8) {
        tile_step(tile, chunks, column, 0, rows, vectors);
        offset = 8;
    }
    if (count >= 16) {
        tile_step(tile, chunks, column, 8, rows, vectors);
        offset = 16;
    }
    if (count >= 24) {
        tile_step(tile, chunks, column, 16, rows, vectors);
        offset = 24;
    }
    if (offset == count) {
        return;
    }
#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        __m256 weights = load_some(&chunks[row], offset, count - offset);
#pragma GCC unroll 3
        for (size_t vector = 0; vector < vectors; vector++) {
            __m256 part =
                llm_load_some_floats(tile->vectors[vector] + column + offset, count - offset);
            tile->sums[row][vector][0] = _mm256_fmadd_ps(weights, part, tile->sums[row][vector][0]);
        }
    }
}

/* Rows are usually too short for the processor to see a pattern in, so the chunk at the same column
 * of the next tile is asked for; of rows so long that it would be gone again before its turn, a
 * chunk further along. Both may lie beyond the matrix: a prefetch cannot fault. */
LLM_AVX2_INLINE size_t prefetch_distance(const struct llm_product *product, size_t rows)
{
    size_t distance = rows * product->row_stride;
    return distance <= PREFETCH_TILE_MAX ? distance : PREFETCH_AHEAD;
}

LLM_AVX2_INLINE void prefetch_chunk(const uint8_t *row, size_t column, size_t distance)
{
    uintptr_t address = (uintptr_t)row + column / 32 * CHUNK_BYTES + distance;
    _mm_prefetch((const char *)address, _MM_HINT_T0);
}

/* Computes the products of `rows` rows from `first_row` and `vectors` vectors from `first_vector`.
 * `rows` and `vectors` are constants at every call, so that the loops unroll and the sums stay in
 * registers; the order of summation is the same whatever they are. */
LLM_AVX2_INLINE void multiply_tile(const struct llm_product *product, size_t first_row,
                                   size_t first_vector, size_t rows, size_t vectors)
{
    struct tile tile;
    size_t columns = product->columns;
    size_t distance = prefetch_distance(product, rows);

#pragma GCC unroll 4
    for (size_t row = 0; row < rows; row++) {
        tile.rows[row] = product->rows + (first_row + row) * product->row_stride;
#pragma GCC unroll 3
        for (size_t vector = 0; vector < vectors; vector++) {
            tile.sums[row][vector][0] = _mm256_setzero_ps();
            tile.sums[row][vector][1] = _mm256_setzero_ps();
        }
    }
#pragma GCC unroll 3
    for (size_t vector = 0; vector < vectors; vector++) {
        tile.vectors[vector] = llm_product_vector(product, first_vector + vector);
    }

    size_t column = 0;
    for (; column + 32 <= columns; column += 32) {
        struct chunk chunks[TILE_ROWS_MAX];
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            chunks[row] = open_chunk(tile.rows[row], column);
            /* More vectors have more to do with a row than to wait for it; and of rows that take
             * more loads than arithmetic, another load is no help. */
            if (vectors == 1 && CHUNK_BYTES <= 64) {
                prefetch_chunk(tile.rows[row], column, distance);
            }
        }
        tile_step(&tile, chunks, column, 0, rows, vectors);
        tile_step(&tile, chunks, column, 8, rows, vectors);
        tile_step(&tile, chunks, column, 16, rows, vectors);
        tile_step(&tile, chunks, column, 24, rows, vectors);
    }
    if (column < columns) {
        tile_rest(&tile, column, columns - column, rows, vectors);
    }

    __m256 zero = _mm256_setzero_ps();
#pragma GCC unroll 3
    for (size_t vector = 0; vector < vectors; vector++) {
        float *output =
            product->output + (first_vector + vector) * product->output_stride + first_row;
        __m256 totals[TILE_ROWS_MAX] = {zero, zero, zero, zero};
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            const __m256 *sums = tile.sums[row][vector];
            totals[row] = _mm256_add_ps(sums[0], sums[1]);
        }
        __m128 sums = llm_sum_lanes(totals[0], totals[1], totals[2], totals[3]);
        if (rows == 4) {
            _mm_storeu_ps(output, sums);
        } else if (rows == 2) {
            _mm_storel_pi((__m64 *)(void *)output, sums);
        } else {
            _mm_store_ss(output, sums);
        }
    }
}

LLM_AVX2 static void multiply_avx2(const struct llm_product *product)
{
    size_t vector = 0;

    /* Three vectors and two rows: 5 loads for 6 multiply-adds, and 12 sums in 16 registers. */
    for (; vector + 3 <= product->vector_count; vector += 3) {
        size_t row = 0;
        for (; row + 2 <= product->row_count; row += 2) {
            multiply_tile(product, row, vector, 2, 3);
        }
        for (; row < product->row_count; row++) {
            multiply_tile(product, row, vector, 1, 3);
        }
    }
    for (; vector < product->vector_count; vector++) {
        size_t row = 0;
        for (; row + 4 <= product->row_count; row += 4) {
            multiply_tile(product, row, vector, 4, 1);
        }
        for (; row < product->row_count; row++) {
            multiply_tile(product, row, vector, 1, 1);
        }
    }
}

#endif
