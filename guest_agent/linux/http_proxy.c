// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy on the guest's loopback whose way out is an http port.
//
// A request in absolute form becomes one request of the port, which fetches, checks certificates
// and follows its grant. Each connection carries one request, in a process of its own.
#include "http_proxy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port_fields_abi.h"
#include "stream_client.h"

#define HEAD_MAX     32768u
#define CHILDREN_MAX 64

// Header fields that are between two neighbours, or that the port makes itself.
static const char *const left_out[] = {
    "connection",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "x-guillotine-scheme",
};

// A request as a client sent it.
struct request {
    char head[HEAD_MAX + 1];
    size_t head_bytes; // with the empty line
    size_t read_bytes; // head and the beginning of the body
    char *method;
    const char *scheme;
    char *host;
    unsigned port;
    char path[HEAD_MAX];
    char headers[HEAD_MAX]; // "Name: value\n" each
    size_t headers_bytes;
    size_t body_bytes;
    bool chunked;
};

static void answer(int client, int status, const char *reason, const char *text)
{
    char message[1024];
    fprintf(stderr, "guillotine-agent: http-proxy: %d %s: %s\n", status, reason, text);
    int n = snprintf(message, sizeof(message),
                     "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
                     "guillotine: %s\n",
                     status, reason, text);
    if (n > 0)
        send(client, message, (size_t)n, MSG_NOSIGNAL);
}

static int refuse(int client, int status, const char *reason, const char *text)
{
    answer(client, status, reason, text);
    return -1;
}

static bool read_head(int client, struct request *request)
{
    while (request->read_bytes < HEAD_MAX) {
        ssize_t n =
            recv(client, request->head + request->read_bytes, HEAD_MAX - request->read_bytes, 0);
        if (n <= 0)
            return false;
        request->read_bytes += (size_t)n;
        request->head[request->read_bytes] = '\0';
        char *end = strstr(request->head, "\r\n\r\n");
        if (end) {
            request->head_bytes = (size_t)(end + 4 - request->head);
            return true;
        }
    }
    return false;
}

static bool is_left_out(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
        if (strlen(left_out[i]) == length && !strncasecmp(left_out[i], name, length))
            return true;
    }
    return false;
}

static bool is_named(const char *line, const char *name)
{
    size_t length = strlen(name);
    return !strncasecmp(line, name, length) && line[length] == ':';
}

static const char *value_of(const char *line)
{
    const char *value = strchr(line, ':') + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    return value;
}

// One header line, without its end.
static bool take_header(struct request *request, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon || colon == line)
        return false;
    if (is_named(line, "content-length"))
        request->body_bytes = strtoul(value_of(line), NULL, 10);
    if (is_named(line, "transfer-encoding"))
        request->chunked = true;
    if (is_named(line, "x-guillotine-scheme") && !strcasecmp(value_of(line), "https"))
        request->scheme = "https";
    if (is_left_out(line, (size_t)(colon - line)))
        return true;
    int n = snprintf(request->headers + request->headers_bytes,
                     sizeof(request->headers) - request->headers_bytes, "%.*s: %s\n",
                     (int)(colon - line), line, value_of(line));
    request->headers_bytes += n > 0 ? (size_t)n : 0;
    return request->headers_bytes < sizeof(request->headers);
}

