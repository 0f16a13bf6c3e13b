// SPDX-License-Identifier: Apache-2.0
// The key sets of an installation: STATE/quorum/keys.json is the one in force, keys.N.json are its
// versions from the first on, and `highest` pins the highest version that was ever seen.
#ifndef MONITOR_KEY_SET_STORE_H
#define MONITOR_KEY_SET_STORE_H

#include "key_set_file.h"

// Loads the key set in force after it verified the chain from version 1 on. Returns 1, or 0 if
// there has never been one, or -1: a gap, a missing or half-signed version, a rollback below the
// pin. A pin that a crash kept behind is moved up.
int key_set_store_load(const char *state_dir, struct key_set_file *file, struct error *err);

// Puts the next version (or the first) in force. It is verified against the one in force before
// anything is written. Returns 0 or -1; whatever a crash interrupts leaves the old or the new one
// in force.
int key_set_store_install(const char *state_dir, const struct key_set_file *file,
                          struct error *err);

#endif
