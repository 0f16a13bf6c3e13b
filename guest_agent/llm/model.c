// SPDX-License-Identifier: Apache-2.0
// The weights of a model: memory, and the tensors of the file by name.

#include "model.h"

#include "rotation.h"

#include <inttypes.h>
#include <string.h>

#define FACTOR_MIN 1e-6f /* of the divisors of frequencies */
#define FACTOR_MAX 1e6f

/* The sizes a dimension of a tensor can have. */
enum extent {
    EXTENT_ONE,
    EXTENT_EMBEDDING,
    EXTENT_QUERIES,
    EXTENT_KEY_VALUES,
    EXTENT_QUERY_NORM,
    EXTENT_KEY_NORM,
    EXTENT_FEED_FORWARD,
    EXTENT_PAIRS,
    EXTENT_VOCABULARY
};

/* A tensor the program computes with. A vector is copied to the arena as floats; its member, at
 * `offset`, is a float *. The member of a matrix is a struct llm_matrix. */
struct slot {
    const char *name;
    size_t offset;
    enum extent columns;
    enum extent rows; /* EXTENT_ONE for a vector */
    enum llm_tensor_group group;
};

#define LAYER(member) offsetof(struct llm_layer, member)
#define MODEL(member) offsetof(struct llm_model, member)

/* clang-format off */
static const struct slot layer_slots[] = {
    {"attn_norm.weight", LAYER(attention_norm), EXTENT_EMBEDDING, EXTENT_ONE,
     LLM_TENSORS_NORM_BEFORE},
    {"attn_q.weight", LAYER(query), EXTENT_EMBEDDING, EXTENT_QUERIES, LLM_TENSORS_OF_ALL},
    {"attn_k.weight", LAYER(key), EXTENT_EMBEDDING, EXTENT_KEY_VALUES, LLM_TENSORS_OF_ALL},
    {"attn_v.weight", LAYER(value), EXTENT_EMBEDDING, EXTENT_KEY_VALUES, LLM_TENSORS_OF_ALL},
    {"attn_q.bias", LAYER(query_bias), EXTENT_QUERIES, EXTENT_ONE, LLM_TENSORS_BIAS_QUERY_KEY},
    {"attn_k.bias", LAYER(key_bias), EXTENT_KEY_VALUES, EXTENT_ONE, LLM_TENSORS_BIAS_QUERY_KEY},
    {"attn_v.bias", LAYER(value_bias), EXTENT_KEY_VALUES, EXTENT_ONE, LLM_TENSORS_BIAS_QUERY_KEY},
    {"attn_q_norm.weight", LAYER(query_norm), EXTENT_QUERY_NORM, EXTENT_ONE,
     LLM_TENSORS_NORM_QUERY_KEY},
    {"attn_k_norm.weight", LAYER(key_norm), EXTENT_KEY_NORM, EXTENT_ONE,
     LLM_TENSORS_NORM_QUERY_KEY},
    {"attn_output.weight", LAYER(attention_output), EXTENT_QUERIES, EXTENT_EMBEDDING,
     LLM_TENSORS_OF_ALL},
    {"attn_output.bias", LAYER(attention_output_bias), EXTENT_EMBEDDING, EXTENT_ONE,
     LLM_TENSORS_BIAS_OUTPUT},
    {"post_attention_norm.weight", LAYER(attention_after), EXTENT_EMBEDDING, EXTENT_ONE,
     LLM_TENSORS_NORM_AFTER},
    {"ffn_norm.weight", LAYER(feed_forward_norm), EXTENT_EMBEDDING, EXTENT_ONE,
     LLM_TENSORS_NORM_BEFORE},
    {"ffn_gate.weight", LAYER(gate), EXTENT_EMBEDDING, EXTENT_FEED_FORWARD, LLM_TENSORS_OF_ALL},
    {"ffn_up.weight", LAYER(up), EXTENT_EMBEDDING, EXTENT_FEED_FORWARD, LLM_TENSORS_OF_ALL},
    {"ffn_down.weight", LAYER(down), EXTENT_FEED_FORWARD, EXTENT_EMBEDDING, LLM_TENSORS_OF_ALL},
    {"post_ffw_norm.weight", LAYER(feed_forward_after), EXTENT_EMBEDDING, EXTENT_ONE,
     LLM_TENSORS_NORM_AFTER},
};

