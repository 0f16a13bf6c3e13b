// SPDX-License-Identifier: Apache-2.0
// The table of families: supporting a relative that differs by nothing else is a row here.

#include "family.h"

#include <stdio.h>

/* Of all families but those that norm after the blocks. */
#define USUAL_TENSORS [LLM_TENSORS_OF_ALL] = LLM_REQUIRED, [LLM_TENSORS_NORM_BEFORE] = LLM_REQUIRED

/* Sources: the papers and published configurations of the models, and for the names of keys and
 * tensors and the order of rotated elements the GGUF specification and the program that defines the
 * format in practice (llama.cpp: its converter and its graphs). */
static const struct llm_family families[] = {
    {
        /* Llama 1 to 3.3, and what GGUF files call so: Mistral 7B, TinyLlama, SmolLM, SmolLM2 */
        .name = "llama",
        .rotation = LLM_ROTATE_NEIGHBOURS,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_BIAS_OUTPUT] = LLM_OPTIONAL,
                [LLM_TENSORS_ROTATION_FACTORS] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
    },
    {
        .name = "qwen2",
        .rotation = LLM_ROTATE_HALVES,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_REQUIRED,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
    },
    {
        .name = "qwen3",
        .rotation = LLM_ROTATE_HALVES,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_NORM_QUERY_KEY] = LLM_REQUIRED,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
        .norm_scope = LLM_NORM_OF_HEAD,
    },
    {
        .name = "smollm3",
        .rotation = LLM_ROTATE_NEIGHBOURS,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
        .unrotated_step = 4, /* no key says so: it belongs to the architecture */
    },
    {
        .name = "granite",
        .rotation = LLM_ROTATE_NEIGHBOURS,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_BIAS_OUTPUT] = LLM_OPTIONAL,
                [LLM_TENSORS_ROTATION_FACTORS] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
        .scales = true,
        .finetuned_rotates = true,
    },
    {
        .name = "olmo2",
        .rotation = LLM_ROTATE_HALVES,
        .presence =
            {
                [LLM_TENSORS_OF_ALL] = LLM_REQUIRED,
                [LLM_TENSORS_NORM_AFTER] = LLM_REQUIRED,
                [LLM_TENSORS_NORM_QUERY_KEY] = LLM_REQUIRED,
                [LLM_TENSORS_OUTPUT] = LLM_REQUIRED,
            },
        .norm_scope = LLM_NORM_OF_WHOLE,
        .no_window = true, /* OLMo 3: a window in three layers of four, without scaled rotation */
    },
    {
        .name = "internlm2",
        .rotation = LLM_ROTATE_NEIGHBOURS,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_BIAS_OUTPUT] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_REQUIRED,
            },
    },
    {
        .name = "ernie4_5",
        .rotation = LLM_ROTATE_NEIGHBOURS,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
    },
    {
        .name = "exaone",
        .rotation = LLM_ROTATE_HALVES,
        .presence =
            {
                USUAL_TENSORS,
                [LLM_TENSORS_BIAS_QUERY_KEY] = LLM_OPTIONAL,
                [LLM_TENSORS_BIAS_OUTPUT] = LLM_OPTIONAL,
                [LLM_TENSORS_ROTATION_FACTORS] = LLM_OPTIONAL,
                [LLM_TENSORS_OUTPUT] = LLM_OPTIONAL,
            },
    },
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

const struct llm_family *llm_family_find(struct gguf_string name)
{
    for (size_t index = 0; index < FAMILIES; index++) {
        if (gguf_string_is(name, families[index].name)) {
            return &families[index];
        }
    }
    return NULL;
}

const char *llm_family_list(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t index = 0; index < FAMILIES && used < size; index++) {
        int length = snprintf(text + used, size - used, "%s%s", index == 0 ? "" : ", ",
                              families[index].name);
        used += length > 0 ? (size_t)length : 0;
    }
    return text;
}