// http://HOST[:PORT]PATH; a client that wants https says so in a header, or gives port 443.
static bool take_url(struct request *request, char *url)
{
    static const char prefix[] = "http://";
    if (strncasecmp(url, prefix, sizeof(prefix) - 1))
        return false;
    char *authority = url + sizeof(prefix) - 1;
    size_t length = strcspn(authority, "/?#");
    snprintf(request->path, sizeof(request->path), "%s%s", authority[length] == '/' ? "" : "/",
             authority + length);
    request->path[strcspn(request->path, "#")] = '\0';
    authority[length] = '\0';
    for (char *c = authority; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    char *port = strrchr(authority, ':');
    if (*authority == '[') {
        char *end = strchr(++authority, ']');
        if (!end)
            return false;
        *end = '\0';
        port = end[1] == ':' ? end + 1 : NULL;
    } else if (port) {
        *port = '\0';
    }
    request->host = authority;
    request->port = port ? (unsigned)strtoul(port + 1, NULL, 10) : 0;
    return *request->host && request->port <= 65535;
}

static int parse(int client, struct request *request)
{
    char *rest = NULL;
    char *line = strtok_r(request->head, "\r\n", &rest);
    char *end = request->head + request->head_bytes - 4;
    char *url = line ? strchr(line, ' ') : NULL;
    char *version = url ? strchr(url + 1, ' ') : NULL;
    if (!version || strncmp(version + 1, "HTTP/1.", 7))
        return refuse(client, 400, "Bad Request", "not an HTTP/1 request");
    *url = *version = '\0';
    request->method = line;
    request->scheme = "http";
    if (!strcmp(line, "CONNECT"))
        return refuse(client, 501, "Not Implemented",
                      "no tunnels: the http port makes the TLS connection itself. Ask for "
                      "http://HOST/ with the header \"X-Guillotine-Scheme: https\"");
    while (rest < end && (line = strtok_r(NULL, "\r\n", &rest))) {
        if (line >= end)
            break;
        if (!take_header(request, line))
            return refuse(client, 400, "Bad Request", "a header line is malformed or too long");
    }
    if (!take_url(request, url + 1))
        return refuse(client, 400, "Bad Request", "the target is not http://HOST[:PORT]/PATH");
    if (request->chunked)
        return refuse(client, 411, "Length Required", "bodies need a Content-Length");
    if (request->port == 443)
        request->scheme = "https";
    if (!request->port)
        request->port = strcmp(request->scheme, "https") ? 80 : 443;
    return 0;
}

static bool append_text(uint8_t *payload, uint32_t size, uint32_t *used, uint32_t number,
                        const char *text)
{
    return port_fields_append(payload, size, used, number, text, (uint32_t)strlen(text));
}

// Makes the port's request. Returns its length, or 0: too large, or the client went away.
static uint32_t make_payload(int client, const struct request *request, uint8_t *payload,
                             uint32_t size)
{
    uint32_t used = 0;
    char port[12];
    snprintf(port, sizeof(port), "%u", request->port);
    if (!append_text(payload, size, &used, HTTP_FIELD_METHOD, request->method) ||
        !append_text(payload, size, &used, HTTP_FIELD_SCHEME, request->scheme) ||
        !append_text(payload, size, &used, HTTP_FIELD_HOST, request->host) ||
        !append_text(payload, size, &used, HTTP_FIELD_PORT, port) ||
        !append_text(payload, size, &used, HTTP_FIELD_PATH, request->path) ||
        (request->headers_bytes &&
         !append_text(payload, size, &used, HTTP_FIELD_HEADERS, request->headers)))
        return 0;
    if (!request->body_bytes)
        return used;
    if (request->body_bytes > size)
        return 0;
    uint8_t *body = malloc(request->body_bytes);
    size_t done = request->read_bytes - request->head_bytes;
    if (done > request->body_bytes)
        done = request->body_bytes;
    bool good = body != NULL;
    if (good)
        memcpy(body, request->head + request->head_bytes, done);
    while (good && done < request->body_bytes) {
        ssize_t n = recv(client, body + done, request->body_bytes - done, 0);
        good = n > 0;
        done += n > 0 ? (size_t)n : 0;
    }
    good = good && port_fields_append(payload, size, &used, HTTP_FIELD_BODY, body,
                                      (uint32_t)request->body_bytes);
    free(body);
    return good ? used : 0;
}

static bool put(int client, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = send(client, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

// The reply's status and headers, as a client expects them.
static bool put_head(int client, const struct port_fields *fields)
{
    const struct port_field *headers = &fields->field[HTTP_FIELD_HEADERS];
    const struct port_field *status = &fields->field[HTTP_FIELD_STATUS];
    char line[64];
    int n = snprintf(line, sizeof(line), "HTTP/1.1 %.*s \r\n", (int)status->length,
                     (const char *)status->bytes);
    if (n < 0 || !put(client, line, (size_t)n))
        return false;
    const char *at = (const char *)headers->bytes;
    const char *end = at ? at + headers->length : NULL;
    while (at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        const char *colon = memchr(at, ':', (size_t)(end - at));
        size_t length = (size_t)((next ? next : end) - at);
        if (colon && !is_left_out(at, (size_t)(colon - at)) &&
            (!put(client, at, length) || !put(client, "\r\n", 2)))
            return false;
        at += length + 1;
    }
    return put(client, "Connection: close\r\n\r\n", 21);
}

static void refuse_status(int client, int status, const struct port_fields *fields)
{
    const struct port_field *reason = &fields->field[HTTP_FIELD_REASON];
    char text[512];
    snprintf(text, sizeof(text), "the http port answered %d: %s%s%.*s", status,
             stream_status_text(status), reason->length ? ": " : "", (int)reason->length,
             (const char *)reason->bytes);
    if (status == PORT_STATUS_DENIED)
        answer(client, 403, "Forbidden", text);
    else if (status == PORT_STATUS_INVALID)
        answer(client, 400, "Bad Request", text);
    else
        answer(client, 502, "Bad Gateway", text);
}

static void relay(int client, struct stream *stream, const uint8_t *payload, uint32_t length)
{
    struct port_fields fields = {0};
    uint64_t number = 0;
    uint32_t got = 0;
    uint8_t *reply = malloc(stream->max_reply_bytes);
    int status = reply ? stream_call(stream, HTTP_OPEN, 0, payload, length, reply,
                                     stream->max_reply_bytes, &got)
                       : -1;
    bool sound = port_fields_read(&fields, reply, got);
    if (status || !sound || !fields.field[HTTP_FIELD_STATUS].length ||
        !port_field_number(&fields.field[HTTP_FIELD_STREAM], &number)) {
        refuse_status(client, status ? status : PORT_STATUS_FAILED, &fields);
        free(reply);
        return;
    }
    bool open = put_head(client, &fields);
    while (open) {
        status = stream_call(stream, HTTP_READ, (uint32_t)number, NULL, 0, reply,
                             stream->max_reply_bytes, &got);
        const struct port_field *body = &fields.field[HTTP_FIELD_BODY];
        open = !status && port_fields_read(&fields, reply, got) && body->length &&
               put(client, body->bytes, body->length);
    }
    stream_call(stream, HTTP_CLOSE, (uint32_t)number, NULL, 0, reply, stream->max_reply_bytes,
                &got);
    free(reply);
}

static void serve(int client, const char *name)
{
    static struct request request;
    struct stream stream;
    if (!read_head(client, &request)) {
        answer(client, 431, "Request Header Fields Too Large",
               "the head is too long, or not whole");
        return;
    }
    if (parse(client, &request) < 0)
        return;
    if (stream_open(&stream, PORT_KIND_HTTP, name) < 0) {
        char text[256];
        snprintf(text, sizeof(text), "no http port: %s", strerror(errno));
        answer(client, 502, "Bad Gateway", text);
        return;
    }
    uint8_t *payload = malloc(stream.max_request_bytes);
    uint32_t length =
        payload ? make_payload(client, &request, payload, stream.max_request_bytes) : 0;
    if (length)
        relay(client, &stream, payload, length);
    else
        answer(client, 413, "Content Too Large", "the request is larger than the http port takes");
    free(payload);
    stream_close(&stream);
}

int http_proxy_run(unsigned short number, const char *name)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(number),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int one = 1;
    int children = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, 64) < 0) {
        fprintf(stderr, "guillotine-agent: 127.0.0.1:%u: %s\n", number, strerror(errno));
        return 75;
    }
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        // One that has too many waits for one of them to end.
        while (children && waitpid(-1, NULL, children >= CHILDREN_MAX ? 0 : WNOHANG) > 0)
            children--;
        if (client < 0)
            continue;
        pid_t child = fork();
        if (child == 0) {
            serve(client, name);
            _exit(0);
        }
        children += child > 0;
        close(client);
    }
}
