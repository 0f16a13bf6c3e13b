// SPDX-License-Identifier: Apache-2.0
// The control socket: requests in any pieces, bodies, answers larger than a socket takes, and
// clients that misbehave.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control_server.h"
#include "support.h"

static struct control_client client;
static int peer = -1;

static void connect_pair(void)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    client = (struct control_client){.fd = fds[0]};
    peer = fds[1];
}

static void disconnect(void)
{
    if (client.fd >= 0)
        close(client.fd);
    free(client.body);
    free(client.output);
    client = (struct control_client){.fd = -1};
    if (peer >= 0)
        close(peer);
    peer = -1;
}

TestSuite(control_server, .init = connect_pair, .fini = disconnect);

static void say(const void *data, size_t length)
{
    while (length) {
        ssize_t n = send(peer, data, length, MSG_NOSIGNAL);
        cr_assert_gt(n, 0);
        data = (const char *)data + n;
        length -= (size_t)n;
    }
}

// The server reads until there is an order, or nothing more to read.
static bool hear(void)
{
    struct pollfd in = {.fd = client.fd, .events = POLLIN};
    while (client.fd >= 0 && poll(&in, 1, 0) > 0)
        if (control_client_read(&client))
            return true;
    return false;
}

static bool ask(const char *line)
{
    say(line, strlen(line));
    return hear();
}

#define FORMAT "{\"format\":\"guillotine-control/1\""

static const struct {
    const char *line;
    enum control_operation operation;
    const char *port, *level;
} orders[] = {
    {FORMAT ",\"op\":\"status\"}\n", CONTROL_STATUS, "", ""},
    {FORMAT ",\"op\":\"stop\"}\n", CONTROL_STOP, "", ""},
    {FORMAT ",\"op\":\"isolate\",\"level\":\"offline\"}\n", CONTROL_ISOLATE, "", "offline"},
    {FORMAT ",\"op\":\"port-close\",\"port\":\"tool\"}\n", CONTROL_PORT_CLOSE, "tool", ""},
    {"{\"port\":\"tool\",\"op\":\"port-open\",\"format\":\"guillotine-control/1\"}\r\n",
     CONTROL_PORT_OPEN, "tool", ""},
    {FORMAT ",\"op\":\"receive\",\"port\":\"a234567890123456789012345678901\"}\n", CONTROL_RECEIVE,
     "a234567890123456789012345678901", ""},
    {"GET /metrics HTTP/1.1\r\n", CONTROL_METRICS, "", ""},
    {FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":0}\n", CONTROL_SEND, "m", ""},
};

Test(control_server, orders)
{
    for (size_t i = 0; i < COUNT(orders); i++) {
        cr_assert(ask(orders[i].line), "%s", orders[i].line);
        cr_expect(client.waiting);
        cr_expect_eq(client.order.operation, orders[i].operation, "%s", orders[i].line);
        cr_expect_str_eq(client.order.port, orders[i].port);
        cr_expect_str_eq(client.order.level, orders[i].level);
        control_client_answer(&client, "{}", NULL, 0);
        cr_expect_not(client.waiting);
    }
}

// The same in two pieces, split at every byte.
Test(control_server, orders_in_two_pieces)
{
    for (size_t i = 0; i < COUNT(orders); i++) {
        size_t length = strlen(orders[i].line);
        for (size_t split = 1; split < length; split++) {
            say(orders[i].line, split);
            cr_assert_not(hear(), "an order after %zu bytes of %s", split, orders[i].line);
            cr_assert_geq(client.fd, 0);
            say(orders[i].line + split, length - split);
            cr_assert(hear());
            cr_assert_eq(client.order.operation, orders[i].operation);
            cr_assert_str_eq(client.order.port, orders[i].port);
            control_client_answer(&client, "{}", NULL, 0);
        }
    }
}

