// SPDX-License-Identifier: Apache-2.0
// Universally unique identifiers, version 4 (random).
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "hex.h"

struct uuid {
    uint8_t bytes[UUID_BYTES];
};

// Makes a random one. Fails only if the kernel has no randomness.
int uuid_make(struct uuid *uuid, struct error *err);

// Reads the 36 characters of a version 4 UUID in lower or upper case. False if `text` is none.
bool uuid_parse(const char *text, struct uuid *uuid);

// Writes 36 lower-case characters and a terminator.
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE]);

bool uuid_equal(const struct uuid *a, const struct uuid *b);

#endif
