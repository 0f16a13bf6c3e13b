// SPDX-License-Identifier: Apache-2.0
// A request of the model as the wire will have it: read strictly, in one spelling.
#ifndef DEVICES_HTTP_REQUEST_H
#define DEVICES_HTTP_REQUEST_H

#include "http_grant.h"
#include "port_abi.h"

#define HTTP_PATH_MAX         8192u
#define HTTP_HEADERS_MAX      16384u // bytes of the model's headers
#define HTTP_HEADER_LINES_MAX 64u

// Texts point into the payload and are not terminated, but for the origin's host.
struct http_request {
    uint32_t method; // enum http_method
    struct http_origin origin;
    const char *path; // with the query
    uint32_t path_length;
    const char *headers; // lines, each with '\n' at its end
    uint32_t headers_length;
    const uint8_t *body; // NULL: none
    uint32_t body_length;
};

extern const char *const http_method_names[HTTP_METHODS];

// Reads the fields of a payload. Returns NULL, or why they are refused, as a text for the model.
//
// What is let through has one meaning for every server: hosts in lower case; paths without "." and
// ".." and empty parts, escapes only where they are needed (RFC 3986, section 6.2.2); no header
// that says where a message ends, or that another system acts upon (RFC 9110, sections 7.6
// and 8.6).
const char *http_request_read(struct http_request *request, const uint8_t *payload,
                              uint32_t length);

// One line of headers at *at, which moves behind it: name and value. Returns false at the end.
struct http_header {
    const char *name;
    uint32_t name_length;
    const char *value;
    uint32_t value_length;
};
bool http_header_next(const char **at, const char *end, struct http_header *header);

// True if a header has this name, in whatever case.
bool http_header_is(const struct http_header *header, const char *name);

#endif
