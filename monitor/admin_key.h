// SPDX-License-Identifier: Apache-2.0
// Administrators' keys, as far as forensic images need them: whom an image is sealed to, and the
// secret half that opens it.
#ifndef MONITOR_ADMIN_KEY_H
#define MONITOR_ADMIN_KEY_H

#include <stdint.h>

#include "error.h"

#define ADMIN_KEY_MAX        16u
#define ADMIN_KEY_BYTES      32u
#define ADMIN_KEY_FILE_BYTES 65536u

struct admin_keys {
    uint8_t key[ADMIN_KEY_MAX][ADMIN_KEY_BYTES]; // Ed25519 public keys
    unsigned count;
};

// The keys of the key set in force (STATE/quorum/keys.json). No key set is no error: count 0.
// Returns 0 or -1.
int admin_keys_load(const char *state_dir, struct admin_keys *keys, struct error *err);

// The Ed25519 seed in a key file (guillotine-key/1). `passphrase` may be NULL for a key for
// demonstration, whose secret is in the clear. The seed is the caller's to clear. Returns 0 or -1.
int admin_key_load(const char *path, const char *passphrase, uint8_t seed[ADMIN_KEY_BYTES],
                   struct error *err);

#endif
