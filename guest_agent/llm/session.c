// SPDX-License-Identifier: Apache-2.0
// All parts of a run of the program, and their memory.

#include "session.h"

#include <inttypes.h>

/* Longest prompt, in bytes for each token of the context: tokens of English text have about 4, and
 * the tokenizer's memory is proportional to it. */
#define PROMPT_BYTES_PER_TOKEN 8
#define PROMPT_BYTES_MIN       1024

int llm_session_open(struct llm_session *session, const struct llm_weights *weights, size_t count,
                     uint32_t context, struct llm_error *err)
{
    if (gguf_open(&session->file, weights, count, err) != 0) {
        return -1;
    }
    return llm_config_read(&session->config, &session->file, context, err);
}

void llm_session_reserve(struct llm_session *session, struct llm_arena *arena)
{
    const struct llm_config *config = &session->config;
    size_t text_limit = PROMPT_BYTES_MIN + PROMPT_BYTES_PER_TOKEN * (size_t)config->context;

    session->ids = llm_arena_take(arena, config->context, sizeof(uint32_t));
    session->cached = llm_arena_take(arena, config->context, sizeof(uint32_t));
    session->line = llm_arena_take(arena, text_limit + 1, 1);
    llm_tokenizer_reserve(&session->tokenizer, arena, &session->file, config->vocabulary,
                          text_limit);
    llm_sampler_reserve(&session->sampler, arena, config->vocabulary);
    llm_model_reserve(&session->model, config, arena);
}

int llm_memory_needed(const struct llm_weights *weights, size_t count, uint32_t context,
                      uint64_t *bytes, struct llm_error *err)
{
    struct llm_session session;
    struct llm_arena arena = {0};
    if (llm_session_open(&session, weights, count, context, err) != 0) {
        return -1;
    }
    llm_session_reserve(&session, &arena);
    if (arena.exhausted) {
        return llm_fail(err, "the model needs more memory than can be addressed");
    }
    *bytes = arena.used;
    return 0;
}

int llm_session_load(struct llm_session *session, const struct llm_platform *platform,
                     struct llm_error *err)
{
    struct llm_arena arena = {.base = platform->arena, .length = platform->arena_length};

    llm_session_reserve(session, &arena);
    if (arena.exhausted) {
        return llm_fail(err,
                        "a context of %" PRIu32 " tokens needs %" PRIu64
                        " bytes of memory, there are %zu (see --context)",
                        session->config.context, arena.used, platform->arena_length);
    }
    if (llm_tokenizer_load(&session->tokenizer, &session->file, err) != 0) {
        return -1;
    }
    return llm_model_load(&session->model, &session->file, platform, err);
}

void llm_session_extend(struct llm_session *session, const uint32_t *ids, uint32_t first,
                        uint32_t count)
{
    uint32_t batch = 0;
    for (uint32_t done = 0; done < count; done += batch) {
        batch = count - done < LLM_BATCH ? count - done : LLM_BATCH;
        llm_model_advance(&session->model, ids + done, first + done, batch);
    }
    llm_model_logits(&session->model, batch - 1);
}

void llm_session_prefill(struct llm_session *session, const uint32_t *ids, uint32_t count,
                         void (*report)(void *argument, const float *logits), void *argument)
{
    struct llm_model *model = &session->model;
    for (uint32_t first = 0; first < count; first += LLM_BATCH) {
        uint32_t batch = count - first < LLM_BATCH ? count - first : LLM_BATCH;
        llm_model_advance(model, ids + first, first, batch);
        for (uint32_t index = 0; index < batch; index++) {
            if (report != NULL) {
                llm_model_logits(model, index);
                report(argument, model->logits);
            } else if (first + index + 1 == count) {
                llm_model_logits(model, index);
            }
        }
    }
}
