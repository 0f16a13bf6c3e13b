// SPDX-License-Identifier: Apache-2.0
// What clients of a serve port may ask for, and how replies are written.
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "serve_reply.h"
#include "serve_request.h"

static struct serve_request request;
static struct serve_problem problem;

static bool read_as(bool chat, const char *body)
{
    serve_request_free(&request);
    problem = (struct serve_problem){0};
    return serve_request_read(&request, chat, "tiny", body, strlen(body), &problem);
}

// A chat with `keys` besides its messages.
static bool chat_with(const char *keys)
{
    char body[1024];
    snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s%s}",
             *keys ? "," : "", keys);
    return read_as(true, body);
}

static void free_request(void)
{
    serve_request_free(&request);
}

TestSuite(serve_request, .fini = free_request);

Test(serve_request, messages_become_one_text_and_its_division)
{
    cr_assert(read_as(true, "{\"messages\":["
                            "{\"role\":\"developer\",\"content\":\"be kind\"},"
                            "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                            "{\"type\":\"text\",\"text\":\"\\u00e9\"}]},"
                            "{\"role\":\"assistant\",\"content\":null},"
                            "{\"role\":\"tool\",\"content\":\"42\",\"name\":\"sum\"}]}"));
    cr_expect(request.prompt.chat);
    cr_expect_str_eq(request.prompt.parts, "system 7\nuser 3\nassistant 0\ntool 2\n");
    cr_assert_eq(request.prompt.text_length, 12);
    cr_expect_eq(memcmp(request.prompt.text,
                        "be kinda\xc3\xa9"
                        "42",
                        12),
                 0);
}

Test(serve_request, a_prompt_is_one_text)
{
    cr_assert(read_as(false, "{\"prompt\":\"Once\"}"));
    cr_expect_not(request.prompt.chat);
    cr_expect_str_eq(request.prompt.parts, "");
    cr_expect_eq(request.prompt.text_length, 4);
    cr_expect(read_as(false, "{\"prompt\":[\"Once\"]}"));
    cr_expect_not(read_as(false, "{\"prompt\":[\"a\",\"b\"]}"));
    cr_expect_not(read_as(false, "{\"prompt\":[1,2]}"), "tokens are no text");
    cr_expect_not(read_as(false, "{\"prompt\":\"a\\u0000b\"}"));
    cr_expect_not(read_as(false, "{}"));
    cr_expect_str_eq(problem.param, "prompt");
}

Test(serve_request, what_is_not_given_is_the_models_choice)
{
    cr_assert(chat_with(""));
    const struct serve_prompt *prompt = &request.prompt;
    cr_expect_eq(prompt->limit, SERVE_DEFAULT);
    cr_expect_eq(prompt->temperature_milli, SERVE_DEFAULT);
    cr_expect_eq(prompt->top_p_milli, SERVE_DEFAULT);
    cr_expect_not(prompt->has_seed);
    cr_expect_eq(prompt->stop_count, 0);
    cr_expect_not(request.stream);
    cr_expect_not(request.include_usage);
    cr_expect(chat_with("\"temperature\":null,\"max_tokens\":null,\"stop\":null,\"seed\":null"));
    cr_expect_eq(request.prompt.limit, SERVE_DEFAULT);
}

Test(serve_request, numbers_are_read_exactly)
{
    cr_assert(chat_with("\"temperature\":0.7,\"top_p\":0.95,\"seed\":-5,\"max_tokens\":9,"
                        "\"max_completion_tokens\":7,\"stream\":true,"
                        "\"stream_options\":{\"include_usage\":true}"));
    cr_expect_eq(request.prompt.temperature_milli, 700);
    cr_expect_eq(request.prompt.top_p_milli, 950);
    cr_expect(request.prompt.has_seed);
    cr_expect_eq(request.prompt.seed, (uint64_t)-5);
    cr_expect_eq(request.prompt.limit, 7, "the newer name counts");
    cr_expect(request.stream && request.include_usage);
    cr_assert(chat_with("\"temperature\":2,\"top_p\":0,\"max_tokens\":18446744073709551615"));
    cr_expect_eq(request.prompt.temperature_milli, 2000);
    cr_expect_eq(request.prompt.top_p_milli, 1, "as little as there is");
    cr_expect_eq(request.prompt.limit, INT32_MAX);
    cr_assert(chat_with("\"temperature\":0"));
    cr_expect_eq(request.prompt.temperature_milli, 0);
}

Test(serve_request, stops_are_a_text_or_a_few)
{
    cr_assert(chat_with("\"stop\":\"end\""));
    cr_expect_eq(request.prompt.stop_count, 1);
    cr_expect_str_eq(request.prompt.stops[0], "end");
    cr_assert(chat_with("\"stop\":[\"a\",\"bb\",\"c\",\"d\"]"));
    cr_expect_eq(request.prompt.stop_count, 4);
    cr_expect_eq(request.prompt.stop_lengths[1], 2);
}

// Keys, each of them alone, and the parameter that the refusal names.
struct refusal {
    const char *keys;
    const char *param;
};

Test(serve_request, what_would_change_the_reply_is_refused_by_name)
{
    static const struct refusal cases[] = {
        {"\"n\":2", "n"},
        {"\"n\":0", "n"},
        {"\"best_of\":3", "best_of"},
        {"\"echo\":true", "echo"},
        {"\"suffix\":\"none\"", "suffix"},
        {"\"logprobs\":true", "logprobs"},
        {"\"logprobs\":0", "logprobs"},
        {"\"logprobs\":1", "logprobs"},
        {"\"top_logprobs\":1", "top_logprobs"},
        {"\"frequency_penalty\":1", "frequency_penalty"},
        {"\"presence_penalty\":-0.5", "presence_penalty"},
        {"\"logit_bias\":{\"5\":1}", "logit_bias"},
        {"\"tools\":[{\"type\":\"function\"}]", "tools"},
        {"\"functions\":[{}]", "functions"},
        {"\"tool_choice\":\"required\"", "tool_choice"},
        {"\"modalities\":[\"audio\"]", "modalities"},
        {"\"modalities\":[\"text\",\"audio\"]", "modalities"},
        {"\"response_format\":{\"type\":\"json_object\"}", "response_format"},
        {"\"response_format\":\"text\"", "response_format"},
        {"\"temperature\":2.001", "temperature"},
        {"\"temperature\":-1", "temperature"},
        {"\"temperature\":true", "temperature"},
        {"\"top_p\":1.5", "top_p"},
        {"\"max_tokens\":0", "max_tokens"},
        {"\"max_tokens\":1.5", "max_tokens"},
        {"\"max_completion_tokens\":-1", "max_completion_tokens"},
        {"\"seed\":1.5", "seed"},
        {"\"stream\":1", "stream"},
        {"\"stream_options\":[]", "stream_options"},
        {"\"stream_options\":{\"include_usage\":\"yes\"}", "include_usage"},
        {"\"stop\":\"\"", "stop"},
        {"\"stop\":[1]", "stop"},
        {"\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]", "stop"},
        {"\"model\":7", "model"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_not(chat_with(cases[i].keys), "%s", cases[i].keys);
        cr_expect_eq(problem.status, 400, "%s", cases[i].keys);
        cr_expect(problem.param && strcmp(problem.param, cases[i].param) == 0, "%s", cases[i].keys);
    }
}

Test(serve_request, what_asks_for_nothing_is_not)
{
    static const char *const cases[] = {
        "\"n\":1,\"best_of\":1,\"echo\":false,\"suffix\":null,\"logprobs\":false",
        "\"top_logprobs\":0,\"frequency_penalty\":0,\"presence_penalty\":0.0,\"logit_bias\":{}",
        "\"tools\":[],\"tool_choice\":\"none\",\"functions\":null,\"modalities\":[\"text\"]",
        "\"response_format\":{\"type\":\"text\"},\"tool_choice\":\"auto\",\"model\":\"\"",
        "\"user\":\"me\",\"store\":true,\"metadata\":{\"a\":[1.5e3]},\"model\":\"tiny\"",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect(chat_with(cases[i]), "%s: %s", cases[i], problem.message);
}

Test(serve_request, another_model_is_not_found)
{
    cr_assert_not(chat_with("\"model\":\"gpt\\u001b[2J\""));
    cr_expect_eq(problem.status, 404);
    cr_expect_str_eq(problem.code, "model_not_found");
    cr_expect_str_eq(problem.param, "model");
    cr_expect_null(strchr(problem.message, '\x1b'));
}

Test(serve_request, contents_are_text)
{
    static const char *const cases[] = {
        "{\"messages\":[]}",
        "{\"messages\":{}}",
        "{\"messages\":[\"x\"]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":7}]}",
        "{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}",
        "{\"messages\":[{\"content\":\"x\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[\"x\"]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"text\":\"x\"}]}]"
        "}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_not(read_as(true, cases[i]), "%s", cases[i]);
        cr_expect(problem.param && strcmp(problem.param, "messages") == 0, "%s", cases[i]);
    }
}

