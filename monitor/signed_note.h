// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a log as C2SP tlog-checkpoint and signed-note define them: three lines (origin,
// size, root in base64), extension lines, an empty line, signatures.
#ifndef MONITOR_SIGNED_NOTE_H
#define MONITOR_SIGNED_NOTE_H

#include <stdint.h>

#include "error.h"
#include "merkle_tree.h"

#define NOTE_NAME_SIZE    64u  // of a key, with its end
#define NOTE_ORIGIN_SIZE  192u // with its end
#define NOTE_MAX_BYTES    1024u
#define NOTE_VKEY_SIZE    160u // a key as text
#define NOTE_SEED_BYTES   32u
#define NOTE_PUBLIC_BYTES 32u

// A key that verifies, and its name.
struct note_key {
    char name[NOTE_NAME_SIZE];
    uint8_t public[NOTE_PUBLIC_BYTES];
};

// A key that signs. The owner wipes it.
struct note_secret {
    struct note_key key;
    uint8_t expanded[64]; // libsodium's form: seed, public half
};

struct checkpoint {
    char origin[NOTE_ORIGIN_SIZE];
    uint64_t size;
    struct merkle_hash root;
};

// A secret from its seed; the name is "guillotine/" and 16 hexadecimal digits of the key's hash.
void note_secret_make(struct note_secret *secret, const uint8_t seed[NOTE_SEED_BYTES]);

// "NAME+HASH+BASE64", and for secrets "PRIVATE+KEY+NAME+HASH+BASE64", without a newline.
void note_key_format(const struct note_key *key, char text[NOTE_VKEY_SIZE]);
void note_secret_format(const struct note_secret *secret, char text[NOTE_VKEY_SIZE]);
int note_key_parse(struct note_key *key, const char *text, struct error *err);
int note_secret_parse(struct note_secret *secret, const char *text, struct error *err);

// The signed text of a checkpoint, at most NOTE_MAX_BYTES with its end. Returns its length.
unsigned checkpoint_sign(const struct checkpoint *checkpoint, const struct note_secret *secret,
                         char text[NOTE_MAX_BYTES]);

// Reads a checkpoint of `length` bytes and checks its signature by `key`, and that its origin is
// one of that key's. Other signatures (of witnesses) may stand beside it. Anything else is an
// error.
int checkpoint_open(struct checkpoint *checkpoint, const char *text, size_t length,
                    const struct note_key *key, struct error *err);

#endif
