// SPDX-License-Identifier: Apache-2.0
// Canonical JSON (RFC 8785), integers only: the one text of a value that signatures are made over.
#ifndef MONITOR_CANONICAL_JSON_H
#define MONITOR_CANONICAL_JSON_H

#include "json_text.h"

// Prints a value: keys sorted by their UTF-16 code units, no blanks, the RFC's escapes, integers of
// at most 2^53 - 1 in magnitude (others are refused: the RFC's numbers are doubles). *text is the
// caller's to free; it has a terminator behind its *length bytes. Returns 0 or -1.
int canonical_json_print(struct json_object *value, char **text, size_t *length, struct error *err);

// Refuses a document that is not, byte for byte, its own canonical form; one newline at its end is
// allowed. Returns 0 or -1.
int canonical_json_check(const struct json_document *document, struct error *err);

// Readers for json_field: fill the member at the field's offset.
int canonical_field_uuid(const struct json_place *place, void *target, struct error *err);
// Lower-case hexadecimal digits of exactly `maximum` bytes.
int canonical_field_hex(const struct json_place *place, void *target, struct error *err);
// Text of at most `maximum` bytes with its terminator, at least `minimum` without.
int canonical_field_text(const struct json_place *place, void *target, struct error *err);

// Refuses a value that is not this format's name.
int canonical_read_format(const struct json_place *place, const char *format, struct error *err);

#endif
