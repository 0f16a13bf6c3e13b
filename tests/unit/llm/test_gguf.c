// SPDX-License-Identifier: Apache-2.0
// Tests of the GGUF reader and the checks of a model: valid, spoilt and arbitrary files.

#include "gguf.h"
#include "support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const two_tokens[] = {"--prompt", "a", "--tokens", "2", "--context", "4", NULL};

/* Runs the whole program on the file and returns whether it accepted it. `message`, unless it is
 * NULL, must be in the output. */
static bool accepted(struct blob blob, const char *message)
{
    struct run run = {0};
    run_program(&run, blob, 2, test_isa(), 0, two_tokens);
    cr_assert(run.status == 0 || run.status == 1, "status %d", run.status);
    cr_assert(run.status == 0 || strncmp(run.output, "error: ", 7) == 0 ||
              strstr(run.output, "error: ") != NULL);
    if (message != NULL) {
        cr_expect_not_null(strstr(run.output, message), "'%s' not in: %s", message, run.output);
    }
    bool result = run.status == 0;
    run_free(&run);
    return result;
}

static void expect_refused(const struct recipe *recipe, const char *message)
{
    struct blob blob = build_model(recipe);
    cr_expect_not(accepted(blob, message), "accepted, expected: %s", message);
    free(blob.data);
}

Test(gguf, reads_a_valid_file)
{
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    struct gguf_file file;
    struct llm_error err;

    struct llm_weights weights = {blob.data, blob.length};
    cr_assert_eq(gguf_open(&file, &weights, 1, &err), 0, "%s", err.text);
    cr_expect_eq(file.tensor_count, 11);
    uint64_t value = 0;
    cr_expect_eq(gguf_read_integer(&file, "llama.context_length", true, 1, 99, &value, &err), 0);
    cr_expect_eq(value, 16);
    cr_expect_eq(gguf_read_integer(&file, "llama.context_length", true, 1, 9, &value, &err), -1);
    cr_expect_eq(gguf_read_integer(&file, "absent", false, 1, 9, &value, &err), 0);
    cr_expect_eq(value, 16);
    cr_expect_eq(gguf_read_integer(&file, "absent", true, 1, 9, &value, &err), -1);
    cr_expect_str_eq(err.text, "key absent is missing");

    struct gguf_place place = {0};
    struct gguf_tensor tensor;
    for (uint32_t index = 0; index < file.tensor_count; index++) {
        cr_assert_eq(gguf_next_tensor(&file, &place, &tensor, &err), 0, "%s", err.text);
    }
    cr_expect(gguf_string_is(tensor.name, "output_norm.weight"));
    cr_expect_eq(tensor.bytes, 8 * sizeof(float));
    cr_expect_eq(tensor.data + tensor.bytes, blob.data + blob.length);
    cr_expect(accepted(blob, NULL));
    free(blob.data);
}

Test(gguf, accepts_version_2_and_other_alignments)
{
    struct recipe recipe = recipe_valid();
    recipe.version = 2;
    recipe.alignment = 8;
    struct blob blob = build_model(&recipe);
    cr_expect(accepted(blob, NULL));
    free(blob.data);
}

Test(gguf, accepts_a_file_at_an_odd_address)
{
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    uint8_t *moved = malloc(blob.length + 1);
    cr_assert_not_null(moved);
    memcpy(moved + 1, blob.data, blob.length);
    cr_expect(accepted((struct blob){moved + 1, blob.length}, NULL));
    free(moved);
    free(blob.data);
}

Test(gguf, refuses_every_truncation)
{
    struct recipe recipe = recipe_valid();
    struct blob whole = build_model(&recipe);
    for (size_t length = 0; length < whole.length; length++) {
        uint8_t *copy = malloc(length > 0 ? length : 1); /* exact, for the address sanitizer */
        cr_assert_not_null(copy);
        memcpy(copy, whole.data, length);
        cr_expect_not(accepted((struct blob){copy, length}, NULL), "%zu bytes accepted", length);
        free(copy);
    }
    free(whole.data);
}

/* Whatever byte is wrong, the program ends with a status and reads and writes its own memory only:
 * the sanitizers watch. */
