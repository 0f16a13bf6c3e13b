// SPDX-License-Identifier: Apache-2.0
// The weights of a model, and the computation of its logits.

#ifndef LLM_MODEL_H
#define LLM_MODEL_H

#include "arena.h"
#include "config.h"
#include "error.h"
#include "gguf.h"
#include "platform.h"
#include "types.h"
#include "vector.h"

#include <stddef.h>
#include <stdint.h>

/* Positions computed together, at most: one pass over the weights serves all of them. */
#define LLM_BATCH 24

/* A matrix inside the file; its product with a vector of `columns` floats has `rows` floats. */
struct llm_matrix {
    const uint8_t *data; /* NULL until it is loaded */
    const struct llm_type *type;
    const struct llm_kernel *kernel; /* for the type and this processor */
    uint64_t rows;
    uint64_t columns;
    uint64_t row_bytes;
};

/* Vectors that the family or the file has not are NULL, like all until they are loaded. */
struct llm_layer {
    float *attention_norm; /* of what enters attention */
    struct llm_matrix query;
    struct llm_matrix key;
    struct llm_matrix value;
    float *query_bias;
    float *key_bias;
    float *value_bias;
    float *query_norm; /* of a head or of all, see enum llm_norm_scope */
    float *key_norm;
    struct llm_matrix attention_output;
    float *attention_output_bias;
    float *attention_after; /* norm of what leaves attention */
    float *feed_forward_norm;
    struct llm_matrix gate;
    struct llm_matrix up;
    struct llm_matrix down;
    float *feed_forward_after;
};

/* A loaded model with the state of one text. Sizes in floats: [a][b] is an array of a times b. */
struct llm_model {
    struct llm_config config;
    const struct llm_platform *platform;
    const struct llm_vector_operations *vector;
    llm_multiply_function multiply_floats; /* the kernel for rows of keys */

    struct llm_matrix embedding; /* a row for each token */
    struct llm_matrix output;    /* the same matrix, if the file has no other */
    float *output_norm;          /* [embedding]; NULL until it is loaded */
    struct llm_layer *layers;    /* [layers] */
    float *rotation_factors;     /* [rotated / 2], or NULL if the file has none */
    float *vectors;              /* where norms, biases and factors are */

    float *frequencies; /* [rotated / 2]: radians per position */
    float *cosines;     /* [LLM_BATCH][rotated / 2] */
    float *sines;       /* [LLM_BATCH][rotated / 2] */
    float *stream;      /* [LLM_BATCH][embedding]: what the layers add to */
    float *normal;      /* [LLM_BATCH][embedding]: the stream after a norm */
    float *query;       /* [LLM_BATCH][heads * head_size] */
    float *attention;   /* [LLM_BATCH][heads * head_size] */
    float *gate;        /* [LLM_BATCH][feed_forward] */
    float *up;          /* [LLM_BATCH][feed_forward] */
    float *scores;      /* [heads][context] */
    float *logits;      /* [vocabulary] */

    /* The input of the matrices that are multiplied next, [LLM_BATCH] vectors in each form that a
     * kernel of this model wants. */
    void *forms[LLM_FORMS];
    size_t form_strides[LLM_FORMS]; /* bytes from one vector to the next */
    bool form_used[LLM_FORMS];

    float *keys;   /* [layers][context][key_value_heads * head_size] */
    float *values; /* [layers][context][key_value_heads * head_size] */
};

/* Takes the memory for a model of this configuration from the arena; a copy of *config becomes
 * model->config. If it does not suffice, arena->exhausted is set. */
void llm_model_reserve(struct llm_model *model, const struct llm_config *config,
                       struct llm_arena *arena);

/* Fills a reserved model from the tensors of the file, which must stay mapped, and chooses the
 * kernels for platform->isa; the platform must stay valid. Every tensor of the file must be one the
 * program computes with, and every one it needs must be there. Returns 0, or -1 with *err
 * filled. */
int llm_model_load(struct llm_model *model, const struct gguf_file *file,
                   const struct llm_platform *platform, struct llm_error *err);

/* Computes the positions `first` to first + count - 1 of the text, whose tokens are `ids`, after
 * all earlier positions: extends the key and value cache and leaves the results in model->stream.
 * 1 <= count <= LLM_BATCH, first + count <= config.context, ids below config.vocabulary. */
void llm_model_advance(struct llm_model *model, const uint32_t *ids, uint32_t first,
                       uint32_t count);

/* Wipes the keys and values of the first `count` positions. */
void llm_model_forget(struct llm_model *model, uint32_t count);

/* Computes model->logits for the position `index`, below count, of the last llm_model_advance. */
void llm_model_logits(struct llm_model *model, uint32_t index);

#endif
