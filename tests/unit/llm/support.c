// SPDX-License-Identifier: Apache-2.0
// What the tests of the inference program share: model files made in memory, and a platform.

#include "support.h"

#include "options.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX (64u << 20)
#define PARTS_MAX 20

uint64_t test_isa(void)
{
    uint64_t isa = 0;
    isa |= __builtin_cpu_supports("avx2") ? LLM_ISA_AVX2 : 0;
    isa |= __builtin_cpu_supports("fma") ? LLM_ISA_FMA : 0;
    isa |= __builtin_cpu_supports("avx2") ? LLM_ISA_F16C : 0; /* every such processor has both */
    return isa;
}

struct blob read_model(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", LLM_MODELS_DIRECTORY, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s cannot be opened", path);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    long length = ftell(file);
    cr_assert_gt(length, 0);
    rewind(file);
    struct blob blob = {malloc((size_t)length), (size_t)length};
    cr_assert_not_null(blob.data);
    cr_assert_eq(fread(blob.data, 1, blob.length, file), blob.length);
    (void)fclose(file);
    return blob;
}

/* A file in the making. */
struct writer {
    uint8_t *data;
    size_t length;
    size_t room;
    const struct recipe *recipe;
    uint32_t keys;
    uint32_t tensors;
    uint64_t offset; /* of the next tensor's data */
};

static void put(struct writer *writer, const void *data, size_t length)
{
    if (writer->length + length > writer->room) {
        writer->room = 2 * (writer->length + length);
        writer->data = realloc(writer->data, writer->room);
        cr_assert_not_null(writer->data);
    }
    memcpy(writer->data + writer->length, data, length);
    writer->length += length;
}

static void put_u32(struct writer *writer, uint32_t value)
{
    put(writer, &value, sizeof(value));
}

static void put_u64(struct writer *writer, uint64_t value)
{
    put(writer, &value, sizeof(value));
}

static void put_string(struct writer *writer, const char *text)
{
    put_u64(writer, strlen(text));
    put(writer, text, strlen(text));
}

/* Writes a key, its type and its value; a string if `type` is 8. */
static void put_key(struct writer *writer, const char *name, uint32_t type, const void *value,
                    size_t size)
{
    const struct recipe *recipe = writer->recipe;
    int times = 1;
    if (recipe->missing_key != NULL && strcmp(recipe->missing_key, name) == 0) {
        times = 0;
    } else if (recipe->repeated_key != NULL && strcmp(recipe->repeated_key, name) == 0) {
        times = 2;
    }
    for (; times > 0; times--) {
        put_string(writer, name);
        put_u32(writer, type);
        if (type == 8) {
            put_string(writer, value);
        } else {
            put(writer, value, size);
        }
        writer->keys++;
    }
}

static void put_key_u32(struct writer *writer, const char *name, uint32_t value)
{
    put_key(writer, name, 4, &value, sizeof(value));
}

#define TOKENS 12

static const struct {
    const char *text;
    float score;
    int32_t type;
} tokens[TOKENS] = {
    {"<unk>", 0, 2},
    {"<s>", 0, 3},
    {"</s>", 0, 3},
    {"<0x41>", 0, 6},
    {"\xe2\x96\x81", -3, 1},
    {"a", -4, 1},
    {"b", -5, 1},
    {"\xe2\x96\x81"
     "a",
     -1, 1},
    {"ab", -2, 1},
    {"bb", -2, 1},
    {"\xc3\xa9", -6, 1},
    {"c", -7, 1},
};

static void put_vocabulary(struct writer *writer)
{
    struct writer texts = {.recipe = writer->recipe};
    struct writer scores = {.recipe = writer->recipe};
    struct writer types = {.recipe = writer->recipe};
    put_u32(&texts, 8);
    put_u32(&scores, 6);
    put_u32(&types, 5);
    put_u64(&texts, TOKENS);
    put_u64(&scores, TOKENS);
    put_u64(&types, TOKENS);
    for (size_t index = 0; index < TOKENS; index++) {
        put_string(&texts, tokens[index].text);
        put(&scores, &tokens[index].score, sizeof(float));
        put(&types, &tokens[index].type, sizeof(int32_t));
    }
    put_key(writer, "tokenizer.ggml.model", 8, writer->recipe->tokenizer, 0);
    put_key(writer, "tokenizer.ggml.tokens", 9, texts.data, texts.length);
    put_key(writer, "tokenizer.ggml.scores", 9, scores.data, scores.length);
    put_key(writer, "tokenizer.ggml.token_type", 9, types.data, types.length);
    free(texts.data);
    free(scores.data);
    free(types.data);
}

