// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a Llama model, checked before any memory is sized by them.

#include "config.h"

#include <inttypes.h>

#define VOCABULARY_MAX   (1u << 21)
#define CONTEXT_MAX      (1u << 20)
#define EMBEDDING_MAX    (1u << 16)
#define FEED_FORWARD_MAX (1u << 20)
#define LAYERS_MAX       1024
#define HEADS_MAX        1024
#define HEAD_SIZE_MAX    1024

static int check_architecture(const struct gguf_file *file, struct llm_error *err)
{
    struct gguf_string name;
    if (gguf_read_string(file, "general.architecture", true, &name, err) != 0) {
        return -1;
    }
    if (!gguf_string_is(name, "llama")) {
        return llm_fail(err, "architecture '%.*s' is not supported (supported: llama)",
                        gguf_shown(name), name.text);
    }
    return 0;
}

/* Variants of the architecture that would be computed wrongly are refused by name. */
static int check_variants(const struct gguf_file *file, struct llm_error *err)
{
    struct gguf_string scaling = {"none", 4};
    if (gguf_read_string(file, "llama.rope.scaling.type", false, &scaling, err) != 0) {
        return -1;
    }
    if (!gguf_string_is(scaling, "none")) {
        return llm_fail(err, "key llama.rope.scaling.type: '%.*s' is not supported",
                        gguf_shown(scaling), scaling.text);
    }
    float linear = 1.0f;
    if (gguf_read_float(file, "llama.rope.scale_linear", false, 0.0f, 1e9f, &linear, err) != 0) {
        return -1;
    }
    if (linear < 1.0f || linear > 1.0f) {
        return llm_fail(err, "key llama.rope.scale_linear: scaling is not supported");
    }
    uint64_t experts = 0;
    if (gguf_read_integer(file, "llama.expert_count", false, 0, UINT32_MAX, &experts, err) != 0) {
        return -1;
    }
    if (experts != 0) {
        return llm_fail(err, "key llama.expert_count: %" PRIu64 " experts are not supported",
                        experts);
    }
    return 0;
}

static int read_size(const struct gguf_file *file, const char *name, uint32_t maximum,
                     uint32_t *size, struct llm_error *err)
{
    uint64_t value = 0;
    int status = gguf_read_integer(file, name, true, 1, maximum, &value, err);
    *size = (uint32_t)value;
    return status;
}

static int read_sizes(struct llm_config *config, const struct gguf_file *file,
                      struct llm_error *err)
{
    if (read_size(file, "llama.context_length", CONTEXT_MAX, &config->context_trained, err) != 0 ||
        read_size(file, "llama.embedding_length", EMBEDDING_MAX, &config->embedding, err) != 0 ||
        read_size(file, "llama.feed_forward_length", FEED_FORWARD_MAX, &config->feed_forward,
                  err) != 0 ||
        read_size(file, "llama.block_count", LAYERS_MAX, &config->layers, err) != 0 ||
        read_size(file, "llama.attention.head_count", HEADS_MAX, &config->heads, err) != 0) {
        return -1;
    }

    const struct gguf_value *tokens;
    if (gguf_read_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err) != 0) {
        return -1;
    }
    if (tokens->count < 1 || tokens->count > VOCABULARY_MAX) {
        return llm_fail(err, "key tokenizer.ggml.tokens: %" PRIu64 " tokens (1 to %u)",
                        tokens->count, VOCABULARY_MAX);
    }
    config->vocabulary = (uint32_t)tokens->count;
    return 0;
}

static int read_heads(struct llm_config *config, const struct gguf_file *file,
                      struct llm_error *err)
{
    uint64_t key_value_heads = config->heads;
    if (gguf_read_integer(file, "llama.attention.head_count_kv", false, 1, config->heads,
                          &key_value_heads, err) != 0) {
        return -1;
    }
    if (config->heads % key_value_heads != 0) {
        return llm_fail(
            err, "key llama.attention.head_count_kv: %" PRIu64 " does not divide %" PRIu32 " heads",
            key_value_heads, config->heads);
    }
    config->key_value_heads = (uint32_t)key_value_heads;

    uint64_t key_size = config->embedding / config->heads;
    bool given = gguf_find(file, "llama.attention.key_length") != NULL;
    if (!given && config->embedding % config->heads != 0) {
        return llm_fail(err,
                        "key llama.attention.head_count: %" PRIu32
                        " heads do not divide an embedding of %" PRIu32,
                        config->heads, config->embedding);
    }
    if (gguf_read_integer(file, "llama.attention.key_length", false, 1, HEAD_SIZE_MAX, &key_size,
                          err) != 0) {
        return -1;
    }
    uint64_t value_size = key_size;
    if (gguf_read_integer(file, "llama.attention.value_length", false, 1, HEAD_SIZE_MAX,
                          &value_size, err) != 0) {
        return -1;
    }
    if (value_size != key_size) {
        return llm_fail(err,
                        "key llama.attention.value_length: %" PRIu64
                        " is not supported with keys of %" PRIu64,
                        value_size, key_size);
    }
    if (key_size > HEAD_SIZE_MAX || key_size % 2 != 0) { /* rotation is of pairs */
        return llm_fail(err, "heads of %" PRIu64 " elements are not supported (even, at most %d)",
                        key_size, HEAD_SIZE_MAX);
    }
    config->head_size = (uint32_t)key_size;

    uint64_t rotated = key_size;
    if (gguf_read_integer(file, "llama.rope.dimension_count", false, 1, key_size, &rotated, err) !=
        0) {
        return -1;
    }
    if (rotated % 2 != 0) {
        return llm_fail(err, "rotation of %" PRIu64 " elements of a head: the number is odd",
                        rotated);
    }
    config->rotated = (uint32_t)rotated;
    return 0;
}

int llm_config_read(struct llm_config *config, const struct gguf_file *file, uint32_t context,
                    struct llm_error *err)
{
    *config = (struct llm_config){.rope_base = 10000.0f};
    if (check_architecture(file, err) != 0 || check_variants(file, err) != 0 ||
        read_sizes(config, file, err) != 0 || read_heads(config, file, err) != 0 ||
        gguf_read_float(file, "llama.attention.layer_norm_rms_epsilon", true, 0.0f, 1.0f,
                        &config->norm_epsilon, err) != 0 ||
        gguf_read_float(file, "llama.rope.freq_base", false, 1.0f, 1e12f, &config->rope_base,
                        err) != 0) {
        return -1;
    }

    config->context = context;
    if (context == 0) {
        config->context = config->context_trained < LLM_CONTEXT_DEFAULT ? config->context_trained
                                                                        : LLM_CONTEXT_DEFAULT;
    }
    if (config->context > config->context_trained) {
        return llm_fail(err, "a context of %" PRIu32 " tokens is longer than the model's %" PRIu32,
                        config->context, config->context_trained);
    }
    return 0;
}
