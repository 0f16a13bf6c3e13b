// SPDX-License-Identifier: Apache-2.0
// The operations on float vectors a transformer needs besides matrix products.

#ifndef LLM_VECTOR_H
#define LLM_VECTOR_H

#include <stddef.h>
#include <stdint.h>

/* One set of functions per instruction set. Within a set every result depends on the operands only;
 * two sets may differ in the last bits. Vectors need no alignment. */
struct llm_vector_operations {
    uint64_t isa; /* LLM_ISA_* bits, all needed */

    /* output[i] = input[i] * gain[i] / sqrt(mean(input^2) + epsilon): RMSNorm (Zhang and Sennrich,
     * 2019). `output` may be `input`. */
    void (*normalise)(float *output, const float *input, const float *gain, size_t count,
                      float epsilon);

    /* Replaces values[i] by exp(scale * (values[i] - maximum)) and returns the sum of the results,
     * at least 1 for numbers. count is at least 1 and scale positive. */
    float (*exponentiate)(float *values, size_t count, float scale);

    /* gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]: SwiGLU (Shazeer, 2020). */
    void (*swiglu)(float *gate, const float *up, size_t count);

    /* output[i] = factor * (the sum over j of weights[j] * rows[j * stride + i]), 0 <= i < count,
     * 0 <= j < row_count. */
    void (*combine)(float *output, const float *rows, size_t stride, const float *weights,
                    size_t row_count, size_t count, float factor);
};

/* Returns the fastest set for a processor with the instruction sets `isa`; static storage. */
const struct llm_vector_operations *llm_vector_find(uint64_t isa);

/* Returns the set at `index`, NULL past the last; all of them, for tests. */
const struct llm_vector_operations *llm_vector_at(size_t index);

#endif
