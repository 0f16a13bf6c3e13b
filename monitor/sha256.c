// SPDX-License-Identifier: Apache-2.0
// SHA-256 with libsodium: no CPUID instruction at the start, and fast enough for those who read.
#include "sha256.h"

#include <sodium.h>

void sha256_pieces(const struct sha256_piece *pieces, unsigned count, uint8_t hash[SHA256_BYTES])
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (unsigned i = 0; i < count; i++)
        crypto_hash_sha256_update(&state, pieces[i].data, pieces[i].length);
    crypto_hash_sha256_final(&state, hash);
}
