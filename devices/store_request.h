// SPDX-License-Identifier: Apache-2.0
// A store's requests, decoded and checked: what the model sent becomes values with known bounds.
#ifndef DEVICES_STORE_REQUEST_H
#define DEVICES_STORE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_abi.h"

// Room for the expression that a query of STORE_QUERY_MAX bytes becomes: every byte a quote to be
// doubled, every word in quotes with " OR " behind it, and the terminator.
#define STORE_EXPRESSION_SIZE (2 * STORE_QUERY_MAX + 6 * STORE_WORDS_MAX + 1)

#define STORE_LIMIT_DEFAULT 100u // objects of a list
#define STORE_HITS_DEFAULT  10u  // results of a search

struct store_request {
    uint32_t operation;             // enum store_operation
    char name[STORE_NAME_MAX + 1];  // "": none
    char after[STORE_NAME_MAX + 1]; // "": none
    bool offset_given;
    uint64_t offset;
    uint64_t bytes;      // wanted; UINT64_MAX if the request does not say
    uint32_t limit;      // 1 to STORE_LIMIT_MAX
    const uint8_t *data; // in the payload
    uint32_t data_length;
    char expression[STORE_EXPRESSION_SIZE]; // of FTS5: quoted words, and nothing else
};

// Decodes a payload, which must not change while the request is used. Returns PORT_STATUS_OK,
// PORT_STATUS_TOO_LARGE (a query with too much in it), or PORT_STATUS_INVALID.
uint32_t store_request_decode(struct store_request *request, uint32_t operation,
                              const uint8_t *payload, uint32_t length);

// Whether `length` bytes are a name of an object.
bool store_name_is_valid(const char *name, size_t length);

// Whether `length` bytes are UTF-8 text without control characters other than white space.
bool store_is_text(const uint8_t *bytes, size_t length);

// Turns the words of a query into an expression of FTS5 that matches any of them. Every word
// becomes a string of FTS5, so that nothing in it is syntax. Returns a status as above.
uint32_t store_query_compile(const uint8_t *query, uint32_t length,
                             char expression[STORE_EXPRESSION_SIZE]);

#endif
