// SPDX-License-Identifier: Apache-2.0
// A guest that uses the http port named "http" as it is told, and says on the console what came of
// it.
//
//   get URL REDIRECTS         follows that many
//   ask METHOD URL HEADERS BODY  "-": none; "|" in HEADERS stands for the end of a line
//   post COUNT URL            a body of COUNT times "x"
//   fields METHOD SCHEME HOST PORT PATH HEADERS  as they are, "-": not there
//   stream URL                opens, reads to the end, closes; says how many pieces came
//   open URL                  leaves the stream open; says its number
//   read NUMBER, close NUMBER
//   raw OPERATION ARGUMENT HEX  a payload as it is
//   repeat COUNT URL          says how many were answered with 200
//   until URL                 asks as long as the port's process is down; says the last status
//   say TEXT
//
// A reply is "= STATUS HTTP-STATUS", headers as "> Name: value", "reason TEXT" if there is one, and
// "body BYTES" with the bytes and a newline behind it. Every word "--" ends one command and begins
// the next. Ends with 0, or 1 if a command made no sense.
#include <guillotine/http.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port_fields_abi.h"

#define DATA_SIZE (1u << 20)

static struct cell_port port;
static char data[DATA_SIZE];
static char other[DATA_SIZE];
static struct cell_http_url url;

static void say(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    cell_console_write(line, length < (int)sizeof(line) ? (size_t)length : sizeof(line) - 1);
}

static void show(int status, const struct cell_http_reply *reply)
{
    const char *at = reply->headers;
    const char *end = at + reply->headers_length;
    say("= %d %u\n", status, reply->status);
    while (at && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        say("> %.*s\n", (int)((newline ? newline : end) - at), at);
        at = newline ? newline + 1 : end;
    }
    if (reply->reason)
        say("reason %.*s\n", (int)reply->reason_length, reply->reason);
    say("body %llu\n", (unsigned long long)reply->body_length);
    if (reply->body_length)
        cell_console_write(reply->body, reply->body_length);
    say("\n");
}

static const char *given(const char *word)
{
    return strcmp(word, "-") ? word : NULL;
}

static int parse(const char *text)
{
    if (cell_http_url_parse(&url, text, strlen(text)))
        return 1;
    say("no URL: %s\n", text);
    return 0;
}

static void get(const char *text, const char *redirects)
{
    struct cell_http_reply reply;
    if (parse(text)) {
        int status = cell_http_get(&port, &url, (unsigned)atoi(redirects), &reply);
        show(status, &reply);
    }
}

// Headers with their ends of lines.
static char *lines(const char *headers)
{
    if (!given(headers))
        return NULL;
    snprintf(other, sizeof(other), "%s\n", headers);
    for (char *bar = other; (bar = strchr(bar, '|'));)
        *bar = '\n';
    return other;
}

static void ask(char **words)
{
    struct cell_http_reply reply;
    if (!parse(words[2]))
        return;
    url.request.method = words[1];
    url.request.headers = lines(words[3]);
    url.request.body = given(words[4]);
    url.request.body_length = url.request.body ? strlen(words[4]) : 0;
    int status = cell_http_fetch(&port, &url.request, &reply);
    show(status, &reply);
}

static void post(const char *count, const char *text)
{
    struct cell_http_reply reply;
    if (!parse(text))
        return;
    url.request.method = "POST";
    url.request.headers = "Content-Type: text/plain\n";
    url.request.body = memset(data, 'x', DATA_SIZE);
    url.request.body_length = strtoul(count, NULL, 10);
    int status = cell_http_fetch(&port, &url.request, &reply);
    show(status, &reply);
}

// Fields that the client would not send.
static void fields(char **words)
{
    struct port_fields found;
    uint32_t used = 0;
    size_t got = 0;
    char *headers = lines(words[6]);
    const char *texts[] = {given(words[1]), given(words[2]), given(words[3]),
                           given(words[4]), given(words[5]), headers};
    for (uint32_t i = 0; i < 6; i++) {
        if (texts[i])
            port_fields_append((uint8_t *)data, DATA_SIZE, &used, i + 1, texts[i],
                               (uint32_t)strlen(texts[i]));
    }
    int status =
        cell_port_call(&port, HTTP_FETCH, 0, data, used, other, port.queue.reply_bytes - 64, &got);
    const struct port_field *reason = &found.field[HTTP_FIELD_REASON];
    if (!port_fields_read(&found, (const uint8_t *)other, (uint32_t)got))
        say("fields %d\n", status);
    else
        say("fields %d %.*s\n", status, (int)reason->length,
            reason->bytes ? (const char *)reason->bytes : "");
}

