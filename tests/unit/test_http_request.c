// SPDX-License-Identifier: Apache-2.0
// What a model sends to an http port, decoded: what is let through has one meaning.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "http_request.h"
#include "port_fields_abi.h"
#include "support.h"

// The fields of a request as texts. NULL: of the first five what is in `usual`, of others nothing.
struct asked {
    const char *method;
    const char *scheme;
    const char *host;
    const char *port;
    const char *path;
    const char *headers;
    const char *body;
    const char *status; // a reply's field
};

static const char absent[] = "absent";

static const char *const usual[] = {"GET", "https", "api.test", "443", "/", absent, absent, absent};

static uint8_t payload[65536];

static const char *text_of(const char *text, size_t field)
{
    return text ? text : usual[field];
}

static uint32_t build(const struct asked *asked)
{
    const char *const texts[] = {asked->method, asked->scheme,  asked->host, asked->port,
                                 asked->path,   asked->headers, asked->body, asked->status};
    uint32_t used = 0;
    for (uint32_t i = 0; i < COUNT(texts); i++) {
        const char *text = text_of(texts[i], i);
        if (text != absent)
            cr_assert(port_fields_append(payload, sizeof(payload), &used, i + 1, text,
                                         (uint32_t)strlen(text)));
    }
    return used;
}

static const char *read_asked(const struct asked *asked, struct http_request *request)
{
    return http_request_read(request, payload, build(asked));
}

