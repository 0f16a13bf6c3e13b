// SPDX-License-Identifier: Apache-2.0
// Tests of the GGUF reader and the checks of a model: valid, spoilt and arbitrary files.

#include "gguf.h"
#include "support.h"

#include <criterion/criterion.h>
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
    recipe.victim_type = 12 + 1;
    expect_refused(&recipe, "tensor blk.0.attn_q.weight: type Q4_K (12) is not supported "
                            "(supported: F32, F16, Q8_0)");

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
    expect_refused(&recipe, "tensor rope_freqs.weight is not supported");

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
    expect_refused(&recipe, "architecture 'gemma' is not supported (supported: llama)");

    recipe = recipe_valid();
    recipe.tokenizer = "gpt2";
    expect_refused(&recipe, "tokenizer model 'gpt2' is not supported");

    recipe = recipe_valid();
    recipe.rope_scaling = "yarn";
    expect_refused(&recipe, "key llama.rope.scaling.type: 'yarn' is not supported");

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

Test(gguf, accepts_scaling_that_does_nothing)
{
    struct recipe recipe = recipe_valid();
    recipe.rope_scaling = "none";
    struct blob blob = build_model(&recipe);
    cr_expect(accepted(blob, NULL));
    free(blob.data);
}