static void stream(const char *text)
{
    struct cell_http_reply reply;
    const void *bytes;
    size_t length;
    uint32_t number;
    unsigned pieces = 0;
    unsigned long long whole = 0;
    if (!parse(text))
        return;
    int status = cell_http_open(&port, &url.request, &reply, &number);
    show(status, &reply);
    if (status)
        return;
    while ((status = cell_http_read(&port, number, &bytes, &length)) == 0 && length) {
        pieces++;
        whole += length;
        if (whole <= 4096)
            cell_console_write(bytes, length);
    }
    say("\nstream %d pieces %u bytes %llu close %d\n", status, pieces, whole,
        cell_http_close(&port, number));
}

static void open_one(const char *text)
{
    struct cell_http_reply reply;
    uint32_t number;
    if (!parse(text))
        return;
    int status = cell_http_open(&port, &url.request, &reply, &number);
    say("open %d %u\n", status, number);
}

static void read_one(const char *number)
{
    const void *bytes;
    size_t length;
    int status = cell_http_read(&port, (uint32_t)strtoul(number, NULL, 10), &bytes, &length);
    say("read %d %llu\n", status, (unsigned long long)length);
}

static void raw(const char *operation, const char *argument, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = strlen(hex) / 2;
    size_t got = 0;
    for (size_t i = 0; i < length; i++)
        data[i] = (char)((strchr(digits, hex[2 * i]) - digits) * 16 +
                         (strchr(digits, hex[2 * i + 1]) - digits));
    int status = cell_port_call(&port, (uint32_t)strtoul(operation, NULL, 10),
                                (uint32_t)strtoul(argument, NULL, 10), data, length, other,
                                port.queue.reply_bytes - 64, &got);
    say("raw %d %llu\n", status, (unsigned long long)got);
}

static void repeat(const char *count, const char *text)
{
    struct cell_http_reply reply;
    int good = 0;
    if (!parse(text))
        return;
    for (int i = atoi(count); i > 0; i--)
        good += cell_http_fetch(&port, &url.request, &reply) == 0 && reply.status == 200;
    say("repeat %d\n", good);
}

static void until(const char *text)
{
    struct cell_http_reply reply;
    int status = PORT_STATUS_DOWN;
    if (!parse(text))
        return;
    while (status == PORT_STATUS_DOWN)
        status = cell_http_fetch(&port, &url.request, &reply);
    say("until %d %u\n", status, reply.status);
}

static int run(int count, char **words)
{
    if (count == 3 && !strcmp(words[0], "get"))
        get(words[1], words[2]);
    else if (count == 5 && !strcmp(words[0], "ask"))
        ask(words);
    else if (count == 3 && !strcmp(words[0], "post"))
        post(words[1], words[2]);
    else if (count == 7 && !strcmp(words[0], "fields"))
        fields(words);
    else if (count == 2 && !strcmp(words[0], "stream"))
        stream(words[1]);
    else if (count == 2 && !strcmp(words[0], "open"))
        open_one(words[1]);
    else if (count == 2 && !strcmp(words[0], "read"))
        read_one(words[1]);
    else if (count == 2 && !strcmp(words[0], "close"))
        say("close %d\n", cell_http_close(&port, (uint32_t)strtoul(words[1], NULL, 10)));
    else if (count == 4 && !strcmp(words[0], "raw"))
        raw(words[1], words[2], words[3]);
    else if (count == 3 && !strcmp(words[0], "repeat"))
        repeat(words[1], words[2]);
    else if (count == 2 && !strcmp(words[0], "until"))
        until(words[1]);
    else if (count == 2 && !strcmp(words[0], "say"))
        say("%s\n", words[1]);
    else
        return 0;
    return 1;
}

int main(int argc, char **argv)
{
    if (cell_port_open(&port, "http"))
        return 1;
    for (int first = 1; first < argc;) {
        int end = first;
        while (end < argc && strcmp(argv[end], "--"))
            end++;
        if (!run(end - first, argv + first))
            return 1;
        first = end + 1;
    }
    return 0;
}
