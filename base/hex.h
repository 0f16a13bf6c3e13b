// SPDX-License-Identifier: Apache-2.0
// Bytes as lower-case hexadecimal text, and UUIDs as RFC 9562 writes them.
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UUID_BYTES     16
#define UUID_TEXT_SIZE 37 // with its terminator

// Writes 2 * `length` digits and a terminator to `text`.
void hex_format(char *text, const void *bytes, size_t length);

// Reads exactly 2 * `length` lower-case digits; upper case is another spelling of the same bytes
// and refused, so that there is one text for each value. Returns false if `text` is anything else.
bool hex_parse(const char *text, void *bytes, size_t length);

// The same for a UUID, "01234567-89ab-cdef-0123-456789abcdef".
void uuid_bytes_format(char text[UUID_TEXT_SIZE], const uint8_t uuid[UUID_BYTES]);
bool uuid_bytes_parse(const char *text, uint8_t uuid[UUID_BYTES]);

#endif
