// SPDX-License-Identifier: Apache-2.0
// The forms in which kernels take the vectors that rows are multiplied with.

#ifndef LLM_ACTIVATION_H
#define LLM_ACTIVATION_H

#include <stddef.h>
#include <stdint.h>

/* A vector in an integer form is, from a 32-byte boundary,
 *
 *   int8_t integers[columns]            element / scale of its block, rounded to even, -127 to 127
 *   float scales[columns / block]       largest magnitude of the block / 127
 *   sums                                of the integers, for stored forms that have an offset:
 *     LLM_FORM_INTEGERS_32:  float[columns / 32], times the scale; zeros follow these and the
 * scales up to the next 32-byte boundary LLM_FORM_INTEGERS_256: int16_t[columns / 16]
 *
 * A conversion depends on the vector alone: no worker and no batch changes its bits. An element
 * that is not a number or infinite spoils the numbers of its block, nothing else. */
enum llm_form {
    LLM_FORM_FLOATS,       /* float[columns], as they are */
    LLM_FORM_INTEGERS_32,  /* blocks of 32; columns are a multiple of it */
    LLM_FORM_INTEGERS_256, /* blocks of 256; columns are a multiple of it */
    LLM_FORMS
};

#define LLM_ACTIVATION_ALIGNMENT 64 /* bytes, of a vector in an integer form and of its length */

/* Returns the elements that share a scale. */
static inline size_t llm_activation_block(enum llm_form form)
{
    static const size_t blocks[LLM_FORMS] = {1, 32, 256};
    return blocks[form];
}

/* Returns the bytes from the start to the scales, and to the sums, of a vector of `columns`. */
static inline size_t llm_activation_scales(size_t columns)
{
    return (columns + 31) / 32 * 32;
}

static inline size_t llm_activation_sums(enum llm_form form, size_t columns)
{
    return llm_activation_scales(columns) +
           (columns / llm_activation_block(form) * sizeof(float) + 31) / 32 * 32;
}

/* Returns the bytes of a vector of `columns` floats, at most 2^40, in the form: a multiple of
 * LLM_ACTIVATION_ALIGNMENT; room for the next lower whole blocks if columns are not whole ones. */
size_t llm_activation_bytes(enum llm_form form, size_t columns);

/* Converts `columns` floats, whole blocks, to the form, one of the integer forms; `output` has
 * llm_activation_bytes() and their alignment. Needs AVX2 and FMA, as every kernel that takes such
 * vectors does. */
void llm_activation_convert(enum llm_form form, const float *vector, size_t columns, void *output);

#endif
