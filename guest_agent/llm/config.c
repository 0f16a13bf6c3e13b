// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a model, checked before any memory is sized by them.

#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#define VOCABULARY_MAX   (1u << 21)
#define CONTEXT_MAX      (1u << 20)
#define EMBEDDING_MAX    (1u << 16)
#define FEED_FORWARD_MAX (1u << 20)
#define LAYERS_MAX       1024
#define HEADS_MAX        1024
#define HEAD_SIZE_MAX    1024
#define SCALE_MIN        1e-6f /* of factors, so that neither they nor their inverses overflow */
#define SCALE_MAX        1e6f

/* Reads keys whose names begin with the architecture. */
struct reader {
    const struct gguf_file *file;
    const char *prefix;
    struct llm_error *err;
    char name[GGUF_NAME_MAX]; /* of the last key */
};

static const char *key(struct reader *reader, const char *suffix)
{
    (void)snprintf(reader->name, sizeof(reader->name), "%s.%s", reader->prefix, suffix);
    return reader->name;
}

/* The functions below leave *value as it is if the key is absent, unless it is required. */
static int read_float(struct reader *reader, const char *suffix, float minimum, float maximum,
                      float *value)
{
    return gguf_read_float(reader->file, key(reader, suffix), false, minimum, maximum, value,
                           reader->err);
}

static int read_size(struct reader *reader, const char *suffix, bool required, uint64_t minimum,
                     uint64_t maximum, uint32_t *size)
{
    uint64_t value = *size;
    int status = gguf_read_integer(reader->file, key(reader, suffix), required, minimum, maximum,
                                   &value, reader->err);
    *size = (uint32_t)value;
    return status;
}

static int find_family(struct llm_config *config, const struct gguf_file *file,
                       struct llm_error *err)
{
    struct gguf_string name;
    if (gguf_read_string(file, "general.architecture", true, &name, err) != 0) {
        return -1;
    }
    config->family = llm_family_find(name);
    if (config->family == NULL) {
        char supported[128];
        return llm_fail(err, "architecture '%.*s' is not supported (supported: %s)",
                        gguf_shown(name), name.text, llm_family_list(supported, sizeof(supported)));
    }
    return 0;
}

/* A key that changes what a model computes in a way the program does not know, or knows of some
 * families only. */
struct variant {
    const char *suffix;
    float neutral; /* the number it may have; not-a-number: the key must be absent */
    size_t known;  /* offset of the member of struct llm_family that says it is read, or 0 */
};

#define SCALES  offsetof(struct llm_family, scales)
#define TEMPERS offsetof(struct llm_family, tempers)

static const struct variant variants[] = {
    {"expert_count", 0.0f, 0},
    {"nextn_predict_layers", 0.0f, 0},
    {"attention.causal", 1.0f, 0},
    {"attention.clamp_kqv", 0.0f, 0},
    {"attention.max_alibi_bias", 0.0f, 0},
    {"attention.sliding_window_pattern", NAN, 0},
    {"attention.temperature_length", 0.0f, 0},
    {"attention.temperature_scale", 0.0f, TEMPERS},
    {"attn_logit_softcapping", 0.0f, 0},
    {"final_logit_softcapping", 0.0f, 0},
    {"rope.dimension_sections", NAN, 0},
    {"rope.freq_base_swa", NAN, 0},
    {"rope.scaling.yarn_attn_factor", 1.0f, 0},
    {"rope.scaling.yarn_ext_factor", 1.0f, 0},
    {"rope.scaling.yarn_log_multiplier", 0.0f, TEMPERS},
    {"attention.scale", 0.0f, SCALES},
    {"embedding_scale", 1.0f, SCALES},
    {"logit_scale", 1.0f, SCALES},
    {"residual_scale", 1.0f, SCALES},
};

static bool is_neutral(const struct gguf_file *file, const char *name, float neutral)
{
    struct llm_error ignored; /* another type is not neutral either */
    uint64_t integer = UINT64_MAX;
    bool boolean = false;
    float number = NAN;
    if (gguf_read_integer(file, name, true, 0, 1, &integer, &ignored) == 0) {
        number = (float)integer;
    } else if (gguf_read_boolean(file, name, true, &boolean, &ignored) == 0) {
        number = boolean ? 1.0f : 0.0f;
    } else if (gguf_read_float(file, name, true, 0.0f, 1.0f, &number, &ignored) != 0) {
        return false;
    }
    return number >= neutral && number <= neutral;
}

