// SPDX-License-Identifier: Apache-2.0
// The functions each kernel file provides for the rows of the type table in types.c.

#ifndef LLM_KERNELS_H
#define LLM_KERNELS_H

#include "types.h"

/* For every type: the conversion of a row (see struct llm_type) and the dot products (see struct
 * llm_product), for the x86-64 baseline and for AVX2 with FMA and F16C. */
#define LLM_DECLARE_KERNELS(type)                                                                  \
    void llm_##type##_decode(const uint8_t *row, float *output, size_t elements);                  \
    void llm_##type##_multiply_scalar(const struct llm_product *product);                          \
    void llm_##type##_multiply_avx2(const struct llm_product *product)

/* For types that are multiplied as integers, also for AVX-512 VNNI, with the form of the AVX2 one.
 */
#define LLM_DECLARE_VNNI_KERNEL(type)                                                              \
    void llm_##type##_multiply_vnni(const struct llm_product *product)

LLM_DECLARE_KERNELS(f32);
LLM_DECLARE_KERNELS(f16);
LLM_DECLARE_KERNELS(bf16);
LLM_DECLARE_KERNELS(q8_0);
LLM_DECLARE_VNNI_KERNEL(q8_0);
LLM_DECLARE_KERNELS(q4_0);
LLM_DECLARE_VNNI_KERNEL(q4_0);
LLM_DECLARE_KERNELS(q4_1);
LLM_DECLARE_VNNI_KERNEL(q4_1);
LLM_DECLARE_KERNELS(q5_0);
LLM_DECLARE_VNNI_KERNEL(q5_0);
LLM_DECLARE_KERNELS(q5_1);
LLM_DECLARE_VNNI_KERNEL(q5_1);
LLM_DECLARE_KERNELS(q4_k);
LLM_DECLARE_VNNI_KERNEL(q4_k);
LLM_DECLARE_KERNELS(q5_k);
LLM_DECLARE_VNNI_KERNEL(q5_k);
LLM_DECLARE_KERNELS(q6_k);
LLM_DECLARE_VNNI_KERNEL(q6_k);

/* Defines those functions in a kernel file, after the templates that it includes. */
#define LLM_DEFINE_KERNELS(type)                                                                   \
    void llm_##type##_decode(const uint8_t *row, float *output, size_t elements)                   \
    {                                                                                              \
        decode_row(row, output, elements);                                                         \
    }                                                                                              \
    void llm_##type##_multiply_scalar(const struct llm_product *product)                           \
    {                                                                                              \
        multiply_scalar(product);                                                                  \
    }                                                                                              \
    LLM_AVX2 void llm_##type##_multiply_avx2(const struct llm_product *product)                    \
    {                                                                                              \
        multiply_avx2(product);                                                                    \
    }

#define LLM_DEFINE_VNNI_KERNEL(type)                                                               \
    KERNEL void llm_##type##_multiply_vnni(const struct llm_product *product)                      \
    {                                                                                              \
        multiply_vnni(product);                                                                    \
    }

#endif
