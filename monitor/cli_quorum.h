// SPDX-License-Identifier: Apache-2.0
// The parts of `guillotine quorum`. Nobody else includes this.
#ifndef MONITOR_CLI_QUORUM_H
#define MONITOR_CLI_QUORUM_H

#include <stdbool.h>
#include <stdint.h>

#include "key_set_file.h"
#include "quorum_key.h"

// All options of all subcommands; zero and NULL: not given.
struct quorum_options {
    bool demo;
    bool json;
    bool yes;
    bool propose;
    bool message;
    bool install;
    uint64_t keys;
    uint64_t raise;
    uint64_t lower;
    uint64_t expires_s;
    const char *out;
    const char *key;
    const char *name;
    const char *reason;
    const char *repaired;
    const char *state_dir;
    const char *runtime_dir;
    struct quorum_passphrase passphrase;
    const char *publics[LEVEL_MAX_KEYS];
    unsigned public_count;
    const char *removed[LEVEL_MAX_KEYS];
    unsigned removed_count;
    const char *replicas[KEY_SET_MAX_REPLICAS];
    unsigned replica_count;
    char **arguments; // what is not an option
    int argument_count;
};

// Subcommands: return 0, or -1 with *err set.
int quorum_init(const struct quorum_options *options, struct error *err);
int quorum_make_key(const struct quorum_options *options, struct error *err);
int quorum_rotate(const struct quorum_options *options, struct error *err);
int quorum_sign(const struct quorum_options *options, struct error *err);
int quorum_propose(const struct quorum_options *options, struct error *err);
int quorum_submit(const struct quorum_options *options, struct error *err);
int quorum_status(const struct quorum_options *options, struct error *err);
int quorum_show(const struct quorum_options *options, struct error *err);

// A file that is signed: an order or a key set.
struct quorum_document {
    bool is_order;
    struct signed_order order;
    struct key_set_file key_set;
};

// Reads either kind. Returns 0 or -1.
int quorum_document_load(const char *path, struct quorum_document *document, struct error *err);

// Replaces the file. Returns 0 or -1.
int quorum_document_store(const char *path, const struct quorum_document *document,
                          struct error *err);

// What signatures are over; the caller's to free. Returns 0 or -1.
int quorum_document_message(const struct quorum_document *document, char **message, size_t *length,
                            struct error *err);

struct signature_list *quorum_document_signatures(struct quorum_document *document);

// Prints in plain words what it says. Texts in it are made safe for a terminal.
void quorum_document_print(const struct quorum_document *document);

#endif
