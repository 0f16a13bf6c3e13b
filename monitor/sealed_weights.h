// SPDX-License-Identifier: Apache-2.0
// Weights that are encrypted on disk (guillotine-weights/1) and decrypted only into memory.
//
// A header of SEALED_HEADER_BYTES, then chunks of 64 KiB, each encrypted with XChaCha20-Poly1305
// and bound to the header, its number and whether it is the last. The file's key is in a box that
// only the VM's key opens: whoever destroys that key destroys the model.
#ifndef MONITOR_SEALED_WEIGHTS_H
#define MONITOR_SEALED_WEIGHTS_H

#include <limits.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "vm_key.h"

#define SEALED_FORMAT       "guillotine-weights/1"
#define SEALED_HEADER_BYTES 8192u
#define SEALED_CHUNK_BYTES  65536u
#define SEALED_TAG_BYTES    crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SEALED_KEY_BYTES    crypto_aead_xchacha20poly1305_ietf_KEYBYTES

// On disk as it is, padded with zeros. Little-endian.
struct sealed_header {
    char format[32]; // SEALED_FORMAT and a newline
    char id[64];     // of the VM's key
    uint64_t plain_bytes;
    uint32_t chunk_bytes;
    uint32_t pad;
    uint8_t digest[crypto_hash_sha256_BYTES]; // SHA-256 of the plaintext
    uint8_t wrap_nonce[crypto_secretbox_NONCEBYTES];
    uint8_t wrapped[SEALED_KEY_BYTES + crypto_secretbox_MACBYTES];
    uint8_t nonce[16]; // of chunks; their number follows
    uint64_t original_device;
    uint64_t original_inode;
    char original_path[PATH_MAX]; // absolute; may still hold the plaintext
};
_Static_assert(sizeof(struct sealed_header) <= SEALED_HEADER_BYTES, "the header fits");

// Weights in memory.
struct sealed_memory {
    int fd;        // memfd of a fixed size, -1: none
    void *mapping; // not accessible; keeps the memory locked
    uint64_t bytes;
    bool locked; // false: the host does not allow that, so it may be swapped
    char id[64]; // of the key that opened it; stays after the release
};

// Encrypts the file `in` into a new file `out`, which is synced. Returns 0 or -1; nothing is left
// after a failure.
int sealed_weights_seal(const char *in, const char *out, const char *id, const struct vm_key *key,
                        struct error *err);

// True if a file begins as sealed weights of any version do.
bool sealed_weights_detect(int fd);

// Reads and checks the header. It is authentic only once a chunk was opened.
int sealed_weights_read_header(int fd, struct sealed_header *header, struct error *err);

// The SHA-256 of the plaintext, as the header says, once the first chunk has vouched for the
// header.
int sealed_weights_identify(int fd, const struct sealed_header *header, const struct vm_key *key,
                            uint8_t digest[crypto_hash_sha256_BYTES], struct error *err);

// Decrypts into fresh memory. Everything is authenticated before the first byte can be used.
// Returns 0 or -1; then there is nothing to release.
int sealed_weights_open(int fd, const struct vm_key *key, struct sealed_memory *memory,
                        struct error *err);

// A descriptor of the memory that can only be read. The caller's.
int sealed_memory_reader(const struct sealed_memory *memory, struct error *err);

// Scrubs and releases the memory; adds to *bytes. Returns 0 or -1: not seen to be zero.
int sealed_memory_release(struct sealed_memory *memory, uint64_t *bytes, struct error *err);

// True if the file that these weights were made from is still there.
bool sealed_weights_original_exists(const struct sealed_header *header);

#endif
