// SPDX-License-Identifier: Apache-2.0
// Hosts, origins and addresses of the web, in one spelling each: what has two spellings can be
// checked in one and used in the other.
#ifndef BASE_HTTP_ORIGIN_H
#define BASE_HTTP_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define HTTP_HOST_SIZE 256u // with the terminator

enum http_scheme {
    HTTP_SCHEME_HTTP,
    HTTP_SCHEME_HTTPS,
    HTTP_SCHEMES,
};

extern const char *const http_scheme_names[HTTP_SCHEMES];

// An IPv4 address stands in the first 4 bytes, the rest is 0.
struct http_address {
    uint8_t bytes[16];
    uint32_t version; // 4 or 6
    uint32_t port;    // 0: none is said
};
_Static_assert(sizeof(struct http_address) == 24, "format");

// All addresses that share the first `bits` bits.
struct http_network {
    struct http_address address;
    uint32_t bits;
};
_Static_assert(sizeof(struct http_network) == 28, "format");

// Who answers: RFC 6454, section 4.
struct http_origin {
    uint32_t scheme; // enum http_scheme
    uint32_t port;
    char host[HTTP_HOST_SIZE]; // terminated; IPv6 without brackets
};
_Static_assert(sizeof(struct http_origin) == 264, "format");

// Reads an address in its one spelling (RFC 5952; four decimal numbers), without a port.
bool http_address_read(const char *text, size_t length, struct http_address *address);

// Reads "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT".
bool http_address_read_with_port(const char *text, struct http_address *address);

// Writes an address without its port, IPv6 in brackets if `brackets`.
#define HTTP_ADDRESS_TEXT_SIZE 48u
void http_address_write(const struct http_address *address, bool brackets,
                        char text[HTTP_ADDRESS_TEXT_SIZE]);

// Reads "ADDRESS/BITS", or an address alone; no bit behind the first BITS may be set.
bool http_network_read(const char *text, struct http_network *network);

bool http_network_holds(const struct http_network *network, const struct http_address *address);

// True for a name as DNS has it, in lower case (letters, digits, hyphens and underscores; no dot at
// its end; the last label begins with no digit), and for an address as http_address_read takes it.
bool http_host_is_sound(const char *host, size_t length);

// Reads "SCHEME://HOST" or "SCHEME://HOST:PORT", nothing behind. The port's default is that of the
// scheme. With `any_label`, the host may begin with "*.": then *any_label says so, and the host
// is what is behind the star. Returns 0 or -1.
int http_origin_parse(const char *text, struct http_origin *origin, bool *any_label,
                      struct error *err);

#endif