Test(http_request, accepted)
{
    static const struct asked cases[] = {
        {.path = "/"},
        {.path = "/a/b/"},
        {.path = "/a?b=c&d=%2F%25%00/../?"},
        {.path = "/?"},
        {.path = "/a;b=1/c"},
        {.path = "/..."},
        {.path = "/.a/..b/c."},
        {.path = "/-._~:@!$&'()*+,;="},
        {.path = "/%C3%A4%20%7B"},
        {.host = "127.0.0.1", .scheme = "http", .port = "1"},
        {.host = "::1", .port = "65535"},
        {.method = "HEAD"},
        {.method = "OPTIONS"},
        {.method = "POST", .body = "text"},
        {.method = "POST"},
        {.method = "PUT", .body = ""},
        {.method = "PATCH", .body = "x"},
        {.method = "DELETE", .body = "x"},
        {.headers = "Accept: */*\nX-Empty:\nx-tab: a\tb\n"},
        {.headers = ""},
        {.headers = "Authorization: Bearer mine\nCookie: a=b\n"},
        {.headers = "X:y\nProxy: z\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_request request;
        const char *why = read_asked(&cases[i], &request);
        cr_expect_null(why, "case %zu: %s", i, why);
        cr_expect_str_eq(request.origin.host, text_of(cases[i].host, 2));
        cr_expect_eq(request.origin.port, strtoul(text_of(cases[i].port, 3), NULL, 10));
        cr_expect_str_eq(http_scheme_names[request.origin.scheme], text_of(cases[i].scheme, 1));
        cr_expect_str_eq(http_method_names[request.method], text_of(cases[i].method, 0));
        const char *path = text_of(cases[i].path, 4);
        cr_expect_eq(request.path_length, strlen(path));
        cr_expect_eq(memcmp(request.path, path, strlen(path)), 0);
        cr_expect_eq(request.body != NULL, cases[i].body != NULL);
        cr_expect_eq(request.body_length, cases[i].body ? strlen(cases[i].body) : 0);
        cr_expect_eq(request.headers_length, cases[i].headers ? strlen(cases[i].headers) : 0);
    }
}

#define SLASHED   "no part of it is empty"
#define UNESCAPED "a character that has to be escaped"
#define NOT_OWN   "one of them is not the model's to set"
#define LINES     "lines of \"Name: value\""
#define NAMES     "a name is made of letters, digits and hyphens"
#define VALUES    "a value is printable ASCII"

Test(http_request, refused)
{
    static const struct {
        struct asked asked;
        const char *why; // a part of the reason
    } cases[] = {
        {{.method = absent}, "fields: method, scheme"},
        {{.scheme = absent}, "fields: method, scheme"},
        {{.host = absent}, "fields: method, scheme"},
        {{.port = absent}, "fields: method, scheme"},
        {{.path = absent}, "fields: method, scheme"},
        {{.status = "200"}, "fields: method, scheme"},
        {{.method = "get"}, "method:"},
        {{.method = ""}, "method:"},
        {{.method = "GET "}, "method:"},
        {{.method = "CONNECT"}, "method:"},
        {{.method = "TRACE"}, "method:"},
        {{.scheme = "HTTPS"}, "scheme:"},
        {{.scheme = "file"}, "scheme:"},
        {{.host = "API.test"}, "host:"},
        {{.host = ""}, "host:"},
        {{.host = "api.test."}, "host:"},
        {{.host = "api.test:80"}, "host:"},
        {{.host = "a@api.test"}, "host:"},
        {{.host = "[::1]"}, "host:"},
        {{.host = "127.1"}, "host:"},
        {{.host = "api.test/x"}, "host:"},
        {{.host = "api.test\r\nX: y"}, "host:"},
        {{.port = ""}, "port:"},
        {{.port = "0"}, "port:"},
        {{.port = "65536"}, "port:"},
        {{.port = "0443"}, "port:"},
        {{.port = "+443"}, "port:"},
        {{.port = "99999999999999999999999"}, "port:"},
        {{.path = ""}, "begin with /"},
        {{.path = "a"}, "begin with /"},
        {{.path = "https://other.test/"}, "begin with /"},
        {{.path = "*"}, "begin with /"},
        {{.path = "//"}, SLASHED},
        {{.path = "//other.test/"}, SLASHED},
        {{.path = "/a//b"}, SLASHED},
        {{.path = "/."}, SLASHED},
        {{.path = "/.."}, SLASHED},
        {{.path = "/a/../b"}, SLASHED},
        {{.path = "/a/.."}, SLASHED},
        {{.path = "/a/./b"}, SLASHED},
        {{.path = "/..?a"}, SLASHED},
        {{.path = "/a/..;x/b"}, SLASHED},
        {{.path = "/;x/b"}, SLASHED},
        {{.path = "/;"}, SLASHED},
        {{.path = "/.;"}, SLASHED},
        {{.path = "/a%2"}, "% is followed by"},
        {{.path = "/a%"}, "% is followed by"},
        {{.path = "/a%2f"}, "% is followed by"},
        {{.path = "/a%GG"}, "% is followed by"},
        {{.path = "/a?%c3"}, "% is followed by"},
        {{.path = "/%41"}, "needs no escape"},
        {{.path = "/%2E%2E/"}, "needs no escape"},
        {{.path = "/?%7E"}, "needs no escape"},
        {{.path = "/a%2Fb"}, "no escape of a slash"},
        {{.path = "/a%5Cb"}, "no escape of a slash"},
        {{.path = "/a%252F"}, "no escape of a slash"},
        {{.path = "/a%00"}, "no escape of a slash"},
        {{.path = "/a b"}, UNESCAPED},
        {{.path = "/a\\b"}, UNESCAPED},
        {{.path = "/a#b"}, UNESCAPED},
        {{.path = "/a\r\nHost: x"}, UNESCAPED},
        {{.path = "/a\x7f"}, UNESCAPED},
        {{.path = "/\xc3\xa4"}, UNESCAPED},
        {{.path = "/a?b c"}, UNESCAPED},
        {{.path = "/a[b]"}, UNESCAPED},
        {{.headers = "X"}, LINES},
        {{.headers = "X: y"}, LINES},
        {{.headers = "X\n"}, LINES},
        {{.headers = "\n"}, LINES},
        {{.headers = "X: y\n\n"}, LINES},
        {{.headers = ": y\n"}, "1 to 63 characters"},
        {{.headers = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: y\n"},
         "1 to 63 characters"},
        {{.headers = "X : y\n"}, NAMES},
        {{.headers = " X: y\n"}, NAMES},
        {{.headers = "X_Real_IP: y\n"}, NAMES},
        {{.headers = "X\r: y\n"}, NAMES},
        {{.headers = "X: y\r\n"}, VALUES},
        {{.headers = "X: y\rHost: z\n"}, VALUES},
        {{.headers = "X: \xc3\xa4\n"}, VALUES},
        {{.headers = "X: \x7f\n"}, VALUES},
        {{.headers = "Proxy-Authorization: x\n"}, "a proxy's"},
        {{.headers = "pROXY-: x\n"}, "a proxy's"},
        {{.body = ""}, "body:"},
        {{.method = "HEAD", .body = "x"}, "body:"},
        {{.method = "OPTIONS", .body = "x"}, "body:"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_request request;
        const char *why = read_asked(&cases[i].asked, &request);
        cr_expect_not_null(why, "case %zu (%s) is let through", i, cases[i].why);
        cr_expect(why && strstr(why, cases[i].why), "case %zu: %s, not %s", i, why, cases[i].why);
    }
}

// All that say where a message ends, or that others act upon, in any case, wherever they stand.
Test(http_request, headers_of_others)
{
    static const char *const names[] = {
        "Host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Expect",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "HTTP2-Settings",
        "Accept-Encoding",
    };
    char headers[128];
    for (size_t i = 0; i < COUNT(names); i++) {
        for (unsigned form = 0; form < 3; form++) {
            char name[32];
            struct http_request request;
            snprintf(name, sizeof(name), "%s", names[i]);
            for (char *c = name; *c && form; c++)
                *c = (char)(form == 1 ? (*c >= 'a' && *c <= 'z' ? *c - 32 : *c)
                                      : (*c >= 'A' && *c <= 'Z' ? *c + 32 : *c));
            snprintf(headers, sizeof(headers), "Accept: */*\n%s:x\n", name);
            const struct asked asked = {.headers = headers};
            const char *why = read_asked(&asked, &request);
            cr_expect(why && strstr(why, NOT_OWN), "%s: %s", name, why);
            // One letter more is another name.
            snprintf(headers, sizeof(headers), "%sa: x\n", name);
            cr_expect_null(read_asked(&asked, &request), "%sa", name);
        }
    }
}

Test(http_request, bounds)
{
    static char path[HTTP_PATH_MAX + 2];
    static char headers[HTTP_HEADERS_MAX + 2];
    struct http_request request;
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[HTTP_PATH_MAX] = '\0';
    const struct asked long_path = {.path = path};
    cr_expect_null(read_asked(&long_path, &request));
    path[HTTP_PATH_MAX] = 'a';
    path[HTTP_PATH_MAX + 1] = '\0';
    cr_expect_not_null(read_asked(&long_path, &request));
    memset(headers, 'a', sizeof(headers));
    memcpy(headers, "X:", 2);
    headers[HTTP_HEADERS_MAX - 1] = '\n';
    headers[HTTP_HEADERS_MAX] = '\0';
    const struct asked long_headers = {.headers = headers};
    cr_expect_null(read_asked(&long_headers, &request));
    headers[HTTP_HEADERS_MAX - 1] = 'a';
    headers[HTTP_HEADERS_MAX] = '\n';
    headers[HTTP_HEADERS_MAX + 1] = '\0';
    cr_expect_str_eq(read_asked(&long_headers, &request), "headers: more than 16384 bytes");
    *headers = '\0';
    for (unsigned i = 0; i < HTTP_HEADER_LINES_MAX; i++)
        strcat(headers, "X:\n");
    cr_expect_null(read_asked(&long_headers, &request));
    strcat(headers, "X:\n");
    cr_expect_str_eq(read_asked(&long_headers, &request), "headers: more than 64");
}

Test(http_request, not_fields)
{
    static const uint8_t nonsense[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct http_request request;
    cr_expect_str_eq(http_request_read(&request, nonsense, sizeof(nonsense)),
                     "the payload is not made of fields");
    cr_expect_not_null(http_request_read(&request, nonsense, 0));
    // A NUL inside a text ends nothing.
    uint32_t used = 0;
    static const char *const texts[] = {"GET", "https", "api.test", "443", "/"};
    for (uint32_t i = 0; i < COUNT(texts); i++)
        port_fields_append(payload, sizeof(payload), &used, i + 1, texts[i],
                           (uint32_t)strlen(texts[i]) + (i != 3));
    cr_expect_not_null(http_request_read(&request, payload, used));
}

Test(http_request, header_lines)
{
    static const char text[] = "A: b\nlong-name:   c d \nE:\n";
    static const char *const wanted[][2] = {{"A", "b"}, {"long-name", "c d "}, {"E", ""}};
    const char *at = text;
    struct http_header header;
    for (size_t i = 0; i < COUNT(wanted); i++) {
        cr_assert(http_header_next(&at, text + strlen(text), &header));
        cr_expect_eq(header.name_length, strlen(wanted[i][0]));
        cr_expect_eq(memcmp(header.name, wanted[i][0], header.name_length), 0);
        cr_expect_eq(header.value_length, strlen(wanted[i][1]));
        cr_expect_eq(memcmp(header.value, wanted[i][1], header.value_length), 0);
    }
    cr_expect_eq(at, text + strlen(text));
    cr_expect_not(http_header_next(&at, text + strlen(text), &header));
    header = (struct http_header){.name = "X-Key", .name_length = 5};
    cr_expect(http_header_is(&header, "x-kEY"));
    cr_expect_not(http_header_is(&header, "X-Ke"));
    cr_expect_not(http_header_is(&header, "X-Keys"));
}

// What is true of whatever is let through, written without a look at the code.
static void check_sound(const struct http_request *request)
{
    const char *path = request->path;
    const char *query = memchr(path, '?', request->path_length);
    size_t length = query ? (size_t)(query - path) : request->path_length;
    cr_assert(path[0] == '/' && request->method < HTTP_METHODS);
    for (uint32_t i = 0; i < request->path_length; i++)
        cr_assert(path[i] > ' ' && path[i] < 0x7f && path[i] != '\\' && path[i] != '#');
    for (size_t i = 0; i + 1 < length; i++) {
        if (path[i] != '/')
            continue;
        size_t end = i + 1;
        while (end < length && path[end] != '/' && path[end] != ';')
            end++;
        cr_assert(end != i + 1, "%.*s", (int)length, path);
        cr_assert_not(end == i + 2 && path[i + 1] == '.', "%.*s", (int)length, path);
        cr_assert_not(end == i + 3 && path[i + 1] == '.' && path[i + 2] == '.', "%.*s", (int)length,
                      path);
    }
    for (uint32_t i = 0; i < request->headers_length; i++) {
        char c = request->headers[i];
        cr_assert(c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f));
    }
    cr_assert(!request->headers_length || request->headers[request->headers_length - 1] == '\n');
    for (const char *c = request->origin.host; *c; c++)
        cr_assert((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || strchr("-._:", *c));
    cr_assert(request->origin.port >= 1 && request->origin.port <= 65535);
}

// A text of what makes paths, hosts and headers hard.
static uint32_t random_text(struct random *random, const char *start, char *text, size_t size)
{
    static const char *const pieces[] = {
        "/",      ".",         "..",   "//",       ";",  "?", "%",  "%2E", "%2F", "%41", "%C3",
        "a",      "b",         " ",    "\r\n",     "\n", ":", "\\", "#",   "\t",  "@",   "[",
        "X: y\n", "Host: z\n", "\x7f", "\xc3\xa4", "-",  "_", "A",  "=",   "&"};
    snprintf(text, size, "%s", start);
    for (uint64_t count = random_below(random, 6); count; count--) {
        const char *piece = pieces[random_below(random, COUNT(pieces))];
        size_t length = strlen(text);
        size_t at = random_below(random, length + 1);
        if (length + strlen(piece) >= size)
            continue;
        memmove(text + at + strlen(piece), text + at, length - at + 1);
        memcpy(text + at, piece, strlen(piece));
    }
    return (uint32_t)strlen(text);
}

Test(http_request, what_is_let_through_is_sound)
{
    static const char *const starts[] = {"GET", "https", "api.test", "443", "/a", "X: y\n", ""};
    struct random random = random_start(1);
    unsigned through = 0;
    for (unsigned round = 0; round < 300000; round++) {
        struct http_request request;
        char text[128];
        uint32_t used = 0;
        for (uint32_t i = 0; i < COUNT(starts); i++) {
            bool hard = random_chance(&random, i == 4 ? 90 : i == 5 ? 30 : 3);
            if (i > 4 && random_chance(&random, 50))
                continue;
            snprintf(text, sizeof(text), "%s", starts[i]);
            if (hard)
                random_text(&random, starts[i], text, sizeof(text));
            port_fields_append(payload, sizeof(payload), &used, i + 1, text,
                               (uint32_t)strlen(text));
        }
        // Now and then a byte changes anywhere, headers of fields included.
        if (used && random_chance(&random, 5))
            payload[random_below(&random, used)] = (uint8_t)random_next(&random);
        if (!http_request_read(&request, payload, used)) {
            check_sound(&request);
            through++;
        }
    }
    cr_expect_gt(through, 10000);
}

Test(http_request, random_bytes)
{
    struct random random = random_start(2);
    for (unsigned round = 0; round < 100000; round++) {
        struct http_request request;
        // As long as it is, no byte more: sanitizers see a look behind the end.
        uint32_t length = (uint32_t)random_below(&random, 200);
        uint8_t *bytes = malloc(length + 1);
        random_fill(&random, bytes, length);
        for (uint32_t i = 0; i + 8 <= length && random_chance(&random, 80); i += 8) {
            const struct port_field_header header = {i / 16 + 1,
                                                     (uint32_t)random_below(&random, 12)};
            memcpy(bytes + i, &header, sizeof(header));
        }
        if (!http_request_read(&request, bytes, length))
            check_sound(&request);
        free(bytes);
    }
}
