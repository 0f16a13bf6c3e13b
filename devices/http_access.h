// SPDX-License-Identifier: Apache-2.0
// What an http port's grant lets the model reach: origins, methods and paths by name; then, when
// the name is resolved, addresses.
#ifndef DEVICES_HTTP_ACCESS_H
#define DEVICES_HTTP_ACCESS_H

#include "error.h"
#include "http_grant.h"
#include "http_request.h"
#include "policy_pattern.h"

#define HTTP_OWN_ADDRESSES_MAX 128u

struct http_access {
    const struct http_grant *grant; // borrowed
    struct policy_memory memory;
    struct policy_patterns *patterns;
    int pattern_of[HTTP_MAX_RULES];                  // index of its pattern, or -1: any path
    struct http_address own[HTTP_OWN_ADDRESSES_MAX]; // of this host
    uint32_t own_count;
};

// Takes a grant of `length` bytes that outlives it, checks it, compiles its patterns, and looks up
// this host's addresses.
int http_access_open(struct http_access *access, const void *grant, size_t length,
                     struct error *err);

// True if a rule allows the request. No lookup of its name has been made yet, nor is one made.
bool http_access_allows(struct http_access *access, const struct http_request *request);

// True if a connection to this address may be made: it is public and not this host's own, or a
// network of the grant holds it. What hands out a cloud's credentials has to be listed alone.
bool http_access_reaches(const struct http_access *access, const struct http_address *address);

// What the grant says a name stands for, or NULL.
const struct http_name *http_access_name(const struct http_access *access, const char *host);

// True if a header of this name is the operator's for this origin.
bool http_access_owns_header(const struct http_access *access, const struct http_origin *origin,
                             const struct http_header *header);

bool http_origin_equals(const struct http_origin *a, const struct http_origin *b);

#endif
