// SPDX-License-Identifier: Apache-2.0
// The table of families: supporting a relative that differs by nothing else is a row here.

#include "family.h"

#include <stdio.h>

#define NO   LLM_REFUSED
#define MAY  LLM_OPTIONAL
#define YES  LLM_REQUIRED
#define NEAR LLM_ROTATE_NEIGHBOURS
#define HALF LLM_ROTATE_HALVES

/* Sources: the papers and published configurations of the models, and for the names of keys and
 * tensors and the order of rotated elements the GGUF specification and the program that defines the
 * format in practice (llama.cpp: its converter and its graphs).
 *
 * llama: Llama 1 to 3.3, and what GGUF files call so: Mistral 7B, TinyLlama, SmolLM, SmolLM2.
 * mistral3: Ministral 3; its dense relatives.
 * smollm3: no key says which layers are not rotated, it belongs to the architecture.
 * olmo2: with a window it is OLMo 3, which has it, without scaled rotation, in three layers of
 * four.
 */
/* clang-format off */
static const struct llm_family families[] = {
    /* Tensors, in the order of enum llm_tensor_group: of all; norms before, after, of query and
     * key; biases of query and key, of the output; factors; output. */
    {"llama",     NEAR, {YES, YES, NO,  NO,  MAY, MAY, MAY, MAY}, .unrotated_step = 0},
    {"mistral3",  NEAR, {YES, YES, NO,  NO,  MAY, MAY, MAY, MAY}, .tempers = true},
    {"qwen2",     HALF, {YES, YES, NO,  NO,  YES, NO,  NO,  MAY}, .unrotated_step = 0},
    {"qwen3",     HALF, {YES, YES, NO,  YES, MAY, NO,  NO,  MAY}, .norm_scope = LLM_NORM_OF_HEAD},
    {"smollm3",   NEAR, {YES, YES, NO,  NO,  MAY, NO,  NO,  MAY}, .unrotated_step = 4},
    {"granite",   NEAR, {YES, YES, NO,  NO,  MAY, MAY, MAY, MAY}, .scales = true,
     .finetuned_rotates = true},
    {"olmo2",     HALF, {YES, NO,  YES, YES, NO,  NO,  NO,  YES}, .norm_scope = LLM_NORM_OF_WHOLE,
     .no_window = true},
    {"internlm2", NEAR, {YES, YES, NO,  NO,  MAY, MAY, NO,  YES}, .unrotated_step = 0},
    {"ernie4_5",  NEAR, {YES, YES, NO,  NO,  MAY, NO,  NO,  MAY}, .unrotated_step = 0},
    {"exaone",    HALF, {YES, YES, NO,  NO,  MAY, MAY, MAY, MAY}, .unrotated_step = 0},
};
/* clang-format on */

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
