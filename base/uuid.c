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

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_dash(unsigned index)
{
    return index == 8 || index == 13 || index == 18 || index == 23;
}

bool uuid_parse(const char *text, struct uuid *uuid)
{
    struct uuid read = {0};
    unsigned nibble = 0;
    for (unsigned i = 0; i < UUID_TEXT_SIZE - 1; i++) {
        int value = digit(text[i]);
        if (is_dash(i) ? text[i] != '-' : value < 0)
            return false; // also at the terminator of a shorter text
        if (is_dash(i))
            continue;
        read.bytes[nibble / 2] |= (uint8_t)(nibble % 2 ? value : value << 4);
        nibble++;
    }
    if (text[UUID_TEXT_SIZE - 1] || read.bytes[6] >> 4 != 4 || read.bytes[8] >> 6 != 2)
        return false;
    *uuid = read;
    return true;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned nibble = 0;
    for (unsigned i = 0; i < UUID_TEXT_SIZE - 1; i++) {
        if (is_dash(i)) {
            text[i] = '-';
            continue;
        }
        text[i] = digits[uuid->bytes[nibble / 2] >> (nibble % 2 ? 0 : 4) & 15];
        nibble++;
    }
    text[UUID_TEXT_SIZE - 1] = '\0';
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