static void put_added_keys(struct writer *writer)
{
    for (const struct recipe_key *key = writer->recipe->keys; key != NULL && key->name != NULL;
         key++) {
        const void *value = &key->integer;
        if (key->type == 6) {
            value = &key->number;
        } else if (key->type == 8) {
            value = key->text;
        }
        put_key(writer, key->name, key->type, value, key->type == 7 ? 1 : 4);
    }
}

/* Writes a key whose name begins with the architecture. */
static void put_size(struct writer *writer, const char *suffix, uint32_t value)
{
    char name[128];
    (void)snprintf(name, sizeof(name), "%s.%s", writer->recipe->architecture, suffix);
    put_key_u32(writer, name, value);
}

static void put_keys(struct writer *writer)
{
    const struct recipe *recipe = writer->recipe;
    float epsilon = 1e-5f;
    char name[128];

    put_added_keys(writer);
    if (recipe->only_added) {
        return;
    }
    put_key(writer, "general.architecture", 8, recipe->architecture, 0);
    put_key_u32(writer, "general.alignment", recipe->alignment);
    put_size(writer, "context_length", recipe->context);
    put_size(writer, "embedding_length", recipe->embedding);
    put_size(writer, "block_count", recipe->layers);
    put_size(writer, "feed_forward_length", recipe->feed_forward);
    put_size(writer, "attention.head_count", recipe->heads);
    put_size(writer, "attention.head_count_kv", recipe->key_value_heads);
    (void)snprintf(name, sizeof(name), "%s.attention.layer_norm_rms_epsilon", recipe->architecture);
    put_key(writer, name, 6, &epsilon, sizeof(epsilon));
    if (recipe->nested_array != 0) {
        uint32_t nested[] = {9, 1, 0, 4, 0, 0}; /* an array of one empty array of integers */
        put_key(writer, "nested", 9, nested, sizeof(nested));
    }
    for (uint32_t index = 0; index < recipe->extra_keys; index++) {
        (void)snprintf(name, sizeof(name), "extra.%u", (unsigned)index);
        put_key_u32(writer, name, index);
    }
    put_vocabulary(writer);
}

/* Writes the description of a tensor of F32 to `records` and its data to `data`. */
static void put_tensor(struct writer *records, struct writer *data, const char *name,
                       uint64_t columns, uint64_t rows)
{
    const struct recipe *recipe = records->recipe;
    bool victim = recipe->victim != NULL && strcmp(recipe->victim, name) == 0;
    if (victim && recipe->victim_missing != 0) {
        return;
    }
    uint32_t padding = (uint32_t)(-data->length & (recipe->alignment - 1));
    for (uint32_t index = 0; index < padding && padding < 4096; index++) {
        put(data, "", 1);
    }
    put_string(records, victim && recipe->victim_name != NULL ? recipe->victim_name : name);
    put_u32(records, rows == 1 ? 1 : 2);
    put_u64(records, victim && recipe->victim_columns != 0 ? recipe->victim_columns : columns);
    if (rows != 1) {
        put_u64(records, victim && recipe->victim_rows != 0 ? recipe->victim_rows : rows);
    }
    put_u32(records, victim && recipe->victim_type != 0 ? recipe->victim_type - 1 : 0);
    put_u64(records, data->length + (victim ? recipe->victim_offset : 0));
    records->tensors++;

    for (uint64_t index = 0; index < columns * rows; index++) {
        data->tensors = data->tensors * 1664525u + 1013904223u; /* here the random state */
        float value = (float)(int32_t)data->tensors * 0x1p-32f;
        value = rows == 1 ? 1.0f + value / 4.0f : value;
        if (victim && recipe->victim_value != 0.0f) {
            value = recipe->victim_value;
        }
        put(data, &value, sizeof(value));
    }
}

static void put_tensors(struct writer *records, struct writer *data)
{
    const struct recipe *recipe = records->recipe;
    uint64_t width = recipe->embedding;
    uint64_t key_values = width / recipe->heads * recipe->key_value_heads;

    for (const struct recipe_tensor *tensor = recipe->tensors;
         tensor != NULL && tensor->name != NULL; tensor++) {
        put_tensor(records, data, tensor->name, tensor->columns, tensor->rows);
    }
    if (recipe->only_added) {
        return;
    }
    put_tensor(records, data, "token_embd.weight", width, TOKENS);
    for (uint32_t layer = 0; layer < recipe->layers; layer++) {
        const struct {
            const char *name;
            uint64_t columns;
            uint64_t rows;
        } list[] = {
            {"attn_norm", width, 1},
            {"attn_q", width, width},
            {"attn_k", width, key_values},
            {"attn_v", width, key_values},
            {"attn_output", width, width},
            {"ffn_norm", width, 1},
            {"ffn_gate", width, recipe->feed_forward},
            {"ffn_up", width, recipe->feed_forward},
            {"ffn_down", recipe->feed_forward, width},
        };
        for (size_t index = 0; index < sizeof(list) / sizeof(list[0]); index++) {
            char name[64];
            (void)snprintf(name, sizeof(name), "blk.%u.%s.weight", (unsigned)layer,
                           list[index].name);
            put_tensor(records, data, name, list[index].columns, list[index].rows);
        }
    }
    put_tensor(records, data, "output_norm.weight", width, 1);
}

