// SPDX-License-Identifier: Apache-2.0
// Dot products in plain C for one type: included once by each kernel file.

/* The including file defines, before it includes this one,
 *
 *   static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
 *
 * which converts `count` elements (at most SCALAR_CHUNK) from `column`, a multiple of SCALAR_CHUNK,
 * and gets decode_row() and multiply_scalar(). */

#ifndef LLM_KERNEL_SCALAR_H
#define LLM_KERNEL_SCALAR_H

#include "types.h"

#define SCALAR_CHUNK 32 /* elements: a whole block of most types, an eighth of a large one */
#define SCALAR_LANES 8  /* partial sums: shorter chains of additions lose less precision */

/* Adds the products of `count` elements, a multiple of SCALAR_LANES, to the lanes. The inner loop
 * is one the compiler turns into vector instructions of the baseline. */
static inline void add_products(float *restrict lanes, const float *elements, const float *vector,
                                size_t count)
{
    for (size_t index = 0; index < count; index += SCALAR_LANES) {
        for (size_t lane = 0; lane < SCALAR_LANES; lane++) {
            lanes[lane] += elements[index + lane] * vector[index + lane];
        }
    }
}

static void decode_row(const uint8_t *row, float *output, size_t elements)
{
    for (size_t column = 0; column < elements; column += SCALAR_CHUNK) {
        size_t rest = elements - column;
        decode_chunk(row, column, rest < SCALAR_CHUNK ? rest : SCALAR_CHUNK, output + column);
    }
}

static float dot_scalar(const uint8_t *row, const float *vector, size_t columns)
{
    float lanes[SCALAR_LANES] = {0};
    float chunk[SCALAR_CHUNK];
    size_t column = 0;

    for (; column + SCALAR_CHUNK <= columns; column += SCALAR_CHUNK) {
        decode_chunk(row, column, SCALAR_CHUNK, chunk);
        add_products(lanes, chunk, vector + column, SCALAR_CHUNK);
    }
    if (column < columns) {
        decode_chunk(row, column, columns - column, chunk);
        for (size_t index = 0; index < columns - column; index++) {
            lanes[index % SCALAR_LANES] += chunk[index] * vector[column + index];
        }
    }
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

static void multiply_scalar(const struct llm_product *product)
{
    for (size_t row = 0; row < product->row_count; row++) {
        const uint8_t *data = product->rows + row * product->row_stride;
        for (size_t index = 0; index < product->vector_count; index++) {
            const float *vector = llm_product_vector(product, index);
            product->output[index * product->output_stride + row] =
                dot_scalar(data, vector, product->columns);
        }
    }
}

#endif
