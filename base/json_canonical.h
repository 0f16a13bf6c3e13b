// SPDX-License-Identifier: Apache-2.0
// Canonical JSON (RFC 8785): the one text of a value, for signatures, digests and comparisons.
#ifndef BASE_JSON_CANONICAL_H
#define BASE_JSON_CANONICAL_H

#include "json_text.h"

enum json_numbers {
    JSON_NUMBERS_INTEGER, // others are refused, and integers beyond 2^53 - 1: they are no doubles
    JSON_NUMBERS_DOUBLE,  // as the RFC says: every number is the nearest double, written shortest
};

// Prints a value: keys sorted by their UTF-16 code units, no blanks, the RFC's escapes. *text is
// the caller's to free; it has a terminator behind its *length bytes. Returns 0 or -1.
int json_canonical_print(struct json_object *value, enum json_numbers numbers, char **text,
                         size_t *length, struct error *err);

#endif