static const struct slot model_slots[] = {
    {"token_embd.weight", MODEL(embedding), EXTENT_EMBEDDING, EXTENT_VOCABULARY,
     LLM_TENSORS_OF_ALL},
    {"output_norm.weight", MODEL(output_norm), EXTENT_EMBEDDING, EXTENT_ONE, LLM_TENSORS_OF_ALL},
    {"output.weight", MODEL(output), EXTENT_EMBEDDING, EXTENT_VOCABULARY, LLM_TENSORS_OUTPUT},
    {"rope_freqs.weight", MODEL(rotation_factors), EXTENT_PAIRS, EXTENT_ONE,
     LLM_TENSORS_ROTATION_FACTORS},
};
/* clang-format on */

#define LAYER_SLOTS (sizeof(layer_slots) / sizeof(layer_slots[0]))
#define MODEL_SLOTS (sizeof(model_slots) / sizeof(model_slots[0]))

static uint64_t extent_of(const struct llm_config *config, enum extent extent)
{
    uint64_t queries = (uint64_t)config->heads * config->head_size;
    uint64_t key_values = (uint64_t)config->key_value_heads * config->head_size;
    bool whole = config->family->norm_scope == LLM_NORM_OF_WHOLE;
    switch (extent) {
    case EXTENT_EMBEDDING:
        return config->embedding;
    case EXTENT_QUERIES:
        return queries;
    case EXTENT_KEY_VALUES:
        return key_values;
    case EXTENT_QUERY_NORM:
        return whole ? queries : config->head_size;
    case EXTENT_KEY_NORM:
        return whole ? key_values : config->head_size;
    case EXTENT_FEED_FORWARD:
        return config->feed_forward;
    case EXTENT_PAIRS:
        return config->rotated / 2;
    case EXTENT_VOCABULARY:
        return config->vocabulary;
    case EXTENT_ONE:
    default:
        return 1;
    }
}

/* Returns the floats that the vectors among the first `count` slots take: the place of a vector
 * after those before it, or the length of all. */
static uint64_t vector_floats(const struct llm_config *config, const struct slot *slots,
                              size_t count)
{
    uint64_t floats = 0;
    for (size_t index = 0; index < count; index++) {
        if (slots[index].rows == EXTENT_ONE &&
            config->family->presence[slots[index].group] != LLM_REFUSED) {
            floats += extent_of(config, slots[index].columns);
        }
    }
    return floats;
}

void llm_model_reserve(struct llm_model *model, const struct llm_config *config,
                       struct llm_arena *arena)
{
    uint64_t queries = (uint64_t)config->heads * config->head_size;
    uint64_t key_values = (uint64_t)config->key_value_heads * config->head_size;
    uint64_t cache = (uint64_t)config->layers * config->context * key_values;
    uint64_t vectors = config->layers * vector_floats(config, layer_slots, LAYER_SLOTS) +
                       vector_floats(config, model_slots, MODEL_SLOTS);
    uint64_t angles = config->rotated / 2;
    size_t size = sizeof(float);

    memset(model, 0, sizeof(*model));
    model->config = *config;
    model->layers = llm_arena_take(arena, config->layers, sizeof(struct llm_layer));
    model->vectors = llm_arena_take(arena, vectors, size);
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
    uint64_t widest = config->embedding > queries ? config->embedding : queries;
    widest = config->feed_forward > widest ? config->feed_forward : widest;
    for (enum llm_form form = LLM_FORM_FLOATS + 1; form < LLM_FORMS; form++) {
        model->forms[form] = llm_arena_take(arena, LLM_BATCH, llm_activation_bytes(form, widest));
    }
    model->keys = llm_arena_take(arena, cache, size);
    model->values = llm_arena_take(arena, cache, size);
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

/* Puts a tensor into its member of *owner, a struct llm_model or llm_layer. `vector` is where it
 * goes if it is a vector. */
static int fill_slot(struct llm_model *model, void *owner, const struct slot *slot, float *vector,
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
        tensor->type->decode(tensor->data, vector, columns);
        memcpy(member, &vector, sizeof(vector));
        return 0;
    }
    struct llm_matrix matrix = {
        .data = tensor->data,
        .type = tensor->type,
        .kernel = llm_type_kernel(tensor->type, model->platform->isa),
        .rows = rows,
        .columns = columns,
        .row_bytes = tensor->bytes / rows,
    };
    memcpy(member, &matrix, sizeof(matrix));
    model->form_used[matrix.kernel->form] = true;
    return 0;
}

