// SPDX-License-Identifier: Apache-2.0
// The client of an http port.
#include <guillotine/http.h>

#include <string.h>

#include "fields_call.h"

static void take_reply(const struct port_fields *fields, struct cell_http_reply *reply)
{
    const struct port_field *field = fields->field;
    uint64_t status = 0;
    port_field_number(&field[HTTP_FIELD_STATUS], &status);
    *reply = (struct cell_http_reply){
        .status = (uint32_t)status,
        .headers = (const char *)field[HTTP_FIELD_HEADERS].bytes,
        .headers_length = field[HTTP_FIELD_HEADERS].length,
        .body = field[HTTP_FIELD_BODY].bytes,
        .body_length = field[HTTP_FIELD_BODY].length,
        .reason = (const char *)field[HTTP_FIELD_REASON].bytes,
        .reason_length = field[HTTP_FIELD_REASON].length,
    };
}

static int ask(struct cell_port *port, uint32_t operation, const struct cell_http_request *request,
               struct port_fields *fields, struct cell_http_reply *reply)
{
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, HTTP_FIELD_METHOD, request->method);
    fields_call_text(&call, HTTP_FIELD_SCHEME, request->scheme);
    fields_call_text(&call, HTTP_FIELD_HOST, request->host);
    fields_call_number(&call, HTTP_FIELD_PORT, request->port);
    fields_call_text(&call, HTTP_FIELD_PATH, request->path);
    fields_call_text(&call, HTTP_FIELD_HEADERS, request->headers);
    fields_call_bytes(&call, HTTP_FIELD_BODY, request->body, request->body_length);
    int status = fields_call_finish(&call, operation, 0, fields);
    take_reply(fields, reply);
    return status == 0 && !reply->status ? -1 : status;
}

int cell_http_fetch(struct cell_port *port, const struct cell_http_request *request,
                    struct cell_http_reply *reply)
{
    struct port_fields fields;
    return ask(port, HTTP_FETCH, request, &fields, reply);
}

int cell_http_open(struct cell_port *port, const struct cell_http_request *request,
                   struct cell_http_reply *reply, uint32_t *stream)
{
    struct port_fields fields;
    uint64_t number;
    *stream = 0;
    int status = ask(port, HTTP_OPEN, request, &fields, reply);
    if (status)
        return status;
    if (!port_field_number(&fields.field[HTTP_FIELD_STREAM], &number) || number > UINT32_MAX)
        return -1;
    *stream = (uint32_t)number;
    return 0;
}

int cell_http_read(struct cell_port *port, uint32_t stream, const void **data, size_t *length)
{
    struct port_fields fields;
    struct fields_call call = fields_call_start(port);
    int status = fields_call_finish(&call, HTTP_READ, stream, &fields);
    *data = fields.field[HTTP_FIELD_BODY].bytes;
    *length = fields.field[HTTP_FIELD_BODY].length;
    return status;
}

int cell_http_close(struct cell_port *port, uint32_t stream)
{
    struct port_fields fields;
    struct fields_call call = fields_call_start(port);
    return fields_call_finish(&call, HTTP_CLOSE, stream, &fields);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

// Takes a port at *at, up to the end of the authority. Returns 0 if there is none, or a wrong one.
static uint32_t take_port(const char *at)
{
    uint32_t port = 0;
    if (!*at)
        return 0;
    for (; *at; at++) {
        if (*at < '0' || *at > '9' || port > 65535)
            return 0;
        port = port * 10 + (uint32_t)(*at - '0');
    }
    return port;
}

// Ends the text at the first of these bytes. Returns what is behind it, or NULL if there is none.
static char *cut(char *text, char at)
{
    char *found = strchr(text, at);
    if (!found)
        return NULL;
    *found = '\0';
    return found + 1;
}

static void set_path(struct cell_http_url *url, const char *from, const char *to)
{
    size_t used = 0;
    if (from == to || *from != '/')
        url->path[used++] = '/';
    memcpy(url->path + used, from, (size_t)(to - from));
    url->path[used + (size_t)(to - from)] = '\0';
}

int cell_http_url_parse(struct cell_http_url *url, const char *text, size_t length)
{
    static const char https[] = "https://";
    static const char http[] = "http://";
    int secure = length > sizeof(https) - 1 && !memcmp(text, https, sizeof(https) - 1);
    int plain = length > sizeof(http) - 1 && !memcmp(text, http, sizeof(http) - 1);
    if ((!secure && !plain) || length + 2 > sizeof(url->text) || memchr(text, '\0', length))
        return 0;
    const char *at = text + (secure ? sizeof(https) : sizeof(http)) - 1;
    const char *end = memchr(at, '#', (size_t)(text + length - at));
    if (!end)
        end = text + length;
    const char *path = at;
    while (path < end && *path != '/' && *path != '?')
        path++;
    char *authority = url->text;
    memcpy(authority, at, (size_t)(path - at));
    authority[path - at] = '\0';
    for (char *c = authority; *c; c++)
        *c = lower(*c);
    set_path(url, path, end);
    char *host = authority;
    char *behind = host;
    if (*host == '[') {
        behind = cut(++host, ']');
        if (!behind || (*behind && *behind != ':'))
            return 0;
    }
    char *port = cut(behind, ':');
    url->request = (struct cell_http_request){
        .method = "GET",
        .scheme = secure ? "https" : "http",
        .host = host,
        .port = port ? take_port(port) : (secure ? 443 : 80),
        .path = url->path,
    };
    return *host && url->request.port && url->request.port <= 65535;
}

int cell_http_header(const struct cell_http_reply *reply, const char *name, const char **value,
                     size_t *length)
{
    const char *at = reply->headers;
    const char *end = at ? at + reply->headers_length : NULL;
    size_t size = strlen(name);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline ? newline : end;
        size_t same = 0;
        while (same < size && at + same < line_end && lower(at[same]) == lower(name[same]))
            same++;
        if (same == size && at + same < line_end && at[same] == ':') {
            at += same + 1;
            while (at < line_end && *at == ' ')
                at++;
            *value = at;
            *length = (size_t)(line_end - at);
            return 1;
        }
        at = newline ? newline + 1 : end;
    }
    return 0;
}

static int is_redirect(uint32_t status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Where a reply points to. Relative references other than "/PATH" are not followed.
static int follow(struct cell_http_url *url, const struct cell_http_reply *reply)
{
    const char *location;
    size_t length;
    if (!cell_http_header(reply, "location", &location, &length) || !length)
        return 0;
    if (location[0] != '/') {
        const struct cell_http_url asked = *url;
        if (cell_http_url_parse(url, location, length))
            return 1;
        *url = asked;
        return 0;
    }
    const char *end = memchr(location, '#', length);
    if (!end)
        end = location + length;
    if ((length > 1 && location[1] == '/') || length + 2 > sizeof(url->path))
        return 0;
    set_path(url, location, end);
    return 1;
}

int cell_http_get(struct cell_port *port, struct cell_http_url *url, unsigned redirects,
                  struct cell_http_reply *reply)
{
    int status = cell_http_fetch(port, &url->request, reply);
    while (status == 0 && redirects-- && is_redirect(reply->status) && follow(url, reply))
        status = cell_http_fetch(port, &url->request, reply);
    return status;
}
