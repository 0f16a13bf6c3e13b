// SPDX-License-Identifier: Apache-2.0
// What guillotine-http gets of an http port's settings: what the model may reach, and with what.
#ifndef BASE_HTTP_GRANT_H
#define BASE_HTTP_GRANT_H

#include <stddef.h>
#include <stdint.h>

#include "http_origin.h"

#define HTTP_GRANT_FORMAT "guillotine-http/1"

#define HTTP_MAX_RULES       64u
#define HTTP_MAX_NETWORKS    32u
#define HTTP_MAX_NAMESERVERS 4u
#define HTTP_MAX_NAMES       32u
#define HTTP_MAX_ADDRESSES   4u // of a name, and tried for a request
#define HTTP_MAX_SECRETS     16u

#define HTTP_PATTERN_SIZE     512u
#define HTTP_HEADER_NAME_SIZE 64u
#define HTTP_VALUE_SIZE       2048u
#define HTTP_OID_SIZE         64u

// The object identifier of the mark in the certificates of Guillotine hosts (docs/identity.md).
#define HTTP_IDENTITY_OID "2.25.233451672903425191231656163176940724868"

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHODS,
};

// Texts are terminated.
struct http_rule {
    struct http_origin origin;
    uint32_t any_label;           // 1: names of one label or more in front of the host, not itself
    uint32_t methods;             // a bit for each enum http_method
    char path[HTTP_PATTERN_SIZE]; // pattern for the whole path without the query; empty: any
};

// A name that is not asked for.
struct http_name {
    char host[HTTP_HOST_SIZE];
    uint32_t address_count;
    struct http_address addresses[HTTP_MAX_ADDRESSES];
};

struct http_secret {
    struct http_origin origin;
    char header[HTTP_HEADER_NAME_SIZE];
    char value[HTTP_VALUE_SIZE]; // of the header
    uint32_t secret_at;          // where the secret begins in it
    uint32_t secret_length;
};

struct http_grant {
    char format[24];
    uint32_t rule_count;
    uint32_t network_count;
    uint32_t nameserver_count;
    uint32_t name_count;
    uint32_t secret_count;
    uint32_t has_certificate; // 1: descriptors of certificate and key come behind that of the CAs
    uint32_t connect_ms;
    uint32_t request_ms; // from the request to the end of its reply
    uint32_t stream_ms;  // from the request to the end of its reply, if it is a stream
    uint32_t idle_ms;    // without a byte from the server
    char identity_oid[HTTP_OID_SIZE];
    struct http_address proxy; // version 0: none
    struct http_rule rules[HTTP_MAX_RULES];
    struct http_network networks[HTTP_MAX_NETWORKS]; // beyond what is public
    struct http_address nameservers[HTTP_MAX_NAMESERVERS];
    struct http_name names[HTTP_MAX_NAMES];
    struct http_secret secrets[HTTP_MAX_SECRETS];
};
_Static_assert(offsetof(struct http_grant, proxy) == 64 + HTTP_OID_SIZE, "format");

// Descriptors of its program, behind those of every backend process. All hold PEM.
enum http_fd {
    HTTP_FD_AUTHORITIES,
    HTTP_FD_CERTIFICATE,
    HTTP_FD_KEY,
    HTTP_FDS,
};

#endif
