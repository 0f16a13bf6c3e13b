// SPDX-License-Identifier: Apache-2.0
// Tensor element types: how their rows are stored and which functions multiply them.

#ifndef LLM_TYPES_H
#define LLM_TYPES_H

#include "activation.h"

#include <stddef.h>
#include <stdint.h>

/* Dot products of every row with every vector: output[v * output_stride + r] is row r times vector
 * v, for 0 <= r < row_count and 0 <= v < vector_count. A kernel sums the terms of one such product
 * in an order that depends on `columns` alone, never on the other fields: the result is the same
 * bit for bit however rows are divided among workers and vectors among batches. */
struct llm_product {
    const uint8_t *rows;  /* first row, in the stored form of its type, any alignment */
    size_t row_stride;    /* bytes from one row to the next */
    size_t row_count;     /* rows */
    const void *vectors;  /* first vector, in the form of the kernel */
    size_t vector_stride; /* bytes from one vector to the next */
    size_t vector_count;  /* vectors */
    float *output;        /* first result; does not overlap rows or vectors */
    size_t output_stride; /* floats from the results of one vector to those of the next */
    size_t columns;       /* elements of a row and of a vector, whole blocks of the type */
};

/* Returns the vector at `index` of a product, in the form of the kernel. */
static inline const void *llm_product_vector(const struct llm_product *product, size_t index)
{
    return (const uint8_t *)product->vectors + index * product->vector_stride;
}

typedef void (*llm_multiply_function)(const struct llm_product *product);

/* A kernel, the instruction sets (LLM_ISA_*) all of which it needs, and the form of its vectors. */
struct llm_kernel {
    uint64_t isa;
    enum llm_form form;
    llm_multiply_function multiply;
};

#define LLM_TYPE_KERNELS 4 /* most kernels of a type */

struct llm_type {
    uint32_t id;             /* the number of the type in a GGUF file */
    const char *name;        /* as GGUF tools print it */
    uint32_t block_elements; /* elements stored together */
    uint32_t block_bytes;    /* bytes of such a block */

    /* Converts the first `elements` elements (whole blocks) of the row at `row` to floats. */
    void (*decode)(const uint8_t *row, float *output, size_t elements);

    /* Fastest first; the last one that is set needs no instruction set beyond the baseline, and
     * takes floats. */
    struct llm_kernel kernels[LLM_TYPE_KERNELS];
};

#define LLM_TYPE_ID_F32 0 /* the type of activations and of the key and value cache */

/* Returns the type with this GGUF number, static storage, or NULL if it is not supported. */
const struct llm_type *llm_type_find(uint32_t id);

/* Returns the name of a GGUF type number, also of one that is not supported; "unknown" if the
 * number means nothing. Static storage. */
const char *llm_type_name(uint32_t id);

/* Returns the names of the supported types, "F32, F16, ...", cut to `size` bytes with the NUL, in
 * `text`, which it also returns. */
const char *llm_type_list(char *text, size_t size);

/* Returns the number of supported types, and the type at `index` below that number. */
size_t llm_type_count(void);
const struct llm_type *llm_type_at(size_t index);

/* Returns the fastest kernel of `type` for a processor with the instruction sets `isa`; static
 * storage. */
const struct llm_kernel *llm_type_kernel(const struct llm_type *type, uint64_t isa);

#endif
