// SPDX-License-Identifier: Apache-2.0
// Fuzzes what an http port reads of a model, and origins and addresses of VM files: what is let
// through has one spelling and one meaning. The first byte says which.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_request.h"
#include "port_fields_abi.h"

#define FIELDS 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void check_path(const struct http_request *request)
{
    const char *path = request->path;
    const char *query = memchr(path, '?', request->path_length);
    size_t length = query ? (size_t)(query - path) : request->path_length;
    require_that(length && path[0] == '/');
    for (uint32_t i = 0; i < request->path_length; i++)
        require_that(path[i] > ' ' && path[i] < 0x7f && path[i] != '\\' && path[i] != '#');
    for (size_t i = 0; i + 1 < length; i++) {
        size_t end = i + 1;
        if (path[i] != '/')
            continue;
        while (end < length && path[end] != '/' && path[end] != ';')
            end++;
        require_that(end != i + 1);
        require_that(end != i + 2 || path[i + 1] != '.');
        require_that(end != i + 3 || path[i + 1] != '.' || path[i + 2] != '.');
    }
}

static void check_headers(const struct http_request *request)
{
    const char *at = request->headers;
    const char *end = at ? at + request->headers_length : NULL;
    struct http_header header;
    unsigned lines = 0;
    for (; at && at < end; lines++) {
        require_that(http_header_next(&at, end, &header));
        require_that(header.name_length && !http_header_is(&header, "host") &&
                     !http_header_is(&header, "content-length") &&
                     !http_header_is(&header, "transfer-encoding"));
        for (uint32_t i = 0; i < header.value_length; i++)
            require_that(header.value[i] == '\t' ||
                         (header.value[i] >= ' ' && header.value[i] < 0x7f));
    }
    require_that(lines <= HTTP_HEADER_LINES_MAX);
}

static void check_request(const uint8_t *payload, uint32_t length)
{
    struct http_request request;
    if (http_request_read(&request, payload, length))
        return;
    require_that(request.method < HTTP_METHODS && request.origin.scheme < HTTP_SCHEMES);
    require_that(request.origin.port >= 1 && request.origin.port <= 65535);
    require_that(http_host_is_sound(request.origin.host, strlen(request.origin.host)));
    check_path(&request);
    check_headers(&request);
}

// Fields whose lengths and contents are the input's.
static void check_fields(const uint8_t *data, size_t size)
{
    static uint8_t payload[8192];
    uint32_t used = 0;
    for (uint32_t field = 1; field <= FIELDS && size; field++) {
        size_t length = *data++;
        size--;
        if (length > size)
            length = size;
        require_that(
            port_fields_append(payload, sizeof(payload), &used, field, data, (uint32_t)length));
        data += length;
        size -= length;
    }
    uint8_t *exact = malloc(used + 1); // no byte behind it can be read unseen
    require_that(exact != NULL);
    memcpy(exact, payload, used);
    check_request(exact, used);
    free(exact);
}

static void check_origin(const char *text)
{
    struct http_origin origin;
    struct http_origin again;
    struct error err = {0};
    char spelt[HTTP_HOST_SIZE + 32];
    bool any = false;
    if (http_origin_parse(text, &origin, &any, &err)) {
        require_that(err.text[0]);
        return;
    }
    bool inside = strchr(origin.host, ':') != NULL;
    snprintf(spelt, sizeof(spelt), "%s://%s%s%s:%u", http_scheme_names[origin.scheme],
             inside ? "[" : "", origin.host, inside ? "]" : "", origin.port);
    require_that(http_origin_parse(spelt, &again, NULL, &err) == 0);
    require_that(memcmp(&origin, &again, sizeof(origin)) == 0);
    require_that(strstr(text, origin.host) != NULL);
}

static void check_address(const char *text)
{
    struct http_network network;
    struct http_address address;
    char spelt[HTTP_ADDRESS_TEXT_SIZE];
    if (http_network_read(text, &network))
        require_that(http_network_holds(&network, &network.address));
    if (http_address_read(text, strlen(text), &address)) {
        http_address_write(&address, false, spelt);
        require_that(strcmp(spelt, text) == 0);
    }
    if (http_address_read_with_port(text, &address))
        require_that(address.port <= 65535 && (address.version == 4 || address.version == 6));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    unsigned what = *data++ % 4;
    size--;
    if (what == 0) {
        check_request(data, (uint32_t)size);
    } else if (what == 1) {
        check_fields(data, size);
    } else {
        char *text = malloc(size + 1);
        require_that(text != NULL);
        memcpy(text, data, size);
        text[size] = '\0';
        if (what == 2)
            check_origin(text);
        else
            check_address(text);
        free(text);
    }
    return 0;
}
