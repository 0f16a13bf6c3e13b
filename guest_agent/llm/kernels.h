// SPDX-License-Identifier: Apache-2.0
// The functions each kernel file provides for the rows of the type table in types.c.

#ifndef LLM_KERNELS_H
#define LLM_KERNELS_H

#include "types.h"

/* For every type: the conversion of a row (see struct llm_type) and the dot products (see struct
 * llm_product), for the x86-64 baseline and for AVX2 with FMA and F16C. */
void llm_f32_decode(const uint8_t *row, float *output, size_t elements);
void llm_f32_multiply_scalar(const struct llm_product *product);
void llm_f32_multiply_avx2(const struct llm_product *product);

void llm_f16_decode(const uint8_t *row, float *output, size_t elements);
void llm_f16_multiply_scalar(const struct llm_product *product);
void llm_f16_multiply_avx2(const struct llm_product *product);

void llm_q8_0_decode(const uint8_t *row, float *output, size_t elements);
void llm_q8_0_multiply_scalar(const struct llm_product *product);
void llm_q8_0_multiply_avx2(const struct llm_product *product);

#endif
