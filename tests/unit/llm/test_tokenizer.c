// SPDX-License-Identifier: Apache-2.0
// Tests of the tokenizer: the vectors of the demo model, and a vocabulary made for the purpose.

#include "arena.h"
#include "config.h"
#include "gguf.h"
#include "support.h"
#include "tokenizer.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

/* A tokenizer with all it points into. */
struct fixture {
    struct blob blob;
    struct gguf_file file;
    struct llm_tokenizer tokenizer;
    void *memory;
};

static void open_tokenizer(struct fixture *fixture, struct blob blob, size_t text_limit)
{
    struct llm_error err;
    struct llm_config config;
    struct llm_arena arena = {0};

    fixture->blob = blob;
    struct llm_weights weights = {blob.data, blob.length};
    cr_assert_eq(gguf_open(&fixture->file, &weights, 1, &err), 0, "%s", err.text);
    cr_assert_eq(llm_config_read(&config, &fixture->file, 0, &err), 0, "%s", err.text);
    llm_tokenizer_reserve(&fixture->tokenizer, &arena, &fixture->file, config.vocabulary,
                          text_limit);
    cr_assert_eq(posix_memalign(&fixture->memory, 64, arena.used), 0);
    memset(fixture->memory, 0, arena.used);
    arena = (struct llm_arena){.base = fixture->memory, .length = arena.used};
    llm_tokenizer_reserve(&fixture->tokenizer, &arena, &fixture->file, config.vocabulary,
                          text_limit);
    cr_assert_not(arena.exhausted);
    cr_assert_eq(llm_tokenizer_load(&fixture->tokenizer, &fixture->file, &err), 0, "%s", err.text);
}

static void close_tokenizer(struct fixture *fixture)
{
    free(fixture->memory);
    free(fixture->blob.data);
}

static void expect_tokens(struct fixture *fixture, const char *text, size_t length,
                          const uint32_t *expected, size_t expected_count)
{
    uint32_t ids[1024];
    size_t count = 0;
    struct llm_error err = {""};
    cr_assert_leq(expected_count, 1024);
    cr_expect_eq(llm_tokenize(&fixture->tokenizer, text, length, false, ids, 1024, &count, &err), 0,
                 "'%s': %s", text, err.text);
    cr_expect_eq(count, expected_count, "'%s': %zu tokens, not %zu", text, count, expected_count);
    for (size_t index = 0; index < count && index < expected_count; index++) {
        cr_expect_eq(ids[index], expected[index], "'%s': token %zu is %u, not %u", text, index,
                     (unsigned)ids[index], (unsigned)expected[index]);
    }
}

Test(tokenizer, agrees_with_the_vectors)
{
    struct fixture fixture;
    struct json_object *vectors = json_object_from_file(LLM_MODELS_DIRECTORY "/vectors.json");
    cr_assert_not_null(vectors);
    cr_assert_gt(json_object_array_length(vectors), 0);
    open_tokenizer(&fixture, read_model("demo.gguf"), 65536);

    for (size_t index = 0; index < json_object_array_length(vectors); index++) {
        struct json_object *vector = json_object_array_get_idx(vectors, index);
        struct json_object *text;
        struct json_object *ids;
        uint32_t expected[1024];
        cr_assert(json_object_object_get_ex(vector, "text", &text));
        cr_assert(json_object_object_get_ex(vector, "ids", &ids));
        size_t count = json_object_array_length(ids);
        cr_assert_leq(count, 1024);
        for (size_t id = 0; id < count; id++) {
            expected[id] = (uint32_t)json_object_get_int(json_object_array_get_idx(ids, id));
        }
        expect_tokens(&fixture, json_object_get_string(text),
                      (size_t)json_object_get_string_len(text), expected, count);
    }
    json_object_put(vectors);
    close_tokenizer(&fixture);
}

