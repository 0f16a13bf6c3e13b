// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a model, checked before any memory is sized by them.

#ifndef LLM_CONFIG_H
#define LLM_CONFIG_H

#include "error.h"
#include "family.h"
#include "gguf.h"

#include <stdint.h>

enum llm_scaling { LLM_SCALING_NONE, LLM_SCALING_LINEAR, LLM_SCALING_YARN };

/* How heads carry the position; see rotation.h. */
struct llm_rope {
    float base; /* of the frequencies; above 1 */
    enum llm_scaling scaling;
    float factor;              /* by which the scaling divides frequencies; at least 1 */
    float magnitude;           /* by which rotated elements grow */
    uint32_t original_context; /* positions before the scaling */
    float beta_fast; /* of YaRN: turns over it, above which frequencies stay as they are */
    float beta_slow; /* of YaRN: turns over it, below which they are fully scaled */
};

/* Sizes count elements. The upper bounds in config.c keep every product of them inside 64 bits. */
struct llm_config {
    const struct llm_family *family;
    uint32_t vocabulary;      /* tokens */
    uint32_t context_trained; /* positions the model was trained for */
    uint32_t context;         /* positions to hold, at most context_trained */
    uint32_t window;          /* last positions that one attends to, itself included; 0: all */
    uint32_t embedding;       /* of the residual stream */
    uint32_t feed_forward;    /* inside the feed-forward blocks */
    uint32_t layers;
    uint32_t heads;           /* of queries; a multiple of key_value_heads */
    uint32_t key_value_heads; /* of keys and values */
    uint32_t head_size;       /* of a query, a key and a value */
    uint32_t rotated;         /* leading elements of a head that carry the position; even */
    struct llm_rope rope;
    float norm_epsilon;    /* of RMSNorm */
    float attention_scale; /* of the products of queries and keys; positive */
    float temperature;     /* growth of that scale per e-fold of original contexts, see forward.c */
    float embedding_scale; /* of a token's embedding */
    float residual_scale;  /* of what a block adds to the stream */
    float logit_factor;    /* of the logits */
};

/* Context taken if the caller asks for none and the model allows as much: key and value cache for
 * more would surprise more than it would help. */
#define LLM_CONTEXT_DEFAULT 2048

/* Fills *config from the keys of *file, for a context of `context` positions (0: the smaller of the
 * model's and LLM_CONTEXT_DEFAULT). Keys: the GGUF specification. What the program does not compute
 * (another architecture, another scaling of the rotation, experts, ...) is refused by its name.
 * Returns 0, or -1 with *err filled. */
int llm_config_read(struct llm_config *config, const struct gguf_file *file, uint32_t context,
                    struct llm_error *err);

#endif