static int check_variants(struct reader *reader, const struct llm_family *family)
{
    for (size_t index = 0; index < sizeof(variants) / sizeof(variants[0]); index++) {
        const struct variant *variant = &variants[index];
        const char *name = key(reader, variant->suffix);
        bool known =
            variant->known != 0 && *((const bool *)((const char *)family + variant->known));
        if (!known && gguf_find(reader->file, name) != NULL &&
            !is_neutral(reader->file, name, variant->neutral)) {
            return llm_fail(reader->err, "key %s: its value is not supported", name);
        }
    }
    return 0;
}

static int read_vocabulary(struct llm_config *config, const struct gguf_file *file,
                           struct llm_error *err)
{
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

static int read_sizes(struct llm_config *config, struct reader *reader)
{
    const struct {
        const char *suffix;
        uint32_t maximum;
        uint32_t *size;
    } sizes[] = {
        {"context_length", CONTEXT_MAX, &config->context_trained},
        {"embedding_length", EMBEDDING_MAX, &config->embedding},
        {"feed_forward_length", FEED_FORWARD_MAX, &config->feed_forward},
        {"block_count", LAYERS_MAX, &config->layers},
        {"attention.head_count", HEADS_MAX, &config->heads},
    };
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        if (read_size(reader, sizes[index].suffix, true, 1, sizes[index].maximum,
                      sizes[index].size) != 0) {
            return -1;
        }
    }

    if (read_size(reader, "attention.sliding_window", false, 0, UINT32_MAX, &config->window) != 0) {
        return -1;
    }
    if (config->window != 0 && config->family->no_window) {
        return llm_fail(reader->err, "key %s: a window is not supported", reader->name);
    }
    return read_vocabulary(config, reader->file, reader->err);
}

static int read_heads(struct llm_config *config, struct reader *reader)
{
    struct llm_error *err = reader->err;

    config->key_value_heads = config->heads;
    if (read_size(reader, "attention.head_count_kv", false, 1, config->heads,
                  &config->key_value_heads) != 0) {
        return -1;
    }
    if (config->heads % config->key_value_heads != 0) {
        return llm_fail(err, "key %s: %" PRIu32 " does not divide %" PRIu32 " heads", reader->name,
                        config->key_value_heads, config->heads);
    }

    config->head_size = config->embedding / config->heads;
    bool given = gguf_find(reader->file, key(reader, "attention.key_length")) != NULL;
    if (!given && config->embedding % config->heads != 0) {
        return llm_fail(err, "key %s: %" PRIu32 " heads do not divide an embedding of %" PRIu32,
                        key(reader, "attention.head_count"), config->heads, config->embedding);
    }
    if (read_size(reader, "attention.key_length", false, 1, HEAD_SIZE_MAX, &config->head_size) !=
        0) {
        return -1;
    }
    uint32_t value_size = config->head_size;
    if (read_size(reader, "attention.value_length", false, 1, HEAD_SIZE_MAX, &value_size) != 0) {
        return -1;
    }
    if (value_size != config->head_size) {
        return llm_fail(err, "key %s: %" PRIu32 " is not supported with keys of %" PRIu32,
                        reader->name, value_size, config->head_size);
    }
    if (config->head_size < 2 || config->head_size > HEAD_SIZE_MAX || config->head_size % 2 != 0) {
        return llm_fail(err, "heads of %" PRIu32 " elements are not supported (even, at most %d)",
                        config->head_size, HEAD_SIZE_MAX); /* rotation is of pairs */
    }

    config->rotated = config->head_size;
    if (read_size(reader, "rope.dimension_count", false, 1, config->head_size, &config->rotated) !=
        0) {
        return -1;
    }
    if (config->rotated % 2 != 0) {
        return llm_fail(err, "key %s: the number %" PRIu32 " is odd", reader->name,
                        config->rotated);
    }
    return 0;
}

/* Finds the scaling and its factor. Files older than the key rope.scaling.type have
 * rope.scale_linear alone, and a factor without a type is of a linear scaling. */
static int read_scaling(struct llm_rope *rope, struct reader *reader)
{
    struct gguf_string name = {"linear", 6};
    if (gguf_read_string(reader->file, key(reader, "rope.scaling.type"), false, &name,
                         reader->err) != 0) {
        return -1;
    }
    if (gguf_string_is(name, "none")) {
        return 0;
    }
    if (gguf_string_is(name, "yarn")) {
        rope->scaling = LLM_SCALING_YARN;
    } else if (!gguf_string_is(name, "linear")) {
        return llm_fail(reader->err,
                        "key %s: '%.*s' is not supported (supported: none, linear, yarn)",
                        reader->name, gguf_shown(name), name.text);
    }

    if (read_float(reader, "rope.scale_linear", 1.0f, SCALE_MAX, &rope->factor) != 0 ||
        read_float(reader, "rope.scaling.factor", 1.0f, SCALE_MAX, &rope->factor) != 0) {
        return -1;
    }
    if (rope->scaling == LLM_SCALING_NONE && rope->factor > 1.0f) {
        rope->scaling = LLM_SCALING_LINEAR;
    }
    return 0;
}