Test(gguf, survives_every_changed_byte)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    for (size_t index = 0; index < blob.length; index++) {
        for (size_t change = 0; change < sizeof(changes); change++) {
            blob.data[index] ^= changes[change];
            (void)accepted(blob, NULL);
            blob.data[index] ^= changes[change];
        }
    }
    free(blob.data);
}

/* Each field of 8 bytes set to a value that overflows something. */
Test(gguf, survives_extreme_fields)
{
    static const uint64_t values[] = {
        0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX / 2, UINT64_MAX / 4 + 1, UINT64_MAX - 31};
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    for (size_t index = 0; index + 8 <= blob.length; index++) {
        uint8_t saved[8];
        memcpy(saved, blob.data + index, sizeof(saved));
        for (size_t value = 0; value < sizeof(values) / sizeof(values[0]); value++) {
            memcpy(blob.data + index, &values[value], sizeof(saved));
            (void)accepted(blob, NULL);
        }
        memcpy(blob.data + index, saved, sizeof(saved));
    }
    free(blob.data);
}

Test(gguf, names_what_is_wrong_with_the_file)
{
    struct recipe recipe = recipe_valid();
    recipe.version = 1;
    expect_refused(&recipe, "GGUF version 1 is not supported (supported: 2, 3)");

    recipe = recipe_valid();
    recipe.version = 0x03000000;
    expect_refused(&recipe, "big endian");

    recipe = recipe_valid();
    recipe.alignment = 24;
    expect_refused(&recipe, "general.alignment: 24 is not a power of two");

    recipe = recipe_valid();
    recipe.repeated_key = "llama.block_count";
    expect_refused(&recipe, "key llama.block_count occurs twice");

    recipe = recipe_valid();
    recipe.nested_array = 1;
    expect_refused(&recipe, "key nested: an array of type 9 is not supported");

    recipe = recipe_valid();
    recipe.extra_keys = GGUF_KEYS_MAX;
    expect_refused(&recipe, "keys are too many");
}

Test(gguf, names_what_is_wrong_with_a_tensor)
{
    struct recipe recipe = recipe_valid();
    recipe.victim = "blk.0.attn_q.weight";
    recipe.victim_type = 10 + 1;
    expect_refused(&recipe, "tensor blk.0.attn_q.weight: type Q2_K (10) is not supported "
                            "(supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, ");

    recipe.victim_type = 12 + 1;
    expect_refused(&recipe, "a row of 8 elements is not whole blocks of 256");

    recipe.victim_type = 8 + 1;
    expect_refused(&recipe, "a row of 8 elements is not whole blocks of 32");

    recipe.victim_type = 0;
    recipe.victim_offset = 4;
    expect_refused(&recipe, "is not a multiple of 32");

    recipe.victim_offset = 1u << 30;
    expect_refused(&recipe, "beyond the end of the file");

    recipe.victim_offset = 0;
    recipe.victim_columns = UINT64_C(1) << 62;
    recipe.victim_rows = 8;
    expect_refused(&recipe, "its size overflows 64 bits");

    recipe.victim_columns = 4;
    recipe.victim_rows = 16;
    expect_refused(&recipe, "its shape is 4 x 16 x 1 x 1, expected 8 x 8");

    recipe = recipe_valid();
    recipe.victim = "blk.0.attn_q.weight";
    recipe.victim_name = "blk.0.attn_k.weight";
    expect_refused(&recipe, "tensor blk.0.attn_k.weight occurs twice");

    recipe.victim_name = "rope_freqs.weight";
    expect_refused(&recipe, "tensor rope_freqs.weight: its shape is 8 x 8 x 1 x 1, expected 2 x 1");

    recipe.victim_name = "blk.0.attn_q_norm.weight";
    expect_refused(&recipe, "tensor blk.0.attn_q_norm.weight is not supported (architecture llama");

    recipe.victim_name = "blk.1.attn_q.weight";
    expect_refused(&recipe, "tensor blk.1.attn_q.weight is not supported");

    recipe.victim_name = "blk.00.attn_q.weight";
    expect_refused(&recipe, "tensor blk.00.attn_q.weight is not supported");

    recipe.victim_name = "\x1b[31mred";
    expect_refused(&recipe, "tensor ?[31mred is not supported");

    recipe.victim_name = NULL;
    recipe.victim_missing = 1;
    expect_refused(&recipe, "tensor blk.0.attn_q.weight is missing");
}

