// SPDX-License-Identifier: Apache-2.0
// The table of tensor types: supporting one more is a row here and a kernel file.

#include "types.h"

#include "kernels.h"
#include "platform.h"

#include <string.h>

#define ISA_AVX2 (LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C)

/* clang-format off */
static const struct llm_type types[] = {
    /* id, name, elements and bytes of a block, conversion, kernels */
    {LLM_TYPE_ID_F32, "F32", 1, 4, llm_f32_decode,
     {{ISA_AVX2, llm_f32_multiply_avx2}, {0, llm_f32_multiply_scalar}}},
    {1, "F16", 1, 2, llm_f16_decode,
     {{ISA_AVX2, llm_f16_multiply_avx2}, {0, llm_f16_multiply_scalar}}},
    {8, "Q8_0", 32, 34, llm_q8_0_decode,
     {{ISA_AVX2, llm_q8_0_multiply_avx2}, {0, llm_q8_0_multiply_scalar}}},
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

llm_multiply_function llm_type_multiply(const struct llm_type *type, uint64_t isa)
{
    const struct llm_kernel *kernel = type->kernels;
    while ((kernel->isa & isa) != kernel->isa) {
        kernel++;
    }
    return kernel->multiply;
}
