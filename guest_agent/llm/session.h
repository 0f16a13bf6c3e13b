// SPDX-License-Identifier: Apache-2.0
// All parts of a run of the program, and their memory.

#ifndef LLM_SESSION_H
#define LLM_SESSION_H

#include "arena.h"
#include "config.h"
#include "error.h"
#include "gguf.h"
#include "model.h"
#include "platform.h"
#include "sampler.h"
#include "tokenizer.h"

#include <stddef.h>
#include <stdint.h>

struct llm_session {
    struct gguf_file file;
    struct llm_config config;
    struct llm_tokenizer tokenizer;
    struct llm_model model;
    struct llm_sampler sampler;
    uint32_t *ids;    /* [context]: the tokens of the prompt */
    uint32_t *cached; /* [context]: the tokens that the model's cache is of; for serve.c */
    char *line;       /* [tokenizer.text_limit + 1]: a prompt from the input */
};

/* Opens the model of the `count` files at `weights` and reads the configuration for a context of
 * `context` tokens (0: default). The files must stay mapped. Returns 0, or -1 with *err filled. */
int llm_session_open(struct llm_session *session, const struct llm_weights *weights, size_t count,
                     uint32_t context, struct llm_error *err);

/* Takes all memory of an open session from the arena; see llm_arena_take() for one that only
 * measures. */
void llm_session_reserve(struct llm_session *session, struct llm_arena *arena);

/* Takes the memory from the platform's arena and loads model and tokenizer. Returns 0, or -1 with
 * *err filled. */
int llm_session_load(struct llm_session *session, const struct llm_platform *platform,
                     struct llm_error *err);

/* Computes `count` tokens, at least 1, behind the `first` ones, which are computed. The logits of
 * the last one are in session->model.logits afterwards. */
void llm_session_extend(struct llm_session *session, const uint32_t *ids, uint32_t first,
                        uint32_t count);

/* Computes the `count` tokens, at least 1, at the start of the context. The logits of the last one
 * are in session->model.logits afterwards. For each token `report`, unless it is NULL, is called
 * with `argument` when the logits are those of that token. */
void llm_session_prefill(struct llm_session *session, const uint32_t *ids, uint32_t count,
                         void (*report)(void *argument, const float *logits), void *argument);

#endif
