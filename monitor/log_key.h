// SPDX-License-Identifier: Apache-2.0
// The key that signs checkpoints: keys/log.key in the state directory, its public half in
// keys/log.pub.
#ifndef MONITOR_LOG_KEY_H
#define MONITOR_LOG_KEY_H

#include "signed_note.h"

// Opens the private key for reading; makes both files at first use. Returns a descriptor or -1.
int log_key_open(const char *state_dir, struct error *err);

// Reads the private key behind `fd`. The caller wipes it.
int log_key_read(int fd, struct note_secret *secret, struct error *err);

// Reads a public key from a file that holds one line.
int log_key_read_public(const char *path, struct note_key *key, struct error *err);

#endif
