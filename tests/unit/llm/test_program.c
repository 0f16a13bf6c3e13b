// SPDX-License-Identifier: Apache-2.0
// Tests of the whole program: logits against the reference, options, output, memory.

#include "options.h"
#include "output.h"
#include "support.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {"demo.gguf", "tiny-q8_0.gguf", "tiny-f32.gguf"};

/* The value written as 8 hexadecimal digits, the first byte of the float first. */
static float parse_float(const char *digits)
{
    uint8_t bytes[4];
    float value;
    for (size_t index = 0; index < 4; index++) {
        char pair[3] = {digits[2 * index], digits[2 * index + 1], '\0'};
        bytes[index] = (uint8_t)strtoul(pair, NULL, 16);
    }
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* Compares the last line of an output of --logits with the array `expected`; the largest difference
 * may be the part `tolerance` of the largest logit. */
static void expect_logits(const struct run *run, struct json_object *expected, double tolerance,
                          const char *what)
{
    size_t count = json_object_array_length(expected);
    cr_assert_eq(run->status, 0, "%s: %s", what, run->output);
    cr_assert_geq(run->output_length, 8 * count + 1);
    const char *line = run->output + run->output_length - 1 - 8 * count;
    cr_assert(line == run->output || line[-1] == '\n', "%s", what);

    double greatest = 0.0;
    double difference = 0.0;
    for (size_t index = 0; index < count; index++) {
        double value = json_object_get_double(json_object_array_get_idx(expected, index));
        greatest = fmax(greatest, fabs(value));
        difference = fmax(difference, fabs(value - (double)parse_float(line + 8 * index)));
    }
    cr_expect_leq(difference, tolerance * greatest, "%s: off by %g of %g", what, difference,
                  greatest);
}

static struct json_object *find_reference(struct json_object *references, const char *model)
{
    struct json_object *entries;
    cr_assert(json_object_object_get_ex(references, model, &entries), "no logits for %s", model);
    cr_assert_gt(json_object_array_length(entries), 0);
    return entries;
}

Test(program, computes_the_reference_logits)
{
    struct json_object *references = json_object_from_file(LLM_MODELS_DIRECTORY "/logits.json");
    cr_assert_not_null(references);
    for (size_t model = 0; model < sizeof(models) / sizeof(models[0]); model++) {
        struct blob blob = read_model(models[model]);
        struct json_object *entries = find_reference(references, models[model]);
        for (size_t index = 0; index < json_object_array_length(entries); index++) {
            struct json_object *entry = json_object_array_get_idx(entries, index);
            struct json_object *prompt;
            struct json_object *logits;
            cr_assert(json_object_object_get_ex(entry, "prompt", &prompt));
            cr_assert(json_object_object_get_ex(entry, "logits", &logits));
            const char *options[] = {"--logits", "--last", "--prompt",
                                     json_object_get_string(prompt), NULL};
            /* The baseline multiplies floats. With instruction sets a vector that meets Q8_0
             * weights has 8 bits for an element, and a step of 1/127 of the largest of its block:
             * that is what the second tolerance is for; 0.008 was measured. */
            const uint64_t sets[] = {0, test_isa()};
            const bool floats = strcmp(models[model], "tiny-f32.gguf") == 0;
            const double tolerances[] = {1e-3, floats ? 1e-3 : 2e-2};
            for (size_t set = 0; set < 2; set++) {
                struct run run = {0};
                run_program(&run, blob, 1, sets[set], 0, options);
                expect_logits(&run, logits, tolerances[set], models[model]);
                run_free(&run);
            }
        }
        free(blob.data);
    }
    json_object_put(references);
}

static void expect_same_output(struct blob blob, unsigned workers, uint64_t isa,
                               const char *const *options, const char *const *other)
{
    struct run one = {0};
    struct run more = {0};
    run_program(&one, blob, 1, isa, 0, options);
    run_program(&more, blob, workers, isa, 0, other);
    cr_expect_eq(one.status, 0, "%s", one.output);
    cr_expect_eq(one.output_length, more.output_length);
    cr_expect_str_eq(one.output, more.output);
    run_free(&one);
    run_free(&more);
}

Test(program, gives_the_same_bits_with_any_number_of_workers)
{
    static const char *const options[] = {
        "--logits", "--prompt", "The old keeper climbed the stairs, and lit the lamp again.", NULL};
    for (size_t model = 0; model < sizeof(models) / sizeof(models[0]); model++) {
        struct blob blob = read_model(models[model]);
        for (unsigned workers = 2; workers <= 9; workers++) {
            expect_same_output(blob, workers, 0, options, options);
            expect_same_output(blob, workers, test_isa(), options, options);
        }
        free(blob.data);
    }
}

/* Tokens one by one, in the generation, and together, in the prompt, must give the same text: the
 * logits do not depend on the batch. */
Test(program, continues_as_if_the_text_had_been_the_prompt)
{
    static const char *const options[] = {"--prompt", "Once upon", "--temperature", "0", "--tokens",
                                          "30",       NULL};
    struct blob blob = read_model("demo.gguf");
    struct run run = {0};
    run_program(&run, blob, 1, test_isa(), 0, options);
    cr_assert_eq(run.status, 0);
    cr_expect_eq(strncmp(run.output, "Once upon", 9), 0);

    char *prompt = strdup(run.output);
    cr_assert_not_null(prompt);
    char *space = strrchr(prompt, ' '); /* the tokens of a text differ at its end only */
    cr_assert_not_null(space);
    *space = '\0';
    const char *const again[] = {"--prompt", prompt, "--temperature", "0", "--tokens", "1", NULL};
    struct run longer = {0};
    run_program(&longer, blob, 1, test_isa(), 0, again);
    cr_expect_eq(longer.status, 0);
    longer.output[longer.output_length - 1] = '\0';
    cr_expect_eq(strncmp(run.output, longer.output, strlen(longer.output)), 0, "'%s' then '%s'",
                 run.output, longer.output);
    run_free(&run);
    run_free(&longer);
    free(prompt);
    free(blob.data);
}

Test(program, generates_the_same_text_again)
{
    static const char *const options[] = {"A day", "--seed", "5", "--tokens", "60", NULL};
    static const char *const other[] = {"A day", "--seed", "6", "--tokens", "60", NULL};
    struct blob blob = read_model("tiny-q8_0.gguf");
    struct run first = {0};
    struct run second = {0};
    expect_same_output(blob, 3, test_isa(), options, options);
    run_program(&first, blob, 1, test_isa(), 0, options);
    run_program(&second, blob, 1, test_isa(), 0, other);
    cr_expect_str_neq(first.output, second.output);
    run_free(&first);
    run_free(&second);
    free(blob.data);
}

static void expect_output(struct blob blob, const char *input, int status, const char *text,
                          const char *const *options)
{
    struct run run = {.input = input};
    run_program(&run, blob, 1, test_isa(), 0, options);
    cr_expect_eq(run.status, status, "status %d: %s", run.status, run.output);
    cr_expect_not_null(strstr(run.output, text), "'%s' not in: %s", text, run.output);
    run_free(&run);
}

#define EXPECT(input, status, text, ...)                                                           \
    expect_output(blob, input, status, text, (const char *const[]){__VA_ARGS__, NULL})

Test(program, understands_its_options)
{
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);

    EXPECT(NULL, 0, "1 7 6\n", "--tokenize", "ab");
    EXPECT(NULL, 0, "1 7 6\n", "--tokenize", "--prompt", "ab");
    EXPECT("ab\nc", 0, "1 7 6\n", "--tokenize", "--prompt", "-");
    EXPECT("ab", 0, "1 7 6\n", "--tokenize", "--prompt", "-");
    EXPECT("", 0, "1\n", "--tokenize", "--prompt", "-");
    EXPECT(NULL, 1, "error: the prompt cannot be read", "--tokenize", "--prompt", "-");
    EXPECT(NULL, 0, "parameters: 600\n", "--info");
    EXPECT(NULL, 0, "context: 16 of 16\n", "--info");
    EXPECT(NULL, 0, "context: 3 of 16\n", "--info", "--context", "3");
    EXPECT(NULL, 0, "--ignore-eos", "--help");
    EXPECT(NULL, 1, "error: the prompt has 18 tokens, the context holds 16", "cccccccccccccccc");
    EXPECT(NULL, 2, "error: option --nonsense is not known\noptions:", "--nonsense");
    EXPECT(NULL, 2, "error: argument 'b': the prompt is given already", "a", "b");
    EXPECT(NULL, 2, "error: option --seed needs a value", "--seed");
    EXPECT(NULL, 2, "--seed -1: not an integer", "--seed", "-1");
    EXPECT(NULL, 2, "--seed 18446744073709551616: not", "--seed", "18446744073709551616");
    EXPECT(NULL, 2, "--tokens 1x: not an integer", "--tokens", "1x");
    EXPECT(NULL, 2, "--tokens : not an integer", "--tokens", "");
    EXPECT(NULL, 2, "--context 0: not an integer from 1", "--context", "0");
    EXPECT(NULL, 2, "--temperature 1e3: not a decimal", "--temperature", "1e3");
    EXPECT(NULL, 2, "--temperature: not 0, nor", "--temperature", "0.0001");
    EXPECT(NULL, 2, "--top-p: not above 0", "--top-p", "0");
    EXPECT(NULL, 2, "--top-p .: not a decimal", "--top-p", ".");
    EXPECT(NULL, 2, "--last needs --logits", "--last");
    free(blob.data);
}

