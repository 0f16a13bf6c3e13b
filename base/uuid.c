// SPDX-License-Identifier: Apache-2.0
// Universally unique identifiers.
#include "uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

int uuid_make(struct uuid *uuid, struct error *err)
{
    if (getrandom(uuid->bytes, sizeof(uuid->bytes), 0) != (ssize_t)sizeof(uuid->bytes))
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | 0x40);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
    return 0;
}

bool uuid_parse(const char *text, struct uuid *uuid)
{
    char lower[UUID_TEXT_SIZE];
    struct uuid read;
    for (unsigned i = 0; i < UUID_TEXT_SIZE; i++) {
        lower[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 'a' : text[i]);
        if (!text[i])
            break;
        if (i == UUID_TEXT_SIZE - 1)
            return false; // longer
    }
    if (!uuid_bytes_parse(lower, read.bytes) || read.bytes[6] >> 4 != 4 || read.bytes[8] >> 6 != 2)
        return false;
    *uuid = read;
    return true;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE])
{
    uuid_bytes_format(text, uuid->bytes);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