Test(gguf, names_what_is_wrong_with_the_model)
{
    struct recipe recipe = recipe_valid();
    recipe.architecture = "gemma";
    expect_refused(
        &recipe, "architecture 'gemma' is not supported (supported: llama, mistral3, qwen2, qwen3");

    recipe = recipe_valid();
    recipe.tokenizer = "bert";
    expect_refused(&recipe, "tokenizer model 'bert' is not supported");

    recipe = recipe_valid();
    recipe.missing_key = "llama.block_count";
    expect_refused(&recipe, "key llama.block_count is missing");

    recipe = recipe_valid();
    recipe.heads = 4;
    recipe.key_value_heads = 3;
    expect_refused(&recipe, "3 does not divide 4 heads");

    recipe = recipe_valid();
    recipe.heads = 3;
    expect_refused(&recipe, "3 heads do not divide an embedding of 8");

    recipe = recipe_valid();
    recipe.heads = 8;
    expect_refused(&recipe, "heads of 1 elements are not supported");

    recipe = recipe_valid();
    recipe.context = 2;
    expect_refused(&recipe, "a context of 4 tokens is longer than the model's 2");

    recipe = recipe_valid();
    recipe.victim = "output_norm.weight";
    recipe.victim_value = 3e38f;
    expect_refused(&recipe, "a logit that is not a finite number");
}

static void expect_key_refused(const char *architecture, struct recipe_key key, const char *message)
{
    const struct recipe_key keys[] = {key, {0}};
    struct recipe recipe = recipe_valid();
    recipe.architecture = architecture;
    recipe.keys = keys;
    expect_refused(&recipe, message);
}

#define EXPECT_REFUSED(message, ...)                                                               \
    expect_key_refused("llama", (struct recipe_key){__VA_ARGS__}, message)

Test(gguf, refuses_keys_that_change_the_computation_by_their_names)
{
    static const char *const switches[] = {
        "expert_count",
        "nextn_predict_layers",
        "attention.clamp_kqv",
        "attention.max_alibi_bias",
        "attention.sliding_window_pattern",
        "attention.temperature_length",
        "attention.temperature_scale",
        "attention.scale",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "rope.dimension_sections",
        "rope.freq_base_swa",
        "rope.scaling.yarn_log_multiplier",
        "rope.scaling.yarn_attn_factor",
        "embedding_scale",
        "logit_scale",
        "residual_scale",
    };
    for (size_t index = 0; index < sizeof(switches) / sizeof(switches[0]); index++) {
        char name[64];
        char message[128];
        (void)snprintf(name, sizeof(name), "llama.%s", switches[index]);
        (void)snprintf(message, sizeof(message), "key %s: its value is not supported", name);
        EXPECT_REFUSED(message, name, 4, 3, 0.0f, NULL);
        EXPECT_REFUSED(message, name, 6, 0, 3.0f, NULL);
        EXPECT_REFUSED(message, name, 8, 0, 0.0f, "text");
    }
    EXPECT_REFUSED("key llama.attention.causal: its value is not supported",
                   "llama.attention.causal", 7, 0, 0.0f, NULL);
}