static int load_tensor(struct llm_model *model, const struct gguf_tensor *tensor,
                       struct llm_error *err)
{
    const struct llm_config *config = &model->config;
    uint64_t layer_floats = vector_floats(config, layer_slots, LAYER_SLOTS);
    const struct slot *slots = model_slots;
    void *owner = model;
    float *vector = model->vectors + config->layers * layer_floats;

    const struct slot *slot = find_slot(model_slots, MODEL_SLOTS, tensor->name);
    uint32_t layer;
    struct gguf_string rest;
    if (slot == NULL && split_name(tensor->name, config->layers, &layer, &rest) == 0) {
        slot = find_slot(layer_slots, LAYER_SLOTS, rest);
        slots = layer_slots;
        owner = &model->layers[layer];
        vector = model->vectors + layer * layer_floats;
    }
    if (slot == NULL || config->family->presence[slot->group] == LLM_REFUSED) {
        return llm_fail(err, "tensor %.*s is not supported (architecture %s)",
                        gguf_shown(tensor->name), tensor->name.text, config->family->name);
    }
    vector += vector_floats(config, slots, (size_t)(slot - slots));
    return fill_slot(model, owner, slot, vector, tensor, err);
}

/* Both kinds of members begin with a pointer that is NULL until they are filled. */
static bool slot_is_filled(const void *owner, const struct slot *slot)
{
    const void *pointer;
    memcpy(&pointer, (const uint8_t *)owner + slot->offset, sizeof(pointer));
    return pointer != NULL;
}

/* Finds a slot of *owner that the family requires and no tensor has filled; NULL if there is none.
 */
static const struct slot *find_missing(const struct llm_model *model, const void *owner,
                                       const struct slot *slots, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        if (model->config.family->presence[slots[index].group] == LLM_REQUIRED &&
            !slot_is_filled(owner, &slots[index])) {
            return &slots[index];
        }
    }
    return NULL;
}

static int check_complete(const struct llm_model *model, struct llm_error *err)
{
    const struct slot *slot = find_missing(model, model, model_slots, MODEL_SLOTS);
    if (slot != NULL) {
        return llm_fail(err, "tensor %s is missing", slot->name);
    }
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        slot = find_missing(model, &model->layers[layer], layer_slots, LAYER_SLOTS);
        if (slot != NULL) {
            return llm_fail(err, "tensor blk.%" PRIu32 ".%s is missing", layer, slot->name);
        }
    }
    return 0;
}

/* Frequencies are divided by them. */
static int check_factors(const struct llm_model *model, struct llm_error *err)
{
    for (uint32_t pair = 0; model->rotation_factors != NULL && pair < model->config.rotated / 2;
         pair++) {
        float factor = model->rotation_factors[pair];
        if (!(factor >= FACTOR_MIN && factor <= FACTOR_MAX)) {
            return llm_fail(err, "tensor rope_freqs.weight: element %" PRIu32 " is out of range",
                            pair);
        }
    }
    return 0;
}

int llm_model_load(struct llm_model *model, const struct gguf_file *file,
                   const struct llm_platform *platform, struct llm_error *err)
{
    model->platform = platform;
    model->vector = llm_vector_find(platform->isa);
    model->multiply_floats =
        llm_type_kernel(llm_type_find(LLM_TYPE_ID_F32), platform->isa)->multiply;

    struct gguf_place place = {0};
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        struct gguf_tensor tensor;
        if (gguf_next_tensor(file, &place, &tensor, err) != 0 ||
            load_tensor(model, &tensor, err) != 0) {
            return -1;
        }
    }
    if (check_complete(model, err) != 0 || check_factors(model, err) != 0) {
        return -1;
    }
    if (model->output.data == NULL) { /* the file ties the output to the embedding */
        model->output = model->embedding;
    }
    llm_rotation_frequencies(model->frequencies, &model->config, model->rotation_factors);
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
