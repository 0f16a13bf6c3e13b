// SPDX-License-Identifier: Apache-2.0
// SHA-256 of a few pieces. Two implementations of one function: libsodium's for programs that hash
// now and then (sha256.c), libcrypto's for the recorder, five times as fast (sha256_fast.c).
#ifndef MONITOR_SHA256_H
#define MONITOR_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32u

struct sha256_piece {
    const void *data;
    size_t length;
};

// The hash of all pieces, one after the other.
void sha256_pieces(const struct sha256_piece *pieces, unsigned count, uint8_t hash[SHA256_BYTES]);

#endif