Test(program, parses_numbers)
{
    struct llm_options options;
    struct llm_error err;
    char *arguments[] = {"--temperature",       "1.25", "--top-p", ".5", "--seed",
                         "18446744073709551615"};
    cr_assert_eq(llm_options_parse(&options, 6, arguments, &err), 0);
    cr_expect_eq(options.temperature, 1.25);
    cr_expect_eq(options.top_p, 0.5);
    cr_expect_eq(options.seed, UINT64_MAX);
    cr_expect_str_eq(options.prompt, "Once upon a time");
}

Test(program, fills_the_context_and_stops)
{
    static const char *const options[] = {"a", "--tokens", "1000", "--ignore-eos", NULL};
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    struct run run = {0};
    run_program(&run, blob, 3, test_isa(), 0, options);
    cr_expect_eq(run.status, 0);
    cr_expect_eq(run.output[run.output_length - 1], '\n');
    run_free(&run);
    free(blob.data);
}

Test(program, says_how_much_memory_it_needs)
{
    static const char *const options[] = {"a", "--tokens", "2", NULL};
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    struct run run = {0};
    run_program(&run, blob, 1, test_isa(), -1, options);
    cr_expect_eq(run.status, 1);
    cr_expect_not_null(strstr(run.output, "error: a context of 16 tokens needs "), "%s",
                       run.output);
    run_free(&run);
    free(blob.data);
}