// A message that follows its line, the whole of it split at every byte.
Test(control_server, body_in_two_pieces)
{
    static const char whole[] =
        FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":13}\nline\nline\0\xff\n!";
    const size_t length = sizeof(whole) - 1;
    const char *body = strchr(whole, '\n') + 1;
    cr_assert_eq(length - (size_t)(body - whole), 13u);
    for (size_t split = 1; split <= length; split++) {
        say(whole, split);
        cr_assert_eq(hear(), split == length);
        if (split < length) {
            say(whole + split, length - split);
            cr_assert(hear(), "no order after a split at %zu", split);
        }
        cr_assert_eq(client.order.operation, CONTROL_SEND);
        cr_assert_eq(client.order.length_bytes, 13u);
        cr_assert_eq(client.body_used, 13u);
        cr_assert_eq(memcmp(client.body, body, 13), 0);
        control_client_answer(&client, "{}", NULL, 0);
        cr_assert_null(client.body);
    }
}

// The largest message, in pieces of any size; one byte more than that is refused by its number.
Test(control_server, largest_body)
{
    struct random random = random_start(75);
    static uint8_t body[CONTROL_MESSAGE_MAX];
    static const uint32_t lengths[] = {1, 1000, 1024, 4096, 100000, CONTROL_MESSAGE_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char line[128];
        random_fill(&random, body, lengths[i]);
        int head =
            snprintf(line, sizeof(line),
                     FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":%u}\n", lengths[i]);
        say(line, (size_t)head);
        bool complete = hear();
        for (size_t done = 0; done < lengths[i];) {
            size_t part = 1 + random_below(&random, 30000);
            cr_assert_not(complete);
            part = part < lengths[i] - done ? part : lengths[i] - done;
            say(body + done, part);
            done += part;
            complete = hear();
        }
        cr_assert(complete);
        cr_assert_eq(client.body_used, lengths[i]);
        cr_assert_eq(memcmp(client.body, body, lengths[i]), 0);
        control_client_answer(&client, "{}", NULL, 0);
    }
    cr_assert(ask(FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":1048577}\n"));
    cr_expect_eq(client.order.operation, CONTROL_BAD);
}

static const char *refuse_and_read(char *answer, size_t size)
{
    json_object *error;
    control_client_refuse(&client, client.order.error);
    ssize_t n = recv(peer, answer, size - 1, MSG_DONTWAIT);
    cr_assert_gt(n, 0);
    answer[n] = '\0';
    cr_assert_eq(answer[n - 1], '\n');
    cr_assert_eq(strchr(answer, '\n'), answer + n - 1, "an answer is one line: %s", answer);
    json_object *object = json_tokener_parse(answer);
    cr_assert_not_null(object, "not JSON: %s", answer);
    cr_assert(json_object_object_get_ex(object, "error", &error));
    snprintf(answer, size, "%s", json_object_get_string(error));
    json_object_put(object);
    return answer;
}

