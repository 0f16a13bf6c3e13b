// SPDX-License-Identifier: Apache-2.0
// The HTTP front of a serve port, on a socket and with a clock of the test's own.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve_http.h"
#include "serve_model.h"

static struct serve *serve;
static struct serve_http http;
static struct level_page supervisor;
static struct level_page vmm;
static struct serve_grant grant;
static uint64_t now;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static uint8_t prompt[65536];
static char got[1 << 20]; // what a client has read, terminated

static uint64_t get_now(const struct clock *clock)
{
    (void)clock;
    return now;
}

static const struct clock fake_clock = {get_now, get_now, NULL};

static void start(void)
{
    struct error err = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    grant = (struct serve_grant){
        .model = "tiny", .listeners = 1, .queue = 4, .connections = 8, .deadline_ms = 3600 * 1000};
    now = 1000 * NS_PER_S;
    const struct serve_settings_core settings = {
        .grant = &grant,
        .levels = {&supervisor, &vmm, LEVEL_PROBATION},
        .clock = &fake_clock,
        .max_prompt_bytes = 4096,
        .ask_again_ms = 500,
    };
    // Without a name in a folder: nothing has to be removed.
    snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "serve-http-%d", getpid());
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 8), 0);
    serve = serve_open(&settings, &err);
    cr_assert_not_null(serve);
    cr_assert_eq(serve_http_open(&http, serve, &grant, &fd, &err), 0, "%s", err.text);
    http.clock = &fake_clock;
}

TestSuite(serve_http, .init = start);

// As the process does, often enough for everything that can be done.
static void run(void)
{
    for (unsigned pass = 0; pass < 10; pass++) {
        serve_tick(serve);
        serve_http_run(&http);
    }
}

static int connected(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    run();
    return fd;
}

static void put(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    run();
}

// Reads what there is. Returns false if the connection is closed.
static bool take(int fd)
{
    size_t used = 0;
    for (;;) {
        ssize_t length = recv(fd, got + used, sizeof(got) - 1 - used, 0);
        if (length > 0) {
            used += (size_t)length;
            run();
            continue;
        }
        got[used] = '\0';
        return length < 0 && errno == EAGAIN;
    }
}

static unsigned status(void)
{
    return strncmp(got, "HTTP/1.", 7) == 0 ? (unsigned)strtoul(got + 9, NULL, 10) : 0;
}

