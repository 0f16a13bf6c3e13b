// SPDX-License-Identifier: Apache-2.0
// A request of the model as the wire will have it.
#include "http_request.h"

#include <string.h>
#include <strings.h>

#include "port_fields_abi.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *const http_method_names[HTTP_METHODS] = {
    [HTTP_METHOD_GET] = "GET",         [HTTP_METHOD_HEAD] = "HEAD",
    [HTTP_METHOD_POST] = "POST",       [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_PATCH] = "PATCH",     [HTTP_METHOD_DELETE] = "DELETE",
    [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

// Headers that are this process's own, or a proxy's, or change how a message is read.
static const char *const own_headers[] = {
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
};
static const char own_prefix[] = "proxy-";

static bool equals(const struct port_field *field, const char *text)
{
    return field->length == strlen(text) && memcmp(field->bytes, text, field->length) == 0;
}

static bool find_name(const struct port_field *field, const char *const *names, uint32_t count,
                      uint32_t *index)
{
    for (*index = 0; *index < count; ++*index) {
        if (equals(field, names[*index]))
            return true;
    }
    return false;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_unreserved(char c)
{
    return is_alphanumeric(c) || (c && strchr("-._~", c));
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Escapes are in capitals, and only of what cannot stand for itself. Some servers take an escaped
// slash for one.
static const char *check_escape(const char *at, const char *end, bool in_query)
{
    int high = end - at < 3 ? -1 : hex_value(at[1]);
    int low = end - at < 3 ? -1 : hex_value(at[2]);
    if (high < 0 || low < 0)
        return "path: % is followed by two digits, A to F in capitals";
    char c = (char)(high << 4 | low);
    if (is_unreserved(c))
        return "path: what needs no escape has none";
    if (!in_query && (!c || c == '/' || c == '\\' || c == '%'))
        return "path: no escape of a slash, a backslash, a percent sign or a zero";
    return NULL;
}

static const char *check_parts(const char *path, const char *end)
{
    for (const char *part = path + 1; part <= end;) {
        const char *slash = memchr(part, '/', (size_t)(end - part));
        size_t length = (size_t)((slash ? slash : end) - part);
        // Nothing behind the last slash is a folder, and fine. A part ends at ';' for some servers.
        size_t name = length;
        const char *semicolon = memchr(part, ';', length);
        if (semicolon)
            name = (size_t)(semicolon - part);
        if ((!name && (slash || semicolon)) || (name == 1 && part[0] == '.') ||
            (name == 2 && memcmp(part, "..", 2) == 0))
            return "path: no part of it is empty, \".\" or \"..\"";
        if (!slash)
            break;
        part = slash + 1;
    }
    return NULL;
}

static const char *read_path(struct http_request *request, const struct port_field *field)
{
    const char *path = (const char *)field->bytes;
    if (!field->length || field->length > HTTP_PATH_MAX || path[0] != '/')
        return "path: 1 to 8192 bytes that begin with /";
    const char *end = path + field->length;
    const char *query = memchr(path, '?', field->length);
    if (!query)
        query = end;
    for (const char *at = path; at < end; at++) {
        if (*at == '%') {
            const char *why = check_escape(at, end, at > query);
            if (why)
                return why;
        } else if (!is_unreserved(*at) && !memchr("/:@!$&'()*+,;=", *at, 14) &&
                   !(at >= query && *at == '?')) {
            return "path: a character that has to be escaped";
        }
    }
    request->path = path;
    request->path_length = field->length;
    return check_parts(path, query);
}

bool http_header_next(const char **at, const char *end, struct http_header *header)
{
    const char *line = *at;
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    const char *colon = newline ? memchr(line, ':', (size_t)(newline - line)) : NULL;
    if (!colon)
        return false;
    const char *value = colon + 1;
    while (value < newline && *value == ' ')
        value++;
    *header =
        (struct http_header){line, (uint32_t)(colon - line), value, (uint32_t)(newline - value)};
    *at = newline + 1;
    return true;
}

bool http_header_is(const struct http_header *header, const char *name)
{
    return strlen(name) == header->name_length &&
           strncasecmp(header->name, name, header->name_length) == 0;
}

static const char *check_header(const struct http_header *header)
{
    if (!header->name_length || header->name_length >= HTTP_HEADER_NAME_SIZE)
        return "headers: a name has 1 to 63 characters";
    for (uint32_t i = 0; i < header->name_length; i++) {
        // Some servers take an underscore for a hyphen: then X_Real_IP would be X-Real-IP.
        if (!is_alphanumeric(header->name[i]) && header->name[i] != '-')
            return "headers: a name is made of letters, digits and hyphens";
    }
    for (uint32_t i = 0; i < header->value_length; i++) {
        unsigned char c = (unsigned char)header->value[i];
        if ((c < 0x20 && c != '\t') || c > 0x7e)
            return "headers: a value is printable ASCII";
    }
    for (size_t i = 0; i < COUNT(own_headers); i++) {
        if (http_header_is(header, own_headers[i]))
            return "headers: one of them is not the model's to set";
    }
    if (header->name_length >= sizeof(own_prefix) - 1 &&
        strncasecmp(header->name, own_prefix, sizeof(own_prefix) - 1) == 0)
        return "headers: one of them is a proxy's";
    return NULL;
}

static const char *read_headers(struct http_request *request, const struct port_field *field)
{
    struct http_header header;
    uint32_t lines = 0;
    if (!field->length)
        return NULL;
    const char *at = (const char *)field->bytes;
    const char *end = at + field->length;
    if (field->length > HTTP_HEADERS_MAX)
        return "headers: more than 16384 bytes";
    request->headers = at;
    request->headers_length = field->length;
    while (at < end) {
        if (++lines > HTTP_HEADER_LINES_MAX)
            return "headers: more than 64";
        if (!http_header_next(&at, end, &header))
            return "headers: lines of \"Name: value\", each with its newline";
        const char *why = check_header(&header);
        if (why)
            return why;
    }
    return NULL;
}

static const char *read_body(struct http_request *request, const struct port_field *field)
{
    bool takes_one = request->method == HTTP_METHOD_POST || request->method == HTTP_METHOD_PUT ||
                     request->method == HTTP_METHOD_PATCH || request->method == HTTP_METHOD_DELETE;
    if (field->bytes && !takes_one)
        return "body: this method has none";
    request->body = field->bytes;
    request->body_length = field->length;
    return NULL;
}

const char *http_request_read(struct http_request *request, const uint8_t *payload, uint32_t length)
{
    struct port_fields fields;
    uint64_t port;
    *request = (struct http_request){0};
    if (!port_fields_read(&fields, payload, length))
        return "the payload is not made of fields";
    const struct port_field *field = fields.field;
    for (uint32_t i = 1; i < PORT_FIELDS; i++) {
        bool present = field[i].bytes != NULL;
        if ((i <= HTTP_FIELD_PATH && !present) || (i > HTTP_FIELD_BODY && present))
            return "fields: method, scheme, host, port and path; headers and body may come behind";
    }
    const struct port_field *host = &field[HTTP_FIELD_HOST];
    if (!find_name(&field[HTTP_FIELD_METHOD], http_method_names, HTTP_METHODS, &request->method))
        return "method: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS";
    if (!find_name(&field[HTTP_FIELD_SCHEME], http_scheme_names, HTTP_SCHEMES,
                   &request->origin.scheme))
        return "scheme: http or https";
    if (!http_host_is_sound((const char *)host->bytes, host->length))
        return "host: a name in lower case, or an address";
    memcpy(request->origin.host, host->bytes, host->length);
    if (!port_field_number(&field[HTTP_FIELD_PORT], &port) || !port || port > 65535)
        return "port: 1 to 65535";
    request->origin.port = (uint32_t)port;
    const char *why = read_path(request, &field[HTTP_FIELD_PATH]);
    if (!why)
        why = read_headers(request, &field[HTTP_FIELD_HEADERS]);
    return why ? why : read_body(request, &field[HTTP_FIELD_BODY]);
}