Test(serve_request, a_body_is_one_object_of_sound_json)
{
    static const char *const cases[] = {
        "",
        "[]",
        "7",
        "null",
        "{",
        "{}x",
        "{\"messages\":[],\"messages\":[]}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":1e999}",
        "{'a':1}",
        "\xef\xbb\xbf{}",
    };
    char deep[4096];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_not(read_as(true, cases[i]), "%s", cases[i]);
        cr_expect_eq(problem.status, 400, "%s", cases[i]);
        cr_expect(problem.message[0], "%s", cases[i]);
    }
    memset(deep, '[', sizeof(deep));
    deep[sizeof(deep) - 1] = '\0';
    cr_expect_not(read_as(true, deep));
}

static struct serve_buffer buffer;

static void free_buffer(void)
{
    serve_buffer_free(&buffer);
}

TestSuite(serve_reply, .fini = free_buffer);

static const struct serve_reply chat = {
    .model = "ti\"ny", .id = "chatcmpl-1", .created_s = 5, .chat = true};
static const struct serve_reply text = {.model = "tiny", .id = "cmpl-1", .created_s = 5};

// The document at `at`, which ends with its line.
static struct json_object *document(const char *at)
{
    char line[4096];
    size_t length = strcspn(at, "\n");
    cr_assert_lt(length, sizeof(line));
    memcpy(line, at, length);
    line[length] = '\0';
    struct json_object *root = json_tokener_parse(line);
    cr_assert_not_null(root, "%s", line);
    return root;
}