static void post(int fd, const char *version, const char *body)
{
    char text[4096];
    snprintf(text, sizeof(text),
             "POST /v1/completions HTTP/%s\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             version, strlen(body), body);
    put(fd, text);
}

// The model takes the next call; 0: there is none.
static uint64_t next_call(void)
{
    struct port_request receive = {
        .operation = SERVE_RECEIVE, .reply = prompt, .reply_capacity = sizeof(prompt)};
    struct port_fields fields;
    uint64_t number = 0;
    if (serve_model_take(serve, &receive, &fields))
        cr_assert(port_field_number(&fields.field[SERVE_FIELD_CALL], &number));
    return number;
}

static uint32_t say(uint32_t operation, uint64_t call, const char *text, const char *finish)
{
    uint32_t result = serve_model_say(serve, operation, call, text, finish);
    run();
    return result;
}

static void pass_time(uint64_t seconds)
{
    now += seconds * NS_PER_S;
    run();
}

Test(serve_http, a_call_waits_for_the_model_and_is_answered)
{
    int fd = connected();
    post(fd, "1.1", "{\"prompt\":\"hello\"}");
    uint64_t call = next_call();
    cr_assert_neq(call, 0);
    cr_expect_eq(say(SERVE_PIECE, call, "you ", NULL), PORT_STATUS_OK);
    cr_assert(take(fd));
    cr_expect_str_eq(got, "", "who wants it whole waits");
    say(SERVE_ANSWER, call, "said", "stop");
    cr_assert(take(fd));
    cr_expect_eq(status(), 200);
    cr_expect_not_null(strstr(got, "\"text\":\"you said\""));
    put(fd, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(take(fd));
    cr_expect_eq(status(), 200, "the connection stays");
    close(fd);
}

Test(serve_http, a_stream_comes_piece_by_piece)
{
    int fd = connected();
    post(fd, "1.1", "{\"prompt\":\"hello\",\"stream\":true}");
    uint64_t call = next_call();
    say(SERVE_PIECE, call, "you ", NULL);
    cr_assert(take(fd));
    cr_expect_not_null(strstr(got, "\"text\":\"you \""), "%s", got);
    say(SERVE_PIECE, call, "said", NULL);
    cr_assert(take(fd));
    cr_expect_not_null(strstr(got, "\"text\":\"said\""), "%s", got);
    say(SERVE_ANSWER, call, NULL, "length");
    cr_assert(take(fd));
    cr_expect_not_null(strstr(got, "data: [DONE]\n\n"), "%s", got);
    close(fd);
}

Test(serve_http, a_stream_of_http_1_0_has_no_chunks_and_ends_with_the_connection)
{
    int fd = connected();
    post(fd, "1.0", "{\"prompt\":\"hello\",\"stream\":true}");
    uint64_t call = next_call();
    say(SERVE_ANSWER, call, "hi", "stop");
    cr_expect_not(take(fd));
    cr_expect_eq(status(), 200);
    cr_expect_null(strstr(got, "chunked"));
    const char *body = strstr(got, "\r\n\r\n");
    cr_assert_not_null(body);
    cr_expect_eq(strncmp(body + 4, "data: {", 7), 0, "%s", body);
    cr_expect_str_eq(got + strlen(got) - 14, "data: [DONE]\n\n");
    close(fd);
}

Test(serve_http, requests_that_come_together_are_answered_one_after_the_other)
{
    int fd = connected();
    put(fd, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models/tiny HTTP/1.1\r\n"
            "Host: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(take(fd));
    cr_expect_not_null(strstr(got, "\"object\":\"list\""));
    cr_expect_not_null(strstr(got, "HTTP/1.1 404"));
    close(fd);
}

// A request, and what its reply says.
struct route_case {
    const char *line;
    unsigned status;
    const char *header; // or NULL
};

Test(serve_http, routes_say_what_they_take)
{
    static const struct route_case cases[] = {
        {"GET /health", 200, NULL},
        {"GET /v1/models?limit=5", 200, NULL},
        {"GET /v1/models/tiny", 200, NULL},
        {"GET /v1/models/other", 404, NULL},
        {"GET /v1/modelsx", 404, NULL},
        {"GET /", 404, NULL},
        {"POST /v1/embeddings", 404, NULL},
        {"DELETE /v1/models/tiny", 405, "Allow: GET, HEAD"},
        {"GET /v1/chat/completions", 405, "Allow: POST"},
        {"PUT /v1/completions", 405, "Allow: POST"},
        {"POST /v1/completions", 415, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        int fd = connected();
        snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                 cases[i].line);
        put(fd, text);
        cr_assert(take(fd));
        cr_expect_eq(status(), cases[i].status, "%s: %s", cases[i].line, got);
        cr_expect(!cases[i].header || strstr(got, cases[i].header), "%s: %s", cases[i].line, got);
        cr_expect(strstr(got, "\r\n\r\n{"), "%s: %s", cases[i].line, got);
        close(fd);
        run();
    }
    int fd = connected();
    put(fd, "HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(take(fd));
    cr_expect_eq(status(), 200);
    cr_expect_str_eq(strstr(got, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
}

Test(serve_http, a_client_that_leaves_frees_the_model)
{
    static const char *const bodies[] = {"{\"prompt\":\"x\"}",
                                         "{\"prompt\":\"x\",\"stream\":true}"};
    for (size_t i = 0; i < 2; i++) {
        int running = connected();
        int waiting = connected();
        post(running, "1.1", bodies[i]);
        post(waiting, "1.1", bodies[i]);
        uint64_t call = next_call();
        cr_assert_neq(call, 0);
        cr_expect_eq(serve_open_calls(serve), 2);
        close(running);
        close(waiting);
        run();
        cr_expect_eq(serve_open_calls(serve), 0);
        cr_expect_eq(say(SERVE_PIECE, call, "y", NULL), PORT_STATUS_BROKEN);
        cr_expect_eq(next_call(), 0);
        cr_expect_not(serve_http_has_clients(&http));
    }
}

Test(serve_http, drops_now_and_then_keep_no_connection)
{
    static const char head[] = "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    int slow = connected();
    put(slow, head);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(take(slow), "it has %u s", 120 - 30 * i);
        pass_time(30);
        put(slow, "a");
    }
    cr_assert(take(slow));
    pass_time(1);
    cr_expect_not(take(slow));
    cr_expect_not(serve_http_has_clients(&http));
    close(slow);
    // The same in a body.
    slow = connected();
    put(slow, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
              "Content-Length: 100\r\n\r\n{");
    pass_time(119);
    cr_assert(take(slow));
    put(slow, " ");
    pass_time(2);
    cr_expect_not(take(slow));
    close(slow);
}

Test(serve_http, a_request_counts_from_the_end_of_the_one_before)
{
    int fd = connected();
    for (unsigned i = 0; i < 5; i++) {
        pass_time(100);
        put(fd, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
        cr_assert(take(fd));
        cr_expect_eq(status(), 200);
    }
    pass_time(121);
    cr_expect_not(take(fd));
    close(fd);
}

Test(serve_http, who_waits_for_the_model_may_wait_long)
{
    int whole = connected();
    int streams = connected();
    post(whole, "1.1", "{\"prompt\":\"x\"}");
    post(streams, "1.1", "{\"prompt\":\"x\",\"stream\":true}");
    uint64_t call = next_call();
    pass_time(3000);
    say(SERVE_ANSWER, call, "late", "stop");
    cr_assert(take(whole));
    cr_expect_eq(status(), 200);
    call = next_call();
    pass_time(100);
    say(SERVE_PIECE, call, "late", NULL);
    cr_assert(take(streams));
    cr_expect_not_null(strstr(got, "late"));
    say(SERVE_ANSWER, call, NULL, "stop");
    cr_assert(take(streams));
    close(whole);
    close(streams);
}

Test(serve_http, a_client_that_does_not_read_keeps_nothing_for_ever)
{
    static char word[3000];
    int fd = connected();
    post(fd, "1.1", "{\"prompt\":\"x\",\"stream\":true}");
    uint64_t call = next_call();
    memset(word, 'w', sizeof(word) - 1);
    for (unsigned i = 0; i < 500; i++)
        cr_assert_eq(say(SERVE_PIECE, call, word, NULL), PORT_STATUS_OK);
    say(SERVE_ANSWER, call, NULL, "stop");
    pass_time(119);
    cr_expect(serve_http_has_clients(&http));
    pass_time(2);
    cr_expect_not(serve_http_has_clients(&http));
    close(fd);
}

Test(serve_http, a_refused_body_is_not_read_without_end)
{
    static char block[1 << 16];
    int fd = connected();
    size_t sent = 0;
    put(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000000000\r\n\r\n");
    memset(block, ' ', sizeof(block));
    for (unsigned i = 0; i < 10000; i++) {
        ssize_t length = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (length < 0 && errno != EAGAIN)
            break;
        sent += length > 0 ? (size_t)length : 0;
        run();
    }
    cr_expect_gt(sent, 1u << 20);
    cr_expect_lt(sent, 20u << 20);
    cr_expect_not(serve_http_has_clients(&http));
    close(fd);
}

Test(serve_http, at_severed_everybody_hears_so)
{
    int whole = connected();
    int streams = connected();
    post(streams, "1.1", "{\"prompt\":\"x\",\"stream\":true}");
    post(whole, "1.1", "{\"prompt\":\"x\"}");
    say(SERVE_PIECE, next_call(), "half", NULL);
    atomic_store(&supervisor.level, LEVEL_SEVERED);
    serve_tick(serve);
    serve_http_farewell(&http);
    cr_assert(take(whole));
    cr_expect_eq(status(), 503);
    cr_expect_not_null(strstr(got, "\"code\":\"severed\""));
    take(streams);
    cr_expect_not_null(strstr(got, "half"));
    cr_expect_not_null(strstr(got, "\"type\":\"isolated\""));
    cr_expect_null(strstr(got, "[DONE]"));
    close(whole);
    close(streams);
}