Test(gguf, refuses_rotations_out_of_range)
{
    EXPECT_REFUSED("llama.rope.scaling.type: 'longrope' is not supported (supported: none, linear, "
                   "yarn)",
                   "llama.rope.scaling.type", 8, 0, 0.0f, "longrope");
    EXPECT_REFUSED("key llama.rope.scaling.factor: the number is out of range",
                   "llama.rope.scaling.factor", 6, 0, 0.5f, NULL);
    EXPECT_REFUSED("key llama.rope.scaling.factor is not one floating-point number",
                   "llama.rope.scaling.factor", 4, 2, 0.0f, NULL);
    EXPECT_REFUSED("key llama.rope.scale_linear: the number is out of range",
                   "llama.rope.scale_linear", 6, 0, -4.0f, NULL);
    EXPECT_REFUSED("key llama.rope.scaling.attn_factor: the number is out of range",
                   "llama.rope.scaling.attn_factor", 6, 0, 0.0f, NULL);
    EXPECT_REFUSED("key llama.rope.freq_base: the number is out of range", "llama.rope.freq_base",
                   6, 0, 0.0f, NULL);
    EXPECT_REFUSED("key llama.rope.dimension_count: the number 3 is odd",
                   "llama.rope.dimension_count", 4, 3, 0.0f, NULL);
    EXPECT_REFUSED("key llama.rope.dimension_count", "llama.rope.dimension_count", 4, 6, 0.0f,
                   NULL);
    EXPECT_REFUSED("key llama.attention.value_length: 2 is not supported with keys of 4",
                   "llama.attention.value_length", 4, 2, 0.0f, NULL);
    EXPECT_REFUSED("heads of 3 elements are not supported", "llama.attention.key_length", 4, 3,
                   0.0f, NULL);
    EXPECT_REFUSED("key llama.attention.sliding_window is not one non-negative integer",
                   "llama.attention.sliding_window", 6, 0, 4.0f, NULL);
    expect_key_refused("olmo2",
                       (struct recipe_key){"olmo2.attention.sliding_window", 4, 8, 0.0f, NULL},
                       "key olmo2.attention.sliding_window: a window is not supported");
    expect_key_refused("granite",
                       (struct recipe_key){"granite.rope.scaling.finetuned", 7, 0, 0.0f, NULL},
                       "key granite.rope.scaling.finetuned: a model without rotation");
    expect_key_refused("granite", (struct recipe_key){"granite.logit_scale", 6, 0, 0.0f, NULL},
                       "key granite.logit_scale: the number is out of range");
    expect_key_refused(
        "mistral3", (struct recipe_key){"mistral3.attention.temperature_scale", 6, 0, 2.0f, NULL},
        "key mistral3.attention.temperature_scale: the number is out of range");
    expect_key_refused("granite", (struct recipe_key){"unread", 4, 0, 0.0f, NULL},
                       "key granite.logit_scale is missing");
}

static void expect_yarn_refused(struct recipe_key key, const char *message)
{
    const struct recipe_key keys[] = {{"llama.rope.scaling.type", 8, 0, 0.0f, "yarn"}, key, {0}};
    struct recipe recipe = recipe_valid();
    recipe.keys = keys;
    expect_refused(&recipe, message);
}

Test(gguf, refuses_yarn_out_of_range)
{
    expect_yarn_refused(
        (struct recipe_key){"llama.rope.scaling.original_context_length", 4, 0, 0.0f, NULL},
        "key llama.rope.scaling.original_context_length: 0");
    expect_yarn_refused((struct recipe_key){"llama.rope.scaling.yarn_beta_fast", 6, 0, 0.0f, NULL},
                        "key llama.rope.scaling.yarn_beta_fast: the number is out of range");
    expect_yarn_refused((struct recipe_key){"llama.rope.scaling.yarn_beta_fast", 6, 0, 0.5f, NULL},
                        "key llama.rope.scaling.yarn_beta_slow: it is above that of");
    expect_yarn_refused((struct recipe_key){"llama.rope.freq_base", 6, 0, 1.0f, NULL},
                        "key llama.rope.freq_base: yarn needs a base above 1");
    expect_yarn_refused((struct recipe_key){"llama.rope.scaling.yarn_ext_factor", 6, 0, 0.5f, NULL},
                        "key llama.rope.scaling.yarn_ext_factor: its value is not supported");
}

Test(gguf, refuses_tensors_a_family_has_not_and_misses_those_it_has)
{
    static const struct recipe_tensor norm[] = {{"blk.0.attn_q_norm.weight", 4, 1}, {0}};
    static const struct recipe_tensor bias[] = {{"blk.0.attn_q.bias", 8, 1}, {0}};
    static const struct recipe_tensor factors[] = {{"rope_freqs.weight", 2, 1}, {0}};
    static const struct recipe_tensor expert[] = {{"blk.0.ffn_gate_inp.weight", 8, 4}, {0}};

    struct recipe recipe = recipe_valid();
    recipe.tensors = expert;
    expect_refused(&recipe, "tensor blk.0.ffn_gate_inp.weight is not supported");

    recipe.architecture = "qwen2";
    recipe.tensors = norm;
    expect_refused(&recipe, "attn_q_norm.weight is not supported (architecture qwen2)");

    recipe.tensors = factors;
    expect_refused(&recipe, "rope_freqs.weight is not supported (architecture qwen2)");

    recipe.tensors = bias;
    expect_refused(&recipe, "tensor blk.0.attn_k.bias is missing");

    recipe.architecture = "qwen3";
    recipe.tensors = norm;
    expect_refused(&recipe, "tensor blk.0.attn_k_norm.weight is missing");

    recipe.architecture = "olmo2";
    recipe.tensors = NULL;
    expect_refused(&recipe, "attn_norm.weight is not supported (architecture olmo2)");

    recipe.architecture = "llama";
    recipe.tensors = factors;
    recipe.victim = "rope_freqs.weight";
    recipe.victim_value = -1.0f;
    expect_refused(&recipe, "tensor rope_freqs.weight: element 0 is out of range");
    recipe.victim_value = NAN;
    expect_refused(&recipe, "tensor rope_freqs.weight: element 0 is out of range");
    recipe.victim_value = 8.0f;
    struct blob blob = build_model(&recipe);
    cr_expect(accepted(blob, NULL));
    free(blob.data);
}

