// SPDX-License-Identifier: Apache-2.0
// UTF-8 against a decoder that is written the other way round.
#include <criterion/criterion.h>
#include <string.h>

#include "utf8.h"

// What the bytes would be if `length` of them were one character; -1: they are none.
static long decode(const uint8_t *bytes, size_t length)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    static const uint8_t mask[] = {0, 0x80, 0xe0, 0xf0, 0xf8};
    if ((bytes[0] & mask[length]) != lead[length])
        return -1;
    uint32_t code = bytes[0] & (uint8_t)~mask[length];
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] >> 6 != 2)
            return -1;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[length] || code > 0x10ffff || surrogate ? -1 : (long)code;
}

Test(utf8, agrees_on_all_first_bytes_and_edges_of_the_others)
{
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    enum { EDGES = sizeof(edges) };
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned rest = 0; rest < EDGES * EDGES * EDGES; rest++) {
            const uint8_t bytes[4] = {(uint8_t)first, edges[rest % EDGES],
                                      edges[rest / EDGES % EDGES], edges[rest / EDGES / EDGES]};
            size_t expected = 0;
            for (size_t length = 1; length <= 4 && !expected; length++)
                expected = decode(bytes, length) >= 0 ? length : 0;
            cr_assert_eq(utf8_length(bytes, 4), expected, "%02x %02x %02x %02x", bytes[0], bytes[1],
                         bytes[2], bytes[3]);
            for (size_t left = 1; left < 4; left++)
                cr_assert_eq(utf8_length(bytes, left), expected <= left ? expected : 0);
        }
    }
}