/* The text of the tokens is the text they were made of, with the space before it. */
Test(tokenizer, text_comes_back)
{
    static const char text[] = "The na\xc3\xafve caf\xc3\xa9 \xe2\x82\xac 5,\n\ttabs "
                               "\xf0\x9f\x98\x80 and broken \xff\xfe|\xe2\x82";
    struct fixture fixture;
    uint32_t ids[512];
    size_t count;
    struct llm_error err;
    char back[512];
    size_t length = 0;

    open_tokenizer(&fixture, read_model("demo.gguf"), 65536);
    cr_assert_eq(llm_tokenize(&fixture.tokenizer, text, strlen(text), true, ids, 512, &count, &err),
                 0);
    cr_expect_eq(ids[0], fixture.tokenizer.begin);
    for (size_t index = 0; index < count; index++) {
        char piece[LLM_PIECE_BYTES_MAX];
        size_t bytes = llm_token_text(&fixture.tokenizer, ids[index], piece);
        cr_assert_lt(length + bytes, sizeof(back));
        memcpy(back + length, piece, bytes);
        length += bytes;
    }
    cr_expect_eq(length, strlen(text) + 1);
    cr_expect_eq(back[0], ' ');
    cr_expect_eq(memcmp(back + 1, text, strlen(text)), 0);
    close_tokenizer(&fixture);
}

/* Vocabulary: 0 <unk>, 3 byte 'A', 4 space, 5 a, 6 b, 7 space+a, 8 ab, 9 bb, 10 e acute, 11 c. */
Test(tokenizer, merges_by_score_then_from_the_left)
{
    static const uint32_t space_a[] = {7};
    static const uint32_t space_ab[] = {7, 6};     /* " a" has a better score than "ab" */
    static const uint32_t tie_left[] = {4, 9, 6};  /* "bbb": the left pair of two equal ones */
    static const uint32_t bytes[] = {4, 3, 0, 11}; /* 'A' has a byte token, 'B' has none */
    static const uint32_t accent[] = {4, 10};
    static const uint32_t not_control[] = {4, 0, 0, 0};
    struct recipe recipe = recipe_valid();
    struct fixture fixture;

    open_tokenizer(&fixture, build_model(&recipe), 64);
    expect_tokens(&fixture, "a", 1, space_a, 1);
    expect_tokens(&fixture, "ab", 2, space_ab, 2);
    expect_tokens(&fixture, "bbb", 3, tie_left, 3);
    expect_tokens(&fixture, "ABc", 3, bytes, 4);
    expect_tokens(&fixture, "\xc3\xa9", 2, accent, 2);
    expect_tokens(&fixture, "<s>", 3, not_control, 4);
    expect_tokens(&fixture, "", 0, NULL, 0);
    close_tokenizer(&fixture);
}

Test(tokenizer, refuses_what_does_not_fit)
{
    struct recipe recipe = recipe_valid();
    struct fixture fixture;
    struct llm_error err;
    uint32_t ids[4];
    size_t count = 0;
    char text[65];

    memset(text, 'c', sizeof(text));
    open_tokenizer(&fixture, build_model(&recipe), 64);
    cr_expect_eq(llm_tokenize(&fixture.tokenizer, text, 65, false, ids, 4, &count, &err), -1);
    cr_expect_str_eq(err.text, "the prompt has 65 bytes, at most 64 are allowed");
    cr_expect_eq(llm_tokenize(&fixture.tokenizer, text, 64, false, ids, 4, &count, &err), -1);
    cr_expect_str_eq(err.text, "the prompt has 65 tokens, the context holds 4");
    cr_expect_eq(llm_tokenize(&fixture.tokenizer, text, 3, false, ids, 4, &count, &err), 0);
    cr_expect_eq(count, 4);
    close_tokenizer(&fixture);
}

/* All the working memory is used by the longest text in which everything merges. */
Test(tokenizer, takes_the_longest_text)
{
    struct recipe recipe = recipe_valid();
    struct fixture fixture;
    struct llm_error err;
    char *text = malloc(4096);
    uint32_t *ids = malloc(5000 * sizeof(uint32_t));
    size_t count = 0;

    cr_assert(text != NULL && ids != NULL);
    open_tokenizer(&fixture, build_model(&recipe), 4096);
    memset(text, 'b', 4096);
    cr_expect_eq(llm_tokenize(&fixture.tokenizer, text, 4096, false, ids, 5000, &count, &err), 0);
    cr_expect_eq(count, 1 + 2048);
    memset(text, ' ', 4096);
    cr_expect_eq(llm_tokenize(&fixture.tokenizer, text, 4096, false, ids, 5000, &count, &err), 0);
    cr_expect_eq(count, 4097);
    close_tokenizer(&fixture);
    free(text);
    free(ids);
}
