// SPDX-License-Identifier: Apache-2.0
// The model families the program computes: what distinguishes them, as data.

#ifndef LLM_FAMILY_H
#define LLM_FAMILY_H

#include "gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which elements of a head turn together (rotary position embedding; Su et al., 2021). */
enum llm_rotation_style {
    LLM_ROTATE_NEIGHBOURS, /* (0, 1), (2, 3), ...: the order GGUF files of Llama store rows in */
    LLM_ROTATE_HALVES,     /* (0, n/2), (1, n/2 + 1), ...: the order of GPT-NeoX */
};

/* Over which elements the norms of queries and keys, if there are any, take the mean. */
enum llm_norm_scope {
    LLM_NORM_OF_HEAD,  /* each head by itself, all with the same gains */
    LLM_NORM_OF_WHOLE, /* all heads of a position together */
};

/* Groups of tensors that a family has or has not. */
enum llm_tensor_group {
    LLM_TENSORS_OF_ALL,           /* what every family has */
    LLM_TENSORS_NORM_BEFORE,      /* norms of what enters attention and feed-forward */
    LLM_TENSORS_NORM_AFTER,       /* norms of what leaves them */
    LLM_TENSORS_NORM_QUERY_KEY,   /* norms of queries and keys, before the rotation */
    LLM_TENSORS_BIAS_QUERY_KEY,   /* biases of queries, keys and values */
    LLM_TENSORS_BIAS_OUTPUT,      /* bias of what leaves attention */
    LLM_TENSORS_ROTATION_FACTORS, /* divisors of the rotation's frequencies */
    LLM_TENSORS_OUTPUT,           /* the matrix of the logits, else that of the embedding */
    LLM_TENSOR_GROUPS
};

enum llm_presence { LLM_REFUSED, LLM_OPTIONAL, LLM_REQUIRED };

struct llm_family {
    const char *name; /* the value of general.architecture, and the prefix of the family's keys */
    enum llm_rotation_style rotation;
    uint8_t presence[LLM_TENSOR_GROUPS]; /* enum llm_presence */
    enum llm_norm_scope norm_scope;
    uint32_t unrotated_step; /* every so many layers one is not rotated; 0: all are rotated */
    bool scales; /* the keys logit_scale, residual_scale, embedding_scale, attention.scale count */
    bool finetuned_rotates; /* rope.scaling.finetuned = false means that nothing is rotated */
    bool tempers;   /* attention.temperature_scale and rope.scaling.yarn_log_multiplier count */
    bool no_window; /* attention.sliding_window would not concern all layers: it is refused */
};

/* Returns the family of this name, static storage, or NULL if there is none. */
const struct llm_family *llm_family_find(struct gguf_string name);

/* Returns the names of all families, "llama, qwen2, ...", cut to `size` bytes with the NUL, in
 * `text`, which it also returns. */
const char *llm_family_list(char *text, size_t size);

#endif
