// SPDX-License-Identifier: Apache-2.0
// What `guillotine ask` makes of an endpoint's reply, however it is cut.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ask_stream.h"

static char text[4096];
static size_t used;

static void keep(void *context, const char *bytes, size_t length)
{
    (void)context;
    cr_assert_leq(length, sizeof(text) - used);
    memcpy(text + used, bytes, length);
    used += length;
}

// Reads a reply in pieces of `step` bytes. Returns what the reader says of it.
static int read_reply(const char *reply, size_t length, size_t step, struct ask_stream *stream,
                      struct error *err)
{
    *stream = (struct ask_stream){.text = keep};
    used = 0;
    cr_assert_eq(ask_stream_open(stream, err), 0);
    int result = 0;
    for (size_t at = 0; at < length && result == 0; at += step)
        result = ask_stream_take(stream, reply + at, length - at < step ? length - at : step, err);
    if (result == 0)
        result = ask_stream_end(stream, err);
    ask_stream_close(stream);
    return result;
}

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

Test(ask_stream, text_is_the_same_however_it_is_cut)
{
    static const char reply[] =
        HEAD "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
             "data: {\"choices\":[{\"delta\":{\"content\":\"Two \\u00e9 \"}}]}\n\n"
             ": a comment\n\n"
             "data: {\"choices\":[{\"text\":\"words\",\"finish_reason\":null}]}\n\n"
             "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
             "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1.0}}\n\n"
             "data: [DONE]\n\n";
    struct ask_stream stream;
    struct error err;
    for (size_t step = 1; step < sizeof(reply); step++) {
        cr_assert_eq(read_reply(reply, sizeof(reply) - 1, step, &stream, &err), 0, "%s", err.text);
        cr_assert_eq(used, strlen("Two \xc3\xa9 words"));
        cr_assert_eq(memcmp(text, "Two \xc3\xa9 words", used), 0);
        cr_assert_str_eq(stream.finish, "length");
    }
}

Test(ask_stream, errors_say_what_the_endpoint_said)
{
    static const struct {
        const char *reply;
        enum exit_status status;
        const char *says;
    } cases[] = {
        {"HTTP/1.1 503 Service Unavailable\r\n\r\n"
         "{\"error\":{\"message\":\"the VM is isolated: severed\",\"type\":\"isolated\"}}",
         EXIT_STATUS_ISOLATED, "the VM is isolated: severed"},
        {"HTTP/1.1 429 Too Many\r\n\r\n{\"error\":{\"message\":\"full\"}}", EXIT_STATUS_RESOURCES,
         "full"},
        {"HTTP/1.1 400 Bad\r\n\r\n{\"error\":{\"message\":\"\\u001b[2J\"}}", EXIT_STATUS_FAILURE,
         "\\x1b[2J"},
        {"HTTP/1.1 400 Bad\r\n\r\n<html>", EXIT_STATUS_FAILURE, "cannot be read"},
        {HEAD "data: {\"error\":{\"message\":\"offline\",\"type\":\"isolated\"}}\n\n",
         EXIT_STATUS_ISOLATED, "offline"},
        {HEAD "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", EXIT_STATUS_FAILURE,
         "broke off"},
        {HEAD "data: {\"choices\":\n\n", EXIT_STATUS_BAD_FILE, "the endpoint's reply"},
        {"SSH-2.0-OpenSSH\r\n", EXIT_STATUS_FAILURE, "does not speak HTTP"},
        {"", EXIT_STATUS_FAILURE, "cannot be read"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ask_stream stream;
        struct error err;
        cr_expect_eq(read_reply(cases[i].reply, strlen(cases[i].reply), 7, &stream, &err), -1);
        cr_expect_eq(err.status, cases[i].status, "case %zu", i);
        cr_expect_not_null(strstr(err.text, cases[i].says), "case %zu: %s", i, err.text);
    }
}

Test(ask_stream, a_line_without_end_is_refused)
{
    static char line[ASK_LINE_MAX + 64];
    struct ask_stream stream;
    struct error err;
    memcpy(line, HEAD, strlen(HEAD));
    memset(line + strlen(HEAD), 'a', sizeof(line) - strlen(HEAD));
    cr_expect_eq(read_reply(line, sizeof(line), 4096, &stream, &err), -1);
    cr_expect_not_null(strstr(err.text, "a line of"));
}
