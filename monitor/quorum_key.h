// SPDX-License-Identifier: Apache-2.0
// An administrator's key in its file (guillotine-key/1): the public half, and the secret one
// encrypted with a passphrase (Argon2id, XChaCha20-Poly1305), or in the clear for demonstrations.
#ifndef MONITOR_QUORUM_KEY_H
#define MONITOR_QUORUM_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "key_set_file.h"

#define QUORUM_KEY_FORMAT     "guillotine-key/1"
#define QUORUM_KEY_MAX        4096u // bytes of the file
#define QUORUM_PASSPHRASE_MAX 1024u
#define QUORUM_PEM_SIZE       128

struct quorum_key {
    char name[KEY_NAME_SIZE];
    uint8_t public[32];
    uint8_t secret[64]; // zero unless it was asked for
    bool demo;          // the secret is in the clear
};

// Where a passphrase comes from: the first line of a file ("-": of standard input), or the terminal
// with its echo off if `file` is NULL. Never an argument or the environment.
struct quorum_passphrase {
    const char *file;
    bool twice; // a new one is typed twice
};

// Makes a new key pair. Returns 0 or -1.
int quorum_key_make(struct quorum_key *key, const char *name, bool demo, struct error *err);

// Writes a new file of mode 0600, or only the public half (mode 0644) if `passphrase` is NULL. For
// a key for demonstration nobody is asked for a passphrase. An existing file is not replaced.
// Returns 0 or -1.
int quorum_key_write(const char *path, const struct quorum_key *key,
                     const struct quorum_passphrase *passphrase, struct error *err);

// Reads the public half. Returns 0 or -1.
int quorum_key_load_public(const char *path, struct quorum_key *key, struct error *err);

// Reads both halves. The secret is the caller's to clear (quorum_key_clear). Returns 0 or -1.
int quorum_key_load(const char *path, const struct quorum_passphrase *passphrase,
                    struct quorum_key *key, struct error *err);

void quorum_key_clear(struct quorum_key *key);

// Signs a message of any length.
void quorum_key_sign(const struct quorum_key *key, const char *message, size_t length,
                     struct level_order_signature *signature);

// The public half as PEM (SubjectPublicKeyInfo), for other tools.
void quorum_key_pem(const uint8_t public[32], char text[QUORUM_PEM_SIZE]);

#endif
