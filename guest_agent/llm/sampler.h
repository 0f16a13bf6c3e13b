// SPDX-License-Identifier: Apache-2.0
// The choice of the next token from the logits.

#ifndef LLM_SAMPLER_H
#define LLM_SAMPLER_H

#include "arena.h"
#include "error.h"
#include "vector.h"

#include <stdint.h>

/* A token that may be chosen. */
struct llm_candidate {
    float weight; /* its probability times the sum of all weights */
    uint32_t id;
};

/* The same seed and the same logits give the same tokens. */
struct llm_sampler {
    const struct llm_vector_operations *vector;
    struct llm_candidate *candidates; /* working memory, one for each token */
    uint32_t vocabulary;              /* tokens */
    float temperature; /* 0: always the most probable token; 0.001 or more: divides the logits */
    float top_p; /* in (0, 1]: only the most probable tokens that together have this probability */
    uint64_t state[4]; /* of the random number generator */
};

/* Takes the memory for a vocabulary of `vocabulary` tokens from the arena. If it does not suffice,
 * arena->exhausted is set. */
void llm_sampler_reserve(struct llm_sampler *sampler, struct llm_arena *arena, uint32_t vocabulary);

/* Sets the parameters of a reserved sampler; see struct llm_sampler for their ranges. */
void llm_sampler_start(struct llm_sampler *sampler, const struct llm_vector_operations *vector,
                       float temperature, float top_p, uint64_t seed);

/* Chooses a token by its logits, which it may overwrite, and stores it in *id. Returns 0, or -1
 * with *err filled if a logit is not a finite number. Equal logits rank by their number. */
int llm_sampler_choose(struct llm_sampler *sampler, float *logits, uint32_t *id,
                       struct llm_error *err);

#endif
