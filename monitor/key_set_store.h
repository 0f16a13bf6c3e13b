// SPDX-License-Identifier: Apache-2.0
// The key sets of an installation: STATE/quorum/keys.json is the one in force, keys.N.json are its
// versions from the first on, and `highest` pins the highest version that was ever seen.
//
// All of that is in one folder, and can be lost or rolled back together: so the register and every
// state file remember the newest set that was in force, too, as a struct key_set_pin.
#ifndef MONITOR_KEY_SET_STORE_H
#define MONITOR_KEY_SET_STORE_H

#include "key_set_file.h"
#include "state_file.h"

// Loads the key set in force after it verified the chain from version 1 on, through the set of
// `pin`. Returns 1, or 0 if there has never been one, or -1: a gap, a missing or half-signed
// version, another chain, a rollback below `pin` or `highest`. If a crash kept `highest` behind, it
// is moved up.
int key_set_store_load(const char *state_dir, const struct key_set_pin *pin,
                       struct key_set_file *file, struct error *err);

// Puts the next version (or the first) in force. It is verified against the one in force before
// anything is written. Returns 0 or -1; whatever a crash interrupts leaves the old or the new one
// in force.
int key_set_store_install(const char *state_dir, const struct key_set_pin *pin,
                          const struct key_set_file *file, struct error *err);

// What remembers a set. All zero for none.
int key_set_pin_make(const struct key_set_file *file, struct key_set_pin *pin, struct error *err);

// The two functions above for an installation whose register nobody has open: with the newest set
// that the register or a state file knows, and what is installed noted in the register.
int key_set_load(const char *state_dir, struct key_set_file *file, struct error *err);
int key_set_install(const char *state_dir, const struct key_set_file *file, struct error *err);

#endif