static int read_yarn(struct llm_rope *rope, struct reader *reader)
{
    float log_multiplier = 0.0f;
    if (read_float(reader, "rope.scaling.yarn_beta_fast", SCALE_MIN, SCALE_MAX, &rope->beta_fast) !=
            0 ||
        read_float(reader, "rope.scaling.yarn_beta_slow", SCALE_MIN, SCALE_MAX, &rope->beta_slow) !=
            0) {
        return -1;
    }
    if (!(rope->beta_fast >= rope->beta_slow)) {
        return llm_fail(reader->err, "key %s: it is above that of yarn_beta_fast", reader->name);
    }
    if (!(rope->base > 1.0f)) {
        return llm_fail(reader->err, "key %s: yarn needs a base above 1",
                        key(reader, "rope.freq_base"));
    }
    if (read_float(reader, "rope.scaling.yarn_log_multiplier", 0.0f, SCALE_MAX, &log_multiplier) !=
        0) {
        return -1;
    }
    /* The temperature of the paper, of which some models were trained with a part only. */
    float growth = 0.1f * logf(rope->factor);
    rope->magnitude *= (1.0f + growth) / (1.0f + growth * log_multiplier);
    return 0;
}

static int read_rope(struct llm_config *config, struct reader *reader)
{
    struct llm_rope *rope = &config->rope;
    bool finetuned = true;

    *rope = (struct llm_rope){
        .base = 10000.0f,
        .factor = 1.0f,
        .magnitude = 1.0f,
        .original_context = config->context_trained,
        .beta_fast = 32.0f,
        .beta_slow = 1.0f,
    };
    if (read_float(reader, "rope.freq_base", 1.0f, 1e12f, &rope->base) != 0 ||
        read_float(reader, "rope.scaling.attn_factor", SCALE_MIN, SCALE_MAX, &rope->magnitude) !=
            0 ||
        gguf_read_boolean(reader->file, key(reader, "rope.scaling.finetuned"), false, &finetuned,
                          reader->err) != 0 ||
        read_size(reader, "rope.scaling.original_context_length", false, 1, CONTEXT_MAX,
                  &rope->original_context) != 0 ||
        read_float(reader, "attention.temperature_scale", 0.0f, 1.0f, &config->temperature) != 0) {
        return -1;
    }
    if (!finetuned && config->family->finetuned_rotates) {
        return llm_fail(reader->err, "key %s: a model without rotation is not supported",
                        key(reader, "rope.scaling.finetuned"));
    }
    if (read_scaling(rope, reader) != 0) {
        return -1;
    }
    return rope->scaling == LLM_SCALING_YARN ? read_yarn(rope, reader) : 0;
}

static int read_scales(struct llm_config *config, struct reader *reader)
{
    float logit_scale = 1.0f;
    if (config->family->scales) {
        if (gguf_read_float(reader->file, key(reader, "logit_scale"), true, SCALE_MIN, SCALE_MAX,
                            &logit_scale, reader->err) != 0 ||
            read_float(reader, "residual_scale", SCALE_MIN, SCALE_MAX, &config->residual_scale) !=
                0 ||
            read_float(reader, "embedding_scale", SCALE_MIN, SCALE_MAX, &config->embedding_scale) !=
                0 ||
            read_float(reader, "attention.scale", SCALE_MIN, SCALE_MAX, &config->attention_scale) !=
                0) {
            return -1;
        }
    }
    config->logit_factor = 1.0f / logit_scale;
    return 0;
}

int llm_config_read(struct llm_config *config, const struct gguf_file *file, uint32_t context,
                    struct llm_error *err)
{
    struct reader reader = {.file = file, .err = err};

    *config = (struct llm_config){.embedding_scale = 1.0f, .residual_scale = 1.0f};
    if (find_family(config, file, err) != 0) {
        return -1;
    }
    reader.prefix = config->family->name;
    if (check_variants(&reader, config->family) != 0 || read_sizes(config, &reader) != 0 ||
        read_heads(config, &reader) != 0 || read_rope(config, &reader) != 0) {
        return -1;
    }
    config->attention_scale = 1.0f / sqrtf((float)config->head_size);
    if (read_scales(config, &reader) != 0 ||
        gguf_read_float(file, key(&reader, "attention.layer_norm_rms_epsilon"), true, 0.0f, 1.0f,
                        &config->norm_epsilon, err) != 0) {
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