// The value at a JSON pointer, as text.
static const char *at(struct json_object *root, const char *pointer)
{
    struct json_object *value = NULL;
    cr_assert_eq(json_pointer_get(root, pointer, &value), 0, "%s", pointer);
    return value ? json_object_get_string(value) : "null";
}

static void terminate(void)
{
    cr_assert_not(buffer.failed);
    cr_assert_lt(buffer.length, buffer.size);
    buffer.bytes[buffer.length] = '\0';
}

// The event behind `*next`, which goes on behind it.
static struct json_object *event(const char **next)
{
    cr_assert_eq(strncmp(*next, "data: {", 7), 0, "%s", *next);
    struct json_object *root = document(*next + 6);
    *next = strstr(*next, "\n\n") + 2;
    return root;
}

static struct serve_call call_of(const char *said, size_t length)
{
    return (struct serve_call){.state = SERVE_ENDED,
                               .end = SERVE_END_STOP,
                               .reason = "",
                               .text = said,
                               .text_length = length,
                               .prompt_tokens = 3,
                               .reply_tokens = 4};
}

Test(serve_reply, a_whole_reply_is_one_document)
{
    static const char said[] = "a\"\\\n\x1b\xe2\x80\xa8\xf0\x9f\x98\x80\xff";
    struct serve_call call = call_of(said, sizeof(said) - 1);
    serve_reply_whole(&buffer, &chat, &call);
    terminate();
    for (size_t i = 0; i + 1 < buffer.length; i++)
        cr_expect_geq((unsigned char)buffer.bytes[i], 0x20);
    struct json_object *root = document(buffer.bytes);
    cr_expect_str_eq(at(root, "/id"), "chatcmpl-1");
    cr_expect_str_eq(at(root, "/object"), "chat.completion");
    cr_expect_str_eq(at(root, "/model"), "ti\"ny");
    cr_expect_str_eq(at(root, "/choices/0/message/role"), "assistant");
    cr_expect_str_eq(at(root, "/choices/0/message/content"),
                     "a\"\\\n\x1b\xe2\x80\xa8\xf0\x9f\x98\x80\xef\xbf\xbd");
    cr_expect_str_eq(at(root, "/choices/0/finish_reason"), "stop");
    cr_expect_str_eq(at(root, "/usage/total_tokens"), "7");
    json_object_put(root);
    serve_buffer_free(&buffer);
    call.end = SERVE_END_LENGTH;
    serve_reply_whole(&buffer, &text, &call);
    terminate();
    root = document(buffer.bytes);
    cr_expect_str_eq(at(root, "/object"), "text_completion");
    cr_expect_str_eq(at(root, "/choices/0/finish_reason"), "length");
    json_object_put(root);
}