Test(program, ends_when_the_output_fails)
{
    static const char *const options[] = {"a", "--tokens", "9", "--ignore-eos", NULL};
    struct recipe recipe = recipe_valid();
    struct blob blob = build_model(&recipe);
    for (size_t failing = 1; failing <= 4; failing++) {
        struct run run = {.failing_write = failing};
        run_program(&run, blob, 1, test_isa(), 0, options);
        cr_expect_eq(run.status, 1);
        cr_expect_eq(run.writes, failing);
        run_free(&run);
    }
    free(blob.data);
}

/* What the platform got in each write, separated by bars. */
static char pieces[256];

static int record_piece(void *context, const void *data, size_t length)
{
    size_t used = strlen(pieces);
    (void)context;
    cr_assert_lt(used + length + 2, sizeof(pieces));
    memcpy(pieces + used, data, length);
    memcpy(pieces + used + length, "|", 2);
    return 0;
}

Test(program, writes_whole_characters)
{
    static const char text[] = "a\xe2\x82\xac"
                               "b\xf0\x9f\x98\x80\xff\xe2"
                               "c";
    struct llm_platform platform = {.write = record_piece};
    struct llm_output output;
    llm_output_start(&output, &platform);
    for (size_t index = 0; text[index] != '\0'; index++) {
        llm_output_bytes(&output, &text[index], 1);
        llm_output_flush_characters(&output);
    }
    cr_expect_eq(llm_output_flush(&output), 0);
    cr_expect_str_eq(pieces, "a|\xe2\x82\xac|b|\xf0\x9f\x98\x80|\xff|\xe2"
                             "c|");
}
