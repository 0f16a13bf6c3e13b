// SPDX-License-Identifier: Apache-2.0
// The weights of a Llama model: memory, and the tensors of the file by name.

#include "model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void llm_model_reserve(struct llm_model *model, const struct llm_config *config,
                       struct llm_arena *arena)
{
    uint64_t queries = (uint64_t)config->heads * config->head_size;
    uint64_t key_values = (uint64_t)config->key_value_heads * config->head_size;
    uint64_t cache = (uint64_t)config->layers * config->context * key_values;
    uint64_t norms = (2 * (uint64_t)config->layers + 1) * config->embedding;
    uint64_t angles = config->rotated / 2;
    size_t size = sizeof(float);

    memset(model, 0, sizeof(*model));
    model->config = *config;
    model->layers = llm_arena_take(arena, config->layers, sizeof(struct llm_layer));
    model->norms = llm_arena_take(arena, norms, size);
    model->frequencies = llm_arena_take(arena, angles, size);
    model->cosines = llm_arena_take(arena, LLM_BATCH * angles, size);
    model->sines = llm_arena_take(arena, LLM_BATCH * angles, size);
    model->stream = llm_arena_take(arena, (uint64_t)LLM_BATCH * config->embedding, size);
    model->normal = llm_arena_take(arena, (uint64_t)LLM_BATCH * config->embedding, size);
    model->query = llm_arena_take(arena, LLM_BATCH * queries, size);
    model->attention = llm_arena_take(arena, LLM_BATCH * queries, size);
    model->gate = llm_arena_take(arena, (uint64_t)LLM_BATCH * config->feed_forward, size);
    model->up = llm_arena_take(arena, (uint64_t)LLM_BATCH * config->feed_forward, size);
    model->scores = llm_arena_take(arena, (uint64_t)config->heads * config->context, size);
    model->logits = llm_arena_take(arena, config->vocabulary, size);
    model->keys = llm_arena_take(arena, cache, size);
    model->values = llm_arena_take(arena, cache, size);
}

/* The sizes a dimension of a tensor can have. */
enum extent {
    EXTENT_ONE,
    EXTENT_EMBEDDING,
    EXTENT_QUERIES,
    EXTENT_KEY_VALUES,
    EXTENT_FEED_FORWARD,
    EXTENT_VOCABULARY
};

/* A tensor the program computes with. A norm is a vector, copied to the arena as floats; its
 * member, at `offset`, is a float *. The member of a matrix is a struct llm_matrix. */
struct slot {
    const char *name;
    size_t offset;
    enum extent columns;
    enum extent rows; /* EXTENT_ONE for a norm */
    unsigned norm;    /* which of the norms of a layer it is */
};

static const struct slot layer_slots[] = {
    {"attn_norm.weight", offsetof(struct llm_layer, attention_norm), EXTENT_EMBEDDING, EXTENT_ONE,
     0},
    {"attn_q.weight", offsetof(struct llm_layer, query), EXTENT_EMBEDDING, EXTENT_QUERIES, 0},
    {"attn_k.weight", offsetof(struct llm_layer, key), EXTENT_EMBEDDING, EXTENT_KEY_VALUES, 0},
    {"attn_v.weight", offsetof(struct llm_layer, value), EXTENT_EMBEDDING, EXTENT_KEY_VALUES, 0},
    {"attn_output.weight", offsetof(struct llm_layer, attention_output), EXTENT_QUERIES,
     EXTENT_EMBEDDING, 0},
    {"ffn_norm.weight", offsetof(struct llm_layer, feed_forward_norm), EXTENT_EMBEDDING, EXTENT_ONE,
     1},
    {"ffn_gate.weight", offsetof(struct llm_layer, gate), EXTENT_EMBEDDING, EXTENT_FEED_FORWARD, 0},
    {"ffn_up.weight", offsetof(struct llm_layer, up), EXTENT_EMBEDDING, EXTENT_FEED_FORWARD, 0},
    {"ffn_down.weight", offsetof(struct llm_layer, down), EXTENT_FEED_FORWARD, EXTENT_EMBEDDING, 0},
};

static const struct slot model_slots[] = {
    {"token_embd.weight", offsetof(struct llm_model, embedding), EXTENT_EMBEDDING,
     EXTENT_VOCABULARY, 0},
    {"output_norm.weight", offsetof(struct llm_model, output_norm), EXTENT_EMBEDDING, EXTENT_ONE,
     0},
    {"output.weight", offsetof(struct llm_model, output), EXTENT_EMBEDDING, EXTENT_VOCABULARY, 0},
};

#define LAYER_SLOTS (sizeof(layer_slots) / sizeof(layer_slots[0]))
#define MODEL_SLOTS (sizeof(model_slots) / sizeof(model_slots[0]))

static uint64_t extent_of(const struct llm_config *config, enum extent extent)
{
    switch (extent) {
    case EXTENT_EMBEDDING:
        return config->embedding;
    case EXTENT_QUERIES:
        return (uint64_t)config->heads * config->head_size;
    case EXTENT_KEY_VALUES:
        return (uint64_t)config->key_value_heads * config->head_size;
    case EXTENT_FEED_FORWARD:
        return config->feed_forward;
    case EXTENT_VOCABULARY:
        return config->vocabulary;
    case EXTENT_ONE:
    default:
        return 1;
    }
}

/* Splits "blk.12.attn_q.weight" into 12 and "attn_q.weight"; -1 if the name has another form or the
 * number leading zeros or no layer. */
static int split_name(struct gguf_string name, uint32_t layers, uint32_t *layer,
                      struct gguf_string *rest)
{
    static const char prefix[] = "blk.";
    size_t position = sizeof(prefix) - 1;
    uint32_t number = 0;