// Whatever is wrong is answered, in one line of JSON without control characters.
Test(control_server, bad_requests)
{
    static const char *const bad[] = {
        "\n",
        "status\n",
        "{}\n",
        "[]\n",
        FORMAT "}\n",
        FORMAT ",\"op\":\"status\"\n",
        FORMAT ",\"op\":\"erase\"}\n",
        FORMAT ",\"op\":1}\n",
        FORMAT ",\"op\":\"status\",\"op\":\"stop\"}\n",
        FORMAT ",\"op\":\"status\",\"extra\":1}\n",
        FORMAT ",\"op\":\"port-close\"}\n",
        FORMAT ",\"op\":\"port-close\",\"port\":\"\"}\n",
        FORMAT ",\"op\":\"port-close\",\"port\":7}\n",
        // One character too long: never cut down to another port's name.
        FORMAT ",\"op\":\"port-close\",\"port\":\"a2345678901234567890123456789012\"}\n",
        FORMAT ",\"op\":\"send\",\"length_bytes\":1}\n",
        FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":-1}\n",
        FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":18446744073709551615}\n",
        FORMAT ",\"op\":\"status\",\"length_bytes\":5}\n",
        "{\"format\":\"guillotine-control/2\",\"op\":\"status\"}\n",
        "{\"op\":\"status\"}\n",
        "GET / HTTP/1.0\r\n",
        "\x1b[2J\"\\\x01\x7f\xff\n",
        FORMAT ",\"op\":\"\x1b[31m\\\"\"}\n",
        FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":3}\nfour",
    };
    char answer[2048];
    for (size_t i = 0; i < COUNT(bad); i++) {
        cr_assert(ask(bad[i]), "no order from %s", bad[i]);
        cr_assert_eq(client.order.operation, CONTROL_BAD, "accepted: %s", bad[i]);
        cr_expect_gt(strlen(refuse_and_read(answer, sizeof(answer))), 3u);
        for (const char *at = answer; *at; at++)
            cr_assert(*at >= ' ' && *at <= '~', "byte 0x%02x in an error", (uint8_t)*at);
        cr_assert_null(client.body);
        // The client can try again.
        cr_assert(ask(FORMAT ",\"op\":\"status\"}\n"));
        cr_expect_eq(client.order.operation, CONTROL_STATUS);
        control_client_answer(&client, "{}", NULL, 0);
        cr_assert_eq(recv(peer, answer, sizeof(answer), MSG_DONTWAIT), 3);
    }
}

Test(control_server, lines_have_a_limit)
{
    char line[CONTROL_LINE_MAX];
    memset(line, ' ', sizeof(line));
    say(line, sizeof(line) - 2);
    cr_expect_not(hear());
    cr_expect_geq(client.fd, 0);
    say("\n", 1);
    cr_expect(hear());
    cr_expect_eq(client.order.operation, CONTROL_BAD);
    control_client_refuse(&client, "");
    say(line, sizeof(line));
    cr_expect_not(hear());
    cr_expect_lt(client.fd, 0, "a line without end");
}

// Clients that go away, at any moment.
Test(control_server, clients_that_leave)
{
    static const char whole[] =
        FORMAT ",\"op\":\"send\",\"port\":\"m\",\"length_bytes\":10}\n0123456789";
    for (size_t length = 0; length < sizeof(whole); length++) {
        disconnect();
        connect_pair();
        say(whole, length);
        shutdown(peer, SHUT_WR);
        bool complete = hear();
        cr_assert_eq(complete, length == sizeof(whole) - 1);
        if (complete)
            hear();
        cr_assert_lt(client.fd, 0, "after %zu bytes", length);
        cr_assert_null(client.body);
    }
}

// One request, one answer: who does not wait for it is dropped. Who speaks HTTP sends headers.
Test(control_server, nothing_is_pipelined)
{
    cr_assert(ask(FORMAT ",\"op\":\"status\"}\n"));
    cr_expect_not(ask(FORMAT ",\"op\":\"stop\"}\n"));
    cr_expect_lt(client.fd, 0);
    disconnect();
    connect_pair();
    cr_assert(ask("GET /metrics HTTP/1.1\r\n"));
    char header[1000];
    memset(header, 'h', sizeof(header));
    for (int i = 0; i < 10; i++) {
        say(header, sizeof(header));
        cr_expect_not(hear());
    }
    cr_assert_geq(client.fd, 0);
    control_client_answer_http(&client, "# text\n");
    cr_expect_lt(client.fd, 0, "closed after the answer");
    char answer[512];
    ssize_t n = recv(peer, answer, sizeof(answer) - 1, 0);
    cr_assert_gt(n, 0);
    answer[n] = '\0';
    cr_expect_eq(strncmp(answer, "HTTP/1.0 200 OK\r\n", 17), 0);
    cr_expect_not_null(strstr(answer, "Content-Length: 7\r\n"));
    cr_expect_not_null(strstr(answer, "\r\n\r\n# text\n"));
}

