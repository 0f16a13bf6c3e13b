// SPDX-License-Identifier: Apache-2.0
// The cell SDK's http client, with a queue of the test's own: URLs, headers of replies, redirects.
#include <criterion/criterion.h>
#include <guillotine/http.h>
#include <stdio.h>
#include <string.h>

#include "port_fields_abi.h"
#include "queue_client.h"
#include "support.h"

// What the port answers, in turn, and what it was asked.
static struct {
    const char *headers[8];
    uint32_t status[8];
    unsigned asked;
    char urls[8][256];
    uint8_t payload[4096];
    uint8_t reply[4096];
    uint32_t reply_length;
} world;

void queue_attach(struct cell_queue *queue)
{
    queue->request_bytes = sizeof(world.payload);
}

void *cell_queue_buffer(struct cell_queue *queue)
{
    (void)queue;
    return world.payload;
}

static void append(uint32_t field, const char *text)
{
    cr_assert(port_fields_append(world.reply, sizeof(world.reply), &world.reply_length, field, text,
                                 (uint32_t)strlen(text)));
}

int cell_queue_send(struct cell_queue *queue, uint32_t operation, uint32_t argument,
                    const void *payload, size_t length, uint64_t cookie)
{
    struct port_fields fields;
    char number[16];
    (void)queue;
    (void)cookie;
    cr_assert_eq(operation, HTTP_FETCH);
    cr_assert_eq(argument, 0);
    cr_assert_lt(world.asked, COUNT(world.urls));
    cr_assert(port_fields_read(&fields, payload, (uint32_t)length));
    const struct port_field *field = fields.field;
#define TEXT(name)                                                                                 \
    (int)field[HTTP_FIELD_##name].length, (const char *)field[HTTP_FIELD_##name].bytes
    snprintf(world.urls[world.asked], sizeof(world.urls[0]), "%.*s %.*s|%.*s|%.*s|%.*s",
             TEXT(METHOD), TEXT(SCHEME), TEXT(HOST), TEXT(PORT), TEXT(PATH));
    world.reply_length = 0;
    append(HTTP_FIELD_HEADERS, world.headers[world.asked] ? world.headers[world.asked] : "");
    snprintf(number, sizeof(number), "%u", world.status[world.asked]);
    append(HTTP_FIELD_STATUS, number);
    world.asked++;
    return 0;
}

int cell_queue_poll(struct cell_queue *queue, struct cell_reply *reply)
{
    (void)queue;
    *reply = (struct cell_reply){.payload = world.reply, .length = world.reply_length};
    return 1;
}

void cell_queue_wait(struct cell_queue *queue)
{
    (void)queue;
}

static int parse(struct cell_http_url *url, const char *text)
{
    // As long as it is: sanitizers see a look behind the end.
    char *copy = malloc(strlen(text) + 1);
    memcpy(copy, text, strlen(text));
    int read = cell_http_url_parse(url, copy, strlen(text));
    free(copy);
    return read;
}

Test(http_client, urls)
{
    static const struct {
        const char *text;
        const char *host; // NULL: refused
        uint32_t port;
        const char *path;
        int plain;
    } cases[] = {
        {"https://api.test", "api.test", 443, "/", 0},
        {"http://api.test", "api.test", 80, "/", 1},
        {"https://API.Test:8443/A/b?C=d#e", "api.test", 8443, "/A/b?C=d", 0},
        {"https://api.test?x=/y", "api.test", 443, "/?x=/y", 0},
        {"https://api.test#x", "api.test", 443, "/", 0},
        {"https://api.test/@x:y", "api.test", 443, "/@x:y", 0},
        {"http://[2001:DB8::1]:81/", "2001:db8::1", 81, "/", 1},
        {"http://[::1]", "::1", 80, "/", 1},
        {"https://api.test:65535", "api.test", 65535, "/", 0},
        {.text = ""},
        {.text = "https://"},
        {.text = "https:///x"},
        {.text = "https://#x"},
        {.text = "//api.test"},
        {.text = "HTTPS://api.test"},
        {.text = "ftp://api.test"},
        {.text = "https://api.test:"},
        {.text = "https://api.test:0"},
        {.text = "https://api.test:65536"},
        {.text = "https://api.test:4294967739"},
        {.text = "https://api.test:99999999999999999999"},
        {.text = "https://api.test:x"},
        {.text = "https://user:word@api.test"},
        {.text = "https://[::1"},
        {.text = "https://[::1]x"},
        {.text = "https://[]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cell_http_url url;
        int read = parse(&url, cases[i].text);
        cr_expect_eq(read, cases[i].host != NULL, "%s", cases[i].text);
        if (!read || !cases[i].host)
            continue;
        cr_expect_str_eq(url.request.host, cases[i].host);
        cr_expect_eq(url.request.port, cases[i].port, "%s", cases[i].text);
        cr_expect_str_eq(url.request.path, cases[i].path);
        cr_expect_str_eq(url.request.scheme, cases[i].plain ? "http" : "https");
        cr_expect_str_eq(url.request.method, "GET");
        cr_expect(!url.request.headers && !url.request.body);
    }
}

Test(http_client, url_bounds)
{
    static char text[CELL_HTTP_URL_MAX + 1];
    struct cell_http_url url;
    memset(text, 'a', sizeof(text));
    memcpy(text, "https://a/", 10);
    cr_expect_eq(cell_http_url_parse(&url, text, CELL_HTTP_URL_MAX - 2), 1);
    cr_expect_eq(strlen(url.path), CELL_HTTP_URL_MAX - 2 - 9);
    cr_expect_eq(cell_http_url_parse(&url, text, CELL_HTTP_URL_MAX - 1), 0);
    text[9] = 'a'; // all of it a host
    cr_expect_eq(cell_http_url_parse(&url, text, CELL_HTTP_URL_MAX - 2), 1);
    cr_expect_eq(cell_http_url_parse(&url, "https://a\0b/", 12), 0);
    cr_expect_eq(cell_http_url_parse(&url, "https://a/\0b", 12), 0);
}

// Whatever it is given, what it says lies in the struct and is terminated.
Test(http_client, random_urls)
{
    static const char pieces[] = "ab:/?#[]@.%01 \\A";
    struct random random = random_start(1);
    unsigned read = 0;
    for (unsigned round = 0; round < 100000; round++) {
        struct cell_http_url url;
        char text[48];
        size_t used = (size_t)sprintf(text, random_chance(&random, 50) ? "https://" : "http://");
        for (uint64_t more = random_below(&random, 30); more; more--)
            text[used++] = pieces[random_below(&random, sizeof(pieces) - 1)];
        text[used] = '\0';
        if (!parse(&url, text))
            continue;
        read++;
        const struct cell_http_request *request = &url.request;
        cr_assert(request->host >= url.text && request->host < url.text + sizeof(text), "%s", text);
        cr_assert(request->path == url.path && url.path[0] == '/', "%s", text);
        cr_assert(*request->host && !strpbrk(request->host, "/?#"), "%s", text);
        cr_assert(request->port && request->port <= 65535, "%s", text);
        cr_assert_null(strchr(request->path, '#'), "%s", text);
    }
    cr_expect_gt(read, 10000);
}

static const char *find(const char *headers, const char *name)
{
    static char copy[64];
    const struct cell_http_reply reply = {.headers = headers, .headers_length = strlen(headers)};
    const char *value;
    size_t length;
    if (!cell_http_header(&reply, name, &value, &length))
        return NULL;
    snprintf(copy, sizeof(copy), "%.*s", (int)length, value);
    return copy;
}

Test(http_client, headers_of_replies)
{
    static const char headers[] = "Server: x\ncontent-TYPE:  text/plain\nEmpty:\nNone\nLast: y";
    cr_expect_str_eq(find(headers, "server"), "x");
    cr_expect_str_eq(find(headers, "Content-Type"), "text/plain");
    cr_expect_str_eq(find(headers, "EMPTY"), "");
    cr_expect_str_eq(find(headers, "last"), "y");
    cr_expect_null(find(headers, "none"));
    cr_expect_null(find(headers, "serve"));
    cr_expect_null(find(headers, "servers"));
    cr_expect_null(find(headers, "x"));
    cr_expect_null(find("", "server"));
    cr_expect_str_eq(find("A: 1\nA: 2\n", "a"), "1");
}

static int get(const char *text, unsigned redirects, struct cell_http_url *url,
               struct cell_http_reply *reply)
{
    static struct cell_port port;
    cr_assert_eq(parse(url, text), 1);
    return cell_http_get(&port, url, redirects, reply);
}

Test(http_client, redirects_are_requests)
{
    struct cell_http_url url;
    struct cell_http_reply reply;
    world.status[0] = 301;
    world.headers[0] = "Location: https://B.test:8/x#y\n";
    world.status[1] = 307;
    world.headers[1] = "location: /z?q#r\n";
    world.status[2] = 200;
    cr_expect_eq(get("http://a.test/start", 5, &url, &reply), 0);
    cr_expect_eq(reply.status, 200);
    cr_assert_eq(world.asked, 3);
    cr_expect_str_eq(world.urls[0], "GET http|a.test|80|/start");
    cr_expect_str_eq(world.urls[1], "GET https|b.test|8|/x");
    cr_expect_str_eq(world.urls[2], "GET https|b.test|8|/z?q");
    cr_expect_str_eq(url.request.host, "b.test");
    cr_expect_str_eq(url.request.path, "/z?q");
}

Test(http_client, redirects_end)
{
    struct cell_http_url url;
    struct cell_http_reply reply;
    for (unsigned i = 0; i < 8; i++) {
        world.status[i] = 302;
        world.headers[i] = "Location: /again\n";
    }
    cr_expect_eq(get("http://a.test/", 3, &url, &reply), 0);
    cr_expect_eq(world.asked, 4);
    cr_expect_eq(reply.status, 302);
    world.asked = 0;
    cr_expect_eq(get("http://a.test/", 0, &url, &reply), 0);
    cr_expect_eq(world.asked, 1);
}

// What cannot be followed is the reply, and the URL stays that which was asked.
Test(http_client, redirects_that_are_not_followed)
{
    static const char *const headers[] = {
        "",
        "Location:\n",
        "Location: //b.test/\n",
        "Location: x\n",
        "Location: ftp://b.test/\n",
        "Location: http://u:w@b.test/\n",
        "Location: https://b.test:0/path\n",
    };
    for (size_t i = 0; i < COUNT(headers); i++) {
        struct cell_http_url url;
        struct cell_http_reply reply;
        world.asked = 0;
        world.status[0] = 302;
        world.headers[0] = headers[i];
        cr_expect_eq(get("http://a.test:81/start", 5, &url, &reply), 0);
        cr_expect_eq(world.asked, 1, "%s", headers[i]);
        cr_expect_eq(reply.status, 302);
        cr_expect_str_eq(url.request.host, "a.test");
        cr_expect_str_eq(url.request.path, "/start");
        cr_expect_eq(url.request.port, 81);
    }
    world.asked = 0;
    world.status[0] = 0; // no reply at all makes no sense
    struct cell_http_url url;
    struct cell_http_reply reply;
    cr_expect_eq(get("http://a.test/", 5, &url, &reply), -1);
}
