// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a Llama model, checked before any memory is sized by them.

#ifndef LLM_CONFIG_H
#define LLM_CONFIG_H

#include "error.h"
#include "gguf.h"

#include <stdint.h>

/* Sizes count elements. The upper bounds in config.c keep every product of them inside 64 bits. */
struct llm_config {
    uint32_t vocabulary;      /* tokens */
    uint32_t context_trained; /* positions the model was trained for */
    uint32_t context;         /* positions to hold, at most context_trained */
    uint32_t embedding;       /* of the residual stream */
    uint32_t feed_forward;    /* inside the feed-forward blocks */
    uint32_t layers;
    uint32_t heads;           /* of queries; a multiple of key_value_heads */
    uint32_t key_value_heads; /* of keys and values */
    uint32_t head_size;       /* of a query, a key and a value */
    uint32_t rotated;         /* leading elements of a head that carry the position; even */
    float norm_epsilon;       /* of RMSNorm */
    float rope_base;          /* of the rotation frequencies */
};

/* Context taken if the caller asks for none and the model allows as much: key and value cache for
 * more would surprise more than it would help. */
#define LLM_CONTEXT_DEFAULT 2048

/* Fills *config from the keys of *file, for a context of `context` positions (0: the smaller of the
 * model's and LLM_CONTEXT_DEFAULT). Keys: the GGUF specification for the architecture llama. What
 * the program does not compute (another architecture, scaled rotation, experts) is refused. Returns
 * 0, or -1 with *err filled. */
int llm_config_read(struct llm_config *config, const struct gguf_file *file, uint32_t context,
                    struct llm_error *err);

#endif