    if (name.length <= position || memcmp(name.text, prefix, position) != 0) {
        return -1;
    }
    size_t first = position;
    while (position < name.length && name.text[position] >= '0' && name.text[position] <= '9') {
        number = number * 10 + (uint32_t)(name.text[position] - '0');
        if (number >= layers || (position > first && name.text[first] == '0')) {
            return -1;
        }
        position++;
    }
    if (position == first || position == name.length || name.text[position] != '.') {
        return -1;
    }
    *layer = number;
    rest->text = name.text + position + 1;
    rest->length = name.length - position - 1;
    return 0;
}

static const struct slot *find_slot(const struct slot *slots, size_t count, struct gguf_string name)
{
    for (size_t index = 0; index < count; index++) {
        if (gguf_string_is(name, slots[index].name)) {
            return &slots[index];
        }
    }
    return NULL;
}

/* Puts a tensor into its member of *owner, a struct llm_model or llm_layer. `norm` is the index of
 * the first norm of the owner in model->norms. */
static int fill_slot(struct llm_model *model, void *owner, const struct slot *slot, uint64_t norm,
                     const struct gguf_tensor *tensor, struct llm_error *err)
{
    uint64_t columns = extent_of(&model->config, slot->columns);
    uint64_t rows = extent_of(&model->config, slot->rows);
    uint8_t *member = (uint8_t *)owner + slot->offset;

    if (tensor->dimensions[0] != columns || tensor->dimensions[1] != rows ||
        tensor->dimensions[2] != 1 || tensor->dimensions[3] != 1) {
        return llm_fail(err,
                        "tensor %.*s: its shape is %" PRIu64 " x %" PRIu64 " x %" PRIu64
                        " x %" PRIu64 ", expected %" PRIu64 " x %" PRIu64,
                        gguf_shown(tensor->name), tensor->name.text, tensor->dimensions[0],
                        tensor->dimensions[1], tensor->dimensions[2], tensor->dimensions[3],
                        columns, rows);
    }
    if (slot->rows == EXTENT_ONE) {
        float *gains = model->norms + (norm + slot->norm) * columns;
        tensor->type->decode(tensor->data, gains, columns);
        memcpy(member, &gains, sizeof(gains));
        return 0;
    }
    struct llm_matrix matrix = {
        .data = tensor->data,
        .type = tensor->type,
        .multiply = llm_type_multiply(tensor->type, model->platform->isa),
        .rows = rows,
        .columns = columns,
        .row_bytes = tensor->bytes / rows,
    };
    memcpy(member, &matrix, sizeof(matrix));
    return 0;
}

static int load_tensor(struct llm_model *model, const struct gguf_tensor *tensor,
                       struct llm_error *err)
{
    const struct slot *slot = find_slot(model_slots, MODEL_SLOTS, tensor->name);
    if (slot != NULL) {
        return fill_slot(model, model, slot, 2 * (uint64_t)model->config.layers, tensor, err);
    }
    uint32_t layer;
    struct gguf_string rest;
    if (split_name(tensor->name, model->config.layers, &layer, &rest) == 0) {
        slot = find_slot(layer_slots, LAYER_SLOTS, rest);
    }
    if (slot == NULL) {
        return llm_fail(err, "tensor %.*s is not supported", gguf_shown(tensor->name),
                        tensor->name.text);
    }
    return fill_slot(model, &model->layers[layer], slot, 2 * (uint64_t)layer, tensor, err);
}

/* Both kinds of members begin with a pointer that is NULL until they are filled. */
static bool slot_is_filled(const void *owner, const struct slot *slot)
{
    const void *pointer;
    memcpy(&pointer, (const uint8_t *)owner + slot->offset, sizeof(pointer));
    return pointer != NULL;
}

static int check_complete(const struct llm_model *model, struct llm_error *err)
{
    for (size_t index = 0; index < MODEL_SLOTS; index++) {
        if (!slot_is_filled(model, &model_slots[index])) {
            return llm_fail(err, "tensor %s is missing", model_slots[index].name);
        }
    }
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        for (size_t index = 0; index < LAYER_SLOTS; index++) {
            if (!slot_is_filled(&model->layers[layer], &layer_slots[index])) {
                return llm_fail(err, "tensor blk.%" PRIu32 ".%s is missing", layer,
                                layer_slots[index].name);
            }
        }
    }
    return 0;
}

int llm_model_load(struct llm_model *model, const struct gguf_file *file,
                   const struct llm_platform *platform, struct llm_error *err)
{
    model->platform = platform;
    model->vector = llm_vector_find(platform->isa);
    model->multiply_floats = llm_type_multiply(llm_type_find(LLM_TYPE_ID_F32), platform->isa);

    size_t position = file->tensor_records;
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        struct gguf_tensor tensor;
        if (gguf_next_tensor(file, &position, &tensor, err) != 0 ||
            load_tensor(model, &tensor, err) != 0) {
            return -1;
        }
    }
    if (model->output.data == NULL) { /* the file ties the output to the embedding */
        model->output = model->embedding;
    }
    if (check_complete(model, err) != 0) {
        return -1;
    }

    /* Pair i of a head turns by base^(-2i / rotated) radians a position (Su et al., 2021). */
    uint32_t rotated = model->config.rotated;
    for (uint32_t pair = 0; pair < rotated / 2; pair++) {
        model->frequencies[pair] =
            powf(model->config.rope_base, -(float)(2 * pair) / (float)rotated);
    }
    return 0;
}

void llm_model_forget(struct llm_model *model, uint32_t count)
{
    size_t width = (size_t)model->config.key_value_heads * model->config.head_size;
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        size_t start = layer * model->config.context * width;
        memset(model->keys + start, 0, count * width * sizeof(float));
        memset(model->values + start, 0, count * width * sizeof(float));
    }
}
