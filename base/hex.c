// SPDX-License-Identifier: Apache-2.0
// Hexadecimal text.
#include "hex.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_format(char *text, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;
    for (size_t i = 0; i < length; i++) {
        *text++ = digits[from[i] >> 4];
        *text++ = digits[from[i] & 15];
    }
    *text = '\0';
}

static int value_of(char digit)
{
    const char *found = digit ? strchr(digits, digit) : NULL;
    return found ? (int)(found - digits) : -1;
}

bool hex_parse(const char *text, void *bytes, size_t length)
{
    uint8_t *to = bytes;
    if (strnlen(text, 2 * length + 1) != 2 * length)
        return false;
    for (size_t i = 0; i < length; i++) {
        int high = value_of(text[2 * i]);
        int low = value_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

// Bytes in each group of a UUID's text.
static const size_t groups[] = {4, 2, 2, 2, 6};

void uuid_bytes_format(char text[UUID_TEXT_SIZE], const uint8_t uuid[UUID_BYTES])
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (i)
            *text++ = '-';
        hex_format(text, uuid, groups[i]);
        text += 2 * groups[i];
        uuid += groups[i];
    }
}

bool uuid_bytes_parse(const char *text, uint8_t uuid[UUID_BYTES])
{
    char plain[2 * UUID_BYTES + 1];
    size_t used = 0;
    if (strnlen(text, UUID_TEXT_SIZE) != UUID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (i && *text++ != '-')
            return false;
        memcpy(plain + used, text, 2 * groups[i]);
        text += 2 * groups[i];
        used += 2 * groups[i];
    }
    plain[used] = '\0';
    return hex_parse(plain, uuid, UUID_BYTES);
}
