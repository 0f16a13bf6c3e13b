// SPDX-License-Identifier: Apache-2.0
// Copies on the hot path.
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// memcpy, for lengths that are mostly small and not known at compile time: the one of musl starts
// with a string instruction, which takes longer than the copy of a header.
static inline void copy_bytes(void *target, const void *source, size_t length)
{
    uint8_t *to = (uint8_t *)target;
    const uint8_t *from = (const uint8_t *)source;
    if (length > 256) {
        memcpy(to, from, length);
        return;
    }
    for (; length >= 16; length -= 16, to += 16, from += 16)
        memcpy(to, from, 16);
    if (length & 8) {
        memcpy(to, from, 8);
        to += 8;
        from += 8;
    }
    for (length &= 7; length; length--)
        *to++ = *from++;
}

#endif