Test(serve_reply, a_stream_begins_with_the_role_and_ends_with_a_mark)
{
    struct serve_call call = call_of("hi", 2);
    serve_reply_begin(&buffer, &chat);
    serve_reply_piece(&buffer, &chat, "h\n\ni", 4);
    serve_reply_end(&buffer, &chat, &call, true);
    terminate();
    const char *next = buffer.bytes;
    struct json_object *root = event(&next);
    cr_expect_str_eq(at(root, "/object"), "chat.completion.chunk");
    cr_expect_str_eq(at(root, "/choices/0/delta/role"), "assistant");
    cr_expect_str_eq(at(root, "/choices/0/finish_reason"), "null");
    json_object_put(root);
    root = event(&next);
    cr_expect_str_eq(at(root, "/choices/0/delta/content"), "h\n\ni", "no text ends an event");
    json_object_put(root);
    root = event(&next);
    cr_expect_str_eq(at(root, "/choices/0/finish_reason"), "stop");
    json_object_put(root);
    root = event(&next);
    cr_expect_str_eq(at(root, "/choices"), "[ ]");
    cr_expect_str_eq(at(root, "/usage/prompt_tokens"), "3");
    json_object_put(root);
    cr_expect_str_eq(next, "data: [DONE]\n\n");
}

Test(serve_reply, a_stream_of_a_text_has_no_role)
{
    struct serve_call call = call_of("hi", 2);
    serve_reply_begin(&buffer, &text);
    cr_expect_eq(buffer.length, 0);
    serve_reply_piece(&buffer, &text, "hi", 2);
    serve_reply_end(&buffer, &text, &call, false);
    terminate();
    const char *next = buffer.bytes;
    struct json_object *root = event(&next);
    cr_expect_str_eq(at(root, "/choices/0/text"), "hi");
    json_object_put(root);
    root = event(&next);
    cr_expect_str_eq(at(root, "/choices/0/text"), "");
    json_object_put(root);
    cr_expect_str_eq(next, "data: [DONE]\n\n", "nobody asked for usage");
}

// How a call ended, and what its client reads.
struct ending {
    enum serve_end end;
    const char *reason;
    const char *type;
    const char *code;
    unsigned status;
};

Test(serve_reply, each_end_has_its_error)
{
    static const struct ending cases[] = {
        {SERVE_END_FAILED, "no \"idea\"", "model_error", "null", 500},
        {SERVE_END_DENIED, "rule x", "policy_denied", "policy_denied", 403},
        {SERVE_END_DEADLINE, "late", "timeout_error", "deadline", 504},
        {SERVE_END_ISOLATED, "severed", "isolated", "severed", 503},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct serve_call call = call_of("", 0);
        struct serve_problem found;
        call.end = cases[i].end;
        call.reason = cases[i].reason;
        serve_problem_of_end(&found, &call);
        cr_expect_eq(found.status, cases[i].status);
        serve_reply_error(&buffer, &found, true);
        terminate();
        const char *next = buffer.bytes;
        struct json_object *root = event(&next);
        cr_expect_str_eq(at(root, "/error/type"), cases[i].type);
        cr_expect_str_eq(at(root, "/error/code"), cases[i].code);
        cr_expect_str_eq(at(root, "/error/param"), "null");
        cr_expect_str_eq(next, "", "no mark of the end");
        json_object_put(root);
        serve_buffer_free(&buffer);
    }
}

Test(serve_reply, each_refusal_has_its_status)
{
    static const unsigned statuses[] = {
        [SERVE_BUSY] = 429, [SERVE_DENIED] = 403, [SERVE_TOO_LARGE] = 413, [SERVE_ISOLATED] = 503};
    for (enum serve_refusal refusal = SERVE_BUSY; refusal <= SERVE_ISOLATED; refusal++) {
        struct serve_problem found;
        serve_problem_of_refusal(&found, refusal, "why");
        cr_expect_eq(found.status, statuses[refusal]);
        cr_expect_not_null(strstr(found.message, "why"));
    }
}

Test(serve_reply, the_model_is_alone_or_in_a_list)
{
    serve_reply_model(&buffer, "tiny", 5, true);
    terminate();
    struct json_object *root = document(buffer.bytes);
    cr_expect_str_eq(at(root, "/data/0/id"), "tiny");
    cr_expect_str_eq(at(root, "/data/0/created"), "5");
    json_object_put(root);
    serve_buffer_free(&buffer);
    serve_reply_model(&buffer, "tiny", 5, false);
    terminate();
    root = document(buffer.bytes);
    cr_expect_str_eq(at(root, "/object"), "model");
    json_object_put(root);
}