struct recipe recipe_valid(void)
{
    return (struct recipe){
        .version = 3,
        .embedding = 8,
        .feed_forward = 12,
        .layers = 1,
        .heads = 2,
        .key_value_heads = 1,
        .context = 16,
        .alignment = 32,
        .seed = 1,
        .architecture = "llama",
        .tokenizer = "llama",
    };
}

struct blob build_model(const struct recipe *recipe)
{
    struct writer file = {.recipe = recipe};
    struct writer keys = {.recipe = recipe};
    struct writer records = {.recipe = recipe};
    struct writer data = {.recipe = recipe, .tensors = recipe->seed};

    put_keys(&keys);
    put_tensors(&records, &data);
    put(&file, "GGUF", 4);
    put_u32(&file, recipe->version);
    put_u64(&file, records.tensors);
    put_u64(&file, keys.keys);
    put(&file, keys.data, keys.length);
    put(&file, records.data, records.length);
    while (file.length % recipe->alignment != 0 && recipe->alignment < 4096) {
        put(&file, "", 1);
    }
    put(&file, data.data, data.length);
    free(keys.data);
    free(records.data);
    free(data.data);

    struct blob blob = {realloc(file.data, file.length), file.length};
    cr_assert_not_null(blob.data);
    return blob;
}

/* The workers take turns: that the order of their work is arbitrary is all a test needs. */
static void take_turns(void *context, void (*function)(void *argument, unsigned worker),
                       void *argument)
{
    const struct run *run = context;
    for (unsigned worker = run->workers; worker-- > 0;) {
        function(argument, worker);
    }
}

static int collect(void *context, const void *data, size_t length)
{
    struct run *run = context;
    run->writes++;
    if (run->writes == run->failing_write) {
        return -1;
    }
    if (run->output_length + length + 1 > run->output_room) {
        run->output_room = 2 * (run->output_length + length + 1);
        run->output = realloc(run->output, run->output_room);
        cr_assert_not_null(run->output);
    }
    memcpy(run->output + run->output_length, data, length);
    run->output_length += length;
    run->output[run->output_length] = '\0';
    return 0;
}

/* Gives a few bytes at a time, as a terminal or a pipe may. */
static long supply(void *context, void *data, size_t length)
{
    struct run *run = context;
    if (run->input == NULL) {
        return -1;
    }
    size_t left = strlen(run->input) - run->input_used;
    size_t part = left < 3 ? left : 3;
    part = part < length ? part : length;
    memcpy(data, run->input + run->input_used, part);
    run->input_used += part;
    return (long)part;
}

void run_program(struct run *run, struct blob model, unsigned workers, uint64_t isa,
                 long arena_surplus, const char *const *options)
{
    run_parts(run, &model, 1, workers, isa, arena_surplus, options);
}

void run_parts(struct run *run, const struct blob *parts, size_t part_count, unsigned workers,
               uint64_t isa, long arena_surplus, const char *const *options)
{
    struct llm_weights weights[PARTS_MAX];
    cr_assert_leq(part_count, PARTS_MAX);
    for (size_t index = 0; index < part_count; index++) {
        weights[index] = (struct llm_weights){parts[index].data, parts[index].length};
    }
    int count = 0;
    while (options[count] != NULL) {
        count++;
    }
    struct llm_options parsed;
    struct llm_error err;
    uint64_t bytes = 0;
    char **arguments = (char **)(uintptr_t)options; /* llm_main does not write to them */
    if (llm_options_parse(&parsed, count, arguments, &err) != 0 ||
        llm_memory_needed(weights, part_count, (uint32_t)parsed.context, &bytes, &err) != 0 ||
        bytes > ARENA_MAX) {
        bytes = 0;
    }
    size_t length = bytes == 0 ? 0 : (size_t)((long)bytes + arena_surplus);
    void *arena = NULL;
    cr_assert_eq(posix_memalign(&arena, 64, length > 0 ? length : 1), 0);
    memset(arena, 0, length);

    run->workers = workers;
    struct llm_platform platform = {
        .weights = weights,
        .weights_count = part_count,
        .arena = arena,
        .arena_length = length,
        .workers = workers,
        .isa = isa,
        .argc = count,
        .argv = arguments,
        .run = take_turns,
        .write = collect,
        .read = supply,
        .context = run,
    };
    run->status = llm_main(&platform);
    free(arena);
}

void run_free(struct run *run)
{
    free(run->output);
    *run = (struct run){0};
}