// Reads all that comes, in small pieces, while the server sends what the socket takes.
static size_t read_slowly(uint8_t *target, size_t most, struct random *random)
{
    size_t got = 0;
    for (;;) {
        size_t part = 1 + random_below(random, 5000);
        ssize_t n = recv(peer, target + got, part < most - got ? part : most - got, MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        else if (client.fd < 0 || !client.output)
            return got;
        if (client.fd >= 0 && client.output)
            control_client_write(&client);
    }
}

static void small_buffer(void)
{
    int least = 1;
    cr_assert_eq(setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
}

// An answer and its data are larger than the socket's buffer: kept, sent in pieces, whole.
Test(control_server, large_answers)
{
    struct random random = random_start(76);
    static uint8_t data[CONTROL_MESSAGE_MAX], got[2 * CONTROL_MESSAGE_MAX];
    small_buffer();
    for (int round = 0; round < 10; round++) {
        size_t length = round ? random_below(&random, sizeof(data)) : sizeof(data);
        random_fill(&random, data, length);
        cr_assert(ask(orders[5].line));
        control_client_answer(&client, "{\"answer\":1}", data, length);
        cr_assert_geq(client.fd, 0);
        size_t n = read_slowly(got, sizeof(got), &random);
        cr_assert_eq(n, 13 + length, "%zu of %zu bytes", n, 13 + length);
        cr_assert_eq(memcmp(got, "{\"answer\":1}\n", 13), 0);
        cr_assert_eq(memcmp(got + 13, data, length), 0);
    }
    // The same for a client of HTTP, which is told the length and then left.
    static char text[CONTROL_ANSWER_MAX];
    memset(text, 'x', sizeof(text) - 1);
    cr_assert(ask("GET /metrics HTTP/1.0\r\n\r\n"));
    control_client_answer_http(&client, text);
    cr_assert_geq(client.fd, 0, "closed before it was sent");
    size_t n = read_slowly(got, sizeof(got), &random);
    cr_assert_lt(client.fd, 0);
    got[n] = '\0';
    const char *body = strstr((char *)got, "\r\n\r\n");
    cr_assert_not_null(body);
    cr_expect_str_eq(body + 4, text);
}

// A client that goes away with half of its answer.
Test(control_server, leaves_with_half_of_an_answer)
{
    static uint8_t data[CONTROL_MESSAGE_MAX];
    small_buffer();
    cr_assert(ask(orders[5].line));
    control_client_answer(&client, "{}", data, sizeof(data));
    cr_assert_not_null(client.output);
    close(peer);
    peer = -1;
    control_client_write(&client);
    cr_expect_lt(client.fd, 0);
    cr_expect_null(client.output);
}

// Anything at all: an order, a refusal, or the end; and every order is within its bounds.
Test(control_server, noise)
{
    struct random random = random_start(77);
    char text[2048], answer[65536];
    unsigned good = 0, bad = 0;
    bool left = false;
    for (int round = 0; round < 20000; round++) {
        if (client.fd < 0 || left) {
            left = false;
            disconnect();
            connect_pair();
        }
        size_t length = strlen(orders[round % COUNT(orders)].line);
        memcpy(text, orders[round % COUNT(orders)].line, length);
        for (uint64_t i = random_below(&random, 4); i > 0; i--) {
            size_t at = random_below(&random, length);
            switch (random_below(&random, 3)) {
            case 0:
                text[at] = (char)random_next(&random);
                break;
            case 1:
                memmove(text + at, text + at + 1, length - at - 1);
                length--;
                break;
            default:
                memmove(text + at + 5, text + at, length - at);
                random_fill(&random, text + at, 5);
                length += 5;
                break;
            }
        }
        say(text, length);
        left = random_chance(&random, 2);
        if (left)
            shutdown(peer, SHUT_WR);
        if (!hear())
            continue;
        good += client.order.operation != CONTROL_BAD;
        bad += client.order.operation == CONTROL_BAD;
        cr_assert(memchr(client.order.port, 0, sizeof(client.order.port)));
        cr_assert(memchr(client.order.level, 0, sizeof(client.order.level)));
        cr_assert(memchr(client.order.error, 0, sizeof(client.order.error)));
        cr_assert_leq(client.order.length_bytes, CONTROL_MESSAGE_MAX);
        control_client_refuse(&client, client.order.error);
        cr_assert_gt(recv(peer, answer, sizeof(answer), MSG_DONTWAIT), 0);
    }
    cr_expect_gt(good, 1000u);
    cr_expect_gt(bad, 1000u);
}

// The server's own end, under a runtime directory of its own.

static char folder[256];
static struct control_server server;

static void make_folder(void)
{
    // Longer than the address of a socket can be.
    strcpy(folder, "/tmp/guillotine-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    strcat(folder, "/a-runtime-directory-with-a-name-that-is-longer-than-the-address-of-a-socket-"
                   "can-be-which-is-108-bytes");
    cr_assert_eq(mkdir(folder, 0700), 0);
}

static void remove_folder(void)
{
    cr_expect_eq(rmdir(folder), 0, "something is left behind");
    *strrchr(folder, '/') = '\0';
    cr_expect_eq(rmdir(folder), 0);
}

Test(control_server, names_are_claimed)
{
    struct control_server other;
    struct error err;
    make_folder();
    cr_assert_eq(control_server_open(&server, folder, "vm", &err), 0, "%s", err.text);
    cr_expect_eq(control_server_open(&other, folder, "vm", &err), -1);
    cr_expect_not_null(strstr(err.text, "vm"));
    cr_expect_eq(control_connect(folder, "another", &err), -1);
    int fd = control_connect(folder, "vm", &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    cr_expect_eq(control_server_accept(&server), 0);
    cr_expect_eq(control_server_accept(&server), -1, "nobody else waits");
    control_server_close(&server);
    char byte;
    cr_expect_eq(read(fd, &byte, 1), 0, "the end is seen");
    close(fd);
    cr_expect_eq(control_connect(folder, "vm", &err), -1);
    // What a killed supervisor left behind is replaced.
    char stale[512];
    snprintf(stale, sizeof(stale), "%s/vm.sock", folder);
    close(open(stale, O_CREAT | O_WRONLY, 0600));
    cr_assert_eq(control_server_open(&server, folder, "vm", &err), 0, "%s", err.text);
    control_server_close(&server);
    remove_folder();
}

// Silent clients cannot lock others out: the newest is always served.
Test(control_server, more_clients_than_places)
{
    struct error err;
    int fds[3 * CONTROL_MAX_CLIENTS];
    make_folder();
    cr_assert_eq(control_server_open(&server, folder, "vm", &err), 0, "%s", err.text);
    for (unsigned i = 0; i < COUNT(fds); i++) {
        fds[i] = control_connect(folder, "vm", &err);
        cr_assert_geq(fds[i], 0, "%s", err.text);
        int at = control_server_accept(&server);
        cr_assert(at >= 0 && at < CONTROL_MAX_CLIENTS);
        cr_assert_gt(send(fds[i], orders[0].line, strlen(orders[0].line), MSG_NOSIGNAL), 0);
        cr_assert(control_client_read(&server.clients[at]));
        cr_assert_eq(server.clients[at].order.operation, CONTROL_STATUS);
    }
    unsigned open = 0;
    for (unsigned i = 0; i < COUNT(fds); i++) {
        char byte;
        open += recv(fds[i], &byte, 1, MSG_DONTWAIT) < 0;
        close(fds[i]);
    }
    cr_expect_eq(open, CONTROL_MAX_CLIENTS);
    control_server_close(&server);
    remove_folder();
}

// A client of the command line against a server that answers with what the test says.
static const char *answers;
static size_t answers_length;

static void *answer(void *context)
{
    char request[4096];
    int fd = *(int *)context;
    // The whole line: whoever closes before may break the client's pipe.
    ssize_t n = 1;
    for (size_t used = 0; n > 0 && !memchr(request, '\n', used); used += (size_t)n)
        n = recv(fd, request + used, sizeof(request) - used, 0);
    if (n > 0)
        for (size_t i = 0; i < answers_length; i += 7) {
            size_t part = answers_length - i < 7 ? answers_length - i : 7;
            if (send(fd, answers + i, part, MSG_NOSIGNAL) < 0)
                break;
        }
    close(fd);
    return NULL;
}

static int ask_server(const struct control_question *question, const char *text, size_t length,
                      char *target, size_t size, size_t *behind, struct error *err)
{
    int fds[2];
    pthread_t thread;
    answers = text;
    answers_length = length;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(pthread_create(&thread, NULL, answer, &fds[1]), 0);
    int result = control_ask(fds[0], question, target, size, behind, err);
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fds[0]);
    return result;
}

Test(control_server, client_reads_answers)
{
    const struct control_question question = {.operation = "receive", .port = "m"};
    char target[256];
    struct error err = {0};
    size_t behind = 99;
    cr_expect_eq(ask_server(&question, "{\"a\":1}\n", 8, target, sizeof(target), &behind, &err), 0,
                 "%s", err.text);
    cr_expect_str_eq(target, "{\"a\":1}");
    cr_expect_eq(behind, 0u);
    // Data behind the line is left there.
    cr_assert_eq(ask_server(&question, "{}\n\0\n{\"b", 8, target, 6, &behind, &err), 0);
    cr_expect_str_eq(target, "{}");
    cr_expect_leq(behind, 2u);
    cr_expect_eq(memcmp(target + 3, "\0\n", behind), 0);

    static const char *const bad[] = {"{\"error\":\"no\"}\n", "not JSON\n", "{}", "", "\n"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        err.text[0] = '\0';
        cr_expect_eq(
            ask_server(&question, bad[i], strlen(bad[i]), target, sizeof(target), NULL, &err), -1,
            "accepted: %s", bad[i]);
        cr_expect_gt(strlen(err.text), 0u);
        if (i == 0)
            cr_expect_str_eq(err.text, "no");
    }
    static char endless[1000];
    memset(endless, ' ', sizeof(endless));
    cr_expect_eq(
        ask_server(&question, endless, sizeof(endless), target, sizeof(target), NULL, &err), -1);
}

// What the command line sends is what the server understands.
Test(control_server, both_ends_agree)
{
    static const char body[] = "a message\nof two lines";
    const struct control_question questions[] = {
        {.operation = "status"},
        {.operation = "isolate", .level = "severed"},
        {.operation = "port-close", .port = "a234567890123456789012345678901"},
        {.operation = "send", .port = "m", .body = body, .body_length = sizeof(body) - 1},
        {.operation = "receive", .port = "m", .patient = true},
    };
    char target[256];
    struct error err;
    for (size_t i = 0; i < COUNT(questions); i++) {
        // The answer is there before the question: nobody has to wait.
        disconnect();
        connect_pair();
        cr_assert_eq(send(client.fd, "{}\n", 3, 0), 3);
        cr_assert_eq(control_ask(peer, &questions[i], target, sizeof(target), NULL, &err), 0, "%s",
                     err.text);
        cr_assert(hear(), "%s is not understood", questions[i].operation);
        cr_expect_neq(client.order.operation, CONTROL_BAD, "%s", client.order.error);
        cr_expect_str_eq(client.order.port, questions[i].port ? questions[i].port : "");
        cr_expect_str_eq(client.order.level, questions[i].level ? questions[i].level : "");
        cr_expect_eq(client.order.length_bytes, questions[i].body_length);
        if (questions[i].body)
            cr_expect_eq(memcmp(client.body, body, sizeof(body) - 1), 0);
    }
}
