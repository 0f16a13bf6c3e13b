// SPDX-License-Identifier: Apache-2.0
// The table of tensor types: supporting one more is a row here and a kernel file.

#include "types.h"

#include "kernels.h"
#include "platform.h"

#include <string.h>

#define ISA_AVX2 (LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C)
#define ISA_VNNI                                                                                   \
    (ISA_AVX2 | LLM_ISA_AVX512F | LLM_ISA_AVX512BW | LLM_ISA_AVX512VL | LLM_ISA_AVX512VNNI)

/* The kernels of a type stored as floats, and of one whose elements are multiplied as integers. */
#define FLOATS(name)                                                                               \
    {                                                                                              \
        {ISA_AVX2, LLM_FORM_FLOATS, llm_##name##_multiply_avx2},                                   \
            {0, LLM_FORM_FLOATS, llm_##name##_multiply_scalar},                                    \
    }
#define INTEGERS(name, form)                                                                       \
    {                                                                                              \
        {ISA_VNNI, form, llm_##name##_multiply_vnni},                                              \
            {ISA_AVX2, form, llm_##name##_multiply_avx2},                                          \
            {0, LLM_FORM_FLOATS, llm_##name##_multiply_scalar},                                    \
    }
#define INTEGERS_32(name)  INTEGERS(name, LLM_FORM_INTEGERS_32)
#define INTEGERS_256(name) INTEGERS(name, LLM_FORM_INTEGERS_256)

/* clang-format off */
static const struct llm_type types[] = {
    /* id, name, elements and bytes of a block, conversion, kernels */
    {LLM_TYPE_ID_F32, "F32", 1, 4, llm_f32_decode, FLOATS(f32)},
    {1, "F16", 1, 2, llm_f16_decode, FLOATS(f16)},
    {30, "BF16", 1, 2, llm_bf16_decode, FLOATS(bf16)},
    {8, "Q8_0", 32, 34, llm_q8_0_decode, INTEGERS_32(q8_0)},
    {2, "Q4_0", 32, 18, llm_q4_0_decode, INTEGERS_32(q4_0)},
    {3, "Q4_1", 32, 20, llm_q4_1_decode, INTEGERS_32(q4_1)},
    {6, "Q5_0", 32, 22, llm_q5_0_decode, INTEGERS_32(q5_0)},
    {7, "Q5_1", 32, 24, llm_q5_1_decode, INTEGERS_32(q5_1)},
    {12, "Q4_K", 256, 144, llm_q4_k_decode, INTEGERS_256(q4_k)},
    {13, "Q5_K", 256, 176, llm_q5_k_decode, INTEGERS_256(q5_k)},
    {14, "Q6_K", 256, 210, llm_q6_k_decode, INTEGERS_256(q6_k)},
};
/* clang-format on */

/* Names by GGUF number, for messages about what is not supported (source: the GGUF specification,
 * enum ggml_type; the holes are numbers withdrawn from the format). */
static const char *const names[] = {
    "F32",    "F16",   "Q4_0",  "Q4_1",   NULL,    NULL,    "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   NULL,    NULL,    NULL,     "TQ1_0", "TQ2_0", NULL,      NULL,     NULL,      "MXFP4",
};

const struct llm_type *llm_type_find(uint32_t id)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        if (types[index].id == id) {
            return &types[index];
        }
    }
    return NULL;
}

const char *llm_type_name(uint32_t id)
{
    if (id >= sizeof(names) / sizeof(names[0]) || names[id] == NULL) {
        return "unknown";
    }
    return names[id];
}

const char *llm_type_list(char *text, size_t size)
{
    size_t used = 0;
    for (size_t index = 0; index < llm_type_count(); index++) {
        const char *separator = index == 0 ? "" : ", ";
        size_t length = strlen(separator) + strlen(types[index].name);
        if (length + 1 > size - used) {
            break;
        }
        memcpy(text + used, separator, strlen(separator));
        memcpy(text + used + strlen(separator), types[index].name, strlen(types[index].name));
        used += length;
    }
    text[used] = '\0';
    return text;
}

size_t llm_type_count(void)
{
    return sizeof(types) / sizeof(types[0]);
}

const struct llm_type *llm_type_at(size_t index)
{
    return &types[index];
}

const struct llm_kernel *llm_type_kernel(const struct llm_type *type, uint64_t isa)
{
    const struct llm_kernel *kernel = type->kernels;
    while ((kernel->isa & isa) != kernel->isa) {
        kernel++;
    }
    return kernel;
}
