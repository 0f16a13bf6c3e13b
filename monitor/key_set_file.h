// SPDX-License-Identifier: Apache-2.0
// The document with the administrators' keys (guillotine-keys/1) in its signed file, and the rule
// by which one version follows another.
#ifndef MONITOR_KEY_SET_FILE_H
#define MONITOR_KEY_SET_FILE_H

#include "order_file.h"

#define KEY_SET_FORMAT        "guillotine-keys/1"
#define KEY_SET_DOMAIN        KEY_SET_FORMAT "\n"
#define SIGNED_KEY_SET_FORMAT "guillotine-signed-keys/1"
#define KEY_SET_MAX           32768u // bytes of the file
#define KEY_NAME_SIZE         64
#define KEY_SET_MAX_REPLICAS  64u

struct key_set_file {
    struct level_key_set set;
    char names[LEVEL_MAX_KEYS][KEY_NAME_SIZE];
    // SHA-256 of weights that may run under several registrations.
    uint8_t replicas[KEY_SET_MAX_REPLICAS][32];
    uint32_t replica_count;
    struct signature_list list;
};

// True for 1 to 63 letters, digits and - _ . @
bool key_name_is_plain(const char *name);

// Reads a file's text; `name` stands in messages. Only the canonical form of a sound key set is
// read. Signatures are not verified. Returns 0 or -1.
int key_set_file_parse(const char *name, const char *text, size_t length, struct key_set_file *file,
                       struct error *err);

// Writes the file's text with a newline. The text is the caller's to free. Returns 0 or -1.
int key_set_file_format(const struct key_set_file *file, char **text, struct error *err);

// Writes what is signed: KEY_SET_DOMAIN and the canonical text of the document. Returns 0 or -1.
int key_set_file_message(const struct key_set_file *file, char **message, size_t *length,
                         struct error *err);

// Refuses a file that must not follow `before` (NULL: the first version): version numbers without a
// gap, the same deployment, every signature valid and of a key of one of both sets, none twice, and
// the lower-quorum of the old set and of the new set among them. `name` stands in messages.
// Returns 0 or -1.
int key_set_file_check(const char *name, const struct key_set_file *before,
                       const struct key_set_file *file, struct error *err);

// True if the set permits several registrations of weights with this SHA-256.
bool key_set_file_permits_replica(const struct key_set_file *file, const uint8_t digest[32]);

#endif