/* A model of a family with everything that is optional or particular in the reader. */
static struct recipe rich_recipe(void)
{
    static const struct recipe_key keys[] = {
        {"qwen3.rope.scaling.type", 8, 0, 0.0f, "yarn"},
        {"qwen3.rope.scaling.factor", 6, 0, 4.0f, NULL},
        {"qwen3.rope.scaling.original_context_length", 4, 8, 0.0f, NULL},
        {"qwen3.rope.freq_base", 6, 0, 1e6f, NULL},
        {"qwen3.rope.dimension_count", 4, 4, 0.0f, NULL},
        {"qwen3.attention.key_length", 4, 4, 0.0f, NULL},
        {"qwen3.attention.value_length", 4, 4, 0.0f, NULL},
        {"qwen3.attention.sliding_window", 4, 2, 0.0f, NULL},
        {0}};
    static const struct recipe_tensor tensors[] = {{"blk.0.attn_q_norm.weight", 4, 1},
                                                   {"blk.0.attn_k_norm.weight", 4, 1},
                                                   {"blk.0.attn_q.bias", 8, 1},
                                                   {"output.weight", 8, 12},
                                                   {0}};
    struct recipe recipe = recipe_valid();
    recipe.architecture = "qwen3";
    recipe.keys = keys;
    recipe.tensors = tensors;
    return recipe;
}

Test(gguf, survives_every_changed_byte_of_a_rich_file)
{
    struct recipe recipe = rich_recipe();
    struct blob blob = build_model(&recipe);
    cr_assert(accepted(blob, NULL));
    for (size_t index = 0; index < blob.length; index++) {
        uint8_t saved = blob.data[index];
        blob.data[index] ^= 0x80;
        (void)accepted(blob, NULL);
        blob.data[index] = 0;
        (void)accepted(blob, NULL);
        blob.data[index] = saved;
    }
    free(blob.data);
}

Test(gguf, accepts_scaling_that_does_nothing)
{
    static const struct recipe_key keys[] = {{"llama.rope.scaling.type", 8, 0, 0.0f, "none"},
                                             {"llama.expert_count", 4, 0, 0.0f, NULL},
                                             {"llama.attention.causal", 7, 1, 0.0f, NULL},
                                             {"llama.logit_scale", 6, 0, 1.0f, NULL},
                                             {"split.count", 4, 1, 0.0f, NULL},
                                             {0}};
    struct recipe recipe = recipe_valid();
    recipe.keys = keys;
    struct blob blob = build_model(&recipe);
    cr_expect(accepted(blob, NULL));
    free(blob.data);
}

/* A model of two files: the second has the biases of the first's only layer. */
struct split {
    struct recipe_key keys[2][4];
    struct recipe_tensor tensors[4];
    struct recipe recipes[2];
    struct blob parts[3];
};

static void start_split(struct split *split)
{
    *split = (struct split){0};
    for (uint32_t part = 0; part < 2; part++) {
        split->keys[part][0] = (struct recipe_key){"split.no", 4, part, 0.0f, NULL};
        split->keys[part][1] = (struct recipe_key){"split.count", 4, 2, 0.0f, NULL};
        split->keys[part][2] = (struct recipe_key){"split.tensors.count", 4, 14, 0.0f, NULL};
        split->recipes[part] = recipe_valid();
        split->recipes[part].keys = split->keys[part];
    }
    split->tensors[0] = (struct recipe_tensor){"blk.0.attn_q.bias", 8, 1};
    split->tensors[1] = (struct recipe_tensor){"blk.0.attn_k.bias", 4, 1};
    split->tensors[2] = (struct recipe_tensor){"blk.0.attn_v.bias", 4, 1};
    split->recipes[1].tensors = split->tensors;
    split->recipes[1].only_added = true;
}

/* Runs the program on `count` of the files in the given order; NULL: it must accept them. */
static void expect_split(struct split *split, const unsigned *order, size_t count,
                         const char *message)
{
    struct blob parts[20];
    struct run run = {0};
    for (size_t part = 0; part < 2; part++) {
        split->parts[part] = build_model(&split->recipes[part]);
    }
    for (size_t index = 0; index < count; index++) {
        parts[index] = split->parts[order[index]];
    }
    run_parts(&run, parts, count, 2, test_isa(), 0, two_tokens);
    cr_expect_eq(run.status, message == NULL ? 0 : 1, "%s", run.output);
    cr_expect(message == NULL || strstr(run.output, message) != NULL, "'%s' not in: %s", message,
              run.output);
    run_free(&run);
    free(split->parts[0].data);
    free(split->parts[1].data);
}

Test(gguf, opens_a_split_model_in_the_order_of_its_parts_only)
{
    static const unsigned order[20] = {0, 1};
    static const unsigned swapped[] = {1, 0};
    static const unsigned twice[] = {0, 0};
    static const unsigned three[] = {0, 1, 1};
    struct split split;

    start_split(&split);
    expect_split(&split, order, 2, NULL);
    expect_split(&split, order, 1, "key split.count: the model consists of 2 files, 1 is given");
    expect_split(&split, three, 3, "key split.count: the model consists of 2 files, 3 are given");
    expect_split(&split, swapped, 2, "key split.no: it is part 2 of 2, expected part 1");
    expect_split(&split, twice, 2, "file 2: key split.no: it is part 1 of 2, expected part 2");
    expect_split(&split, order, 17, "a model of 17 files is not supported (1 to 16)");
}

Test(gguf, names_what_is_wrong_with_a_part)
{
    static const unsigned order[] = {0, 1};
    struct split split;

    start_split(&split);
    split.keys[1][2].integer = 13;
    expect_split(&split, order, 2, "file 2: key split.tensors.count: 13, 14 in the first file");

    start_split(&split);
    split.keys[0][2].integer = split.keys[1][2].integer = 15;
    expect_split(&split, order, 2, "key split.tensors.count: 15, the files have 14");

    start_split(&split);
    split.recipes[1].missing_key = "split.no";
    expect_split(&split, order, 2, "file 2: key split.no is missing");

    start_split(&split);
    split.recipes[0].missing_key = "split.count";
    expect_split(&split, order, 2, "key split.count is missing: 2 files are given as one model");

    start_split(&split);
    split.tensors[0] = (struct recipe_tensor){"blk.0.attn_norm.weight", 8, 1};
    expect_split(&split, order, 2, "tensor blk.0.attn_norm.weight occurs twice");

    start_split(&split);
    split.recipes[1].version = 9;
    expect_split(&split, order, 2, "file 2: GGUF version 9 is not supported");

    start_split(&split);
    split.recipes[1].victim = "blk.0.attn_v.bias";
    split.recipes[1].victim_offset = 1u << 20;
    expect_split(&split, order, 2, "tensor blk.0.attn_v.bias: 16 bytes at offset");
}

Test(gguf, refuses_every_truncation_of_a_part)
{
    struct split split;
    start_split(&split);
    split.parts[0] = build_model(&split.recipes[0]);
    split.parts[1] = build_model(&split.recipes[1]);
    for (size_t length = 0; length < split.parts[1].length; length++) {
        struct run run = {0};
        uint8_t *copy = malloc(length > 0 ? length : 1); /* exact, for the address sanitizer */
        cr_assert_not_null(copy);
        memcpy(copy, split.parts[1].data, length);
        const struct blob parts[] = {split.parts[0], {copy, length}};
        run_parts(&run, parts, 2, 1, test_isa(), 0, two_tokens);
        cr_expect_eq(run.status, 1, "%zu bytes accepted", length);
        run_free(&run);
        free(copy);
    }
    free(split.parts[0].data);
    free(split.parts[1].data);
}
