// SPDX-License-Identifier: Apache-2.0
// The key of one VM: STATE/keys/ID.key, 32 random bytes, which Immolation destroys.
//
// Forensic images and sealed weights of the VM cannot be opened without it. It lies in a file, not
// in a TPM or token: that a disk forgets what was overwritten is best effort.
#ifndef MONITOR_VM_KEY_H
#define MONITOR_VM_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define VM_KEY_BYTES  32
#define VM_KEY_ID_MAX 63

// Says what kind of place the key is in, for reports.
#define VM_KEY_BEST_EFFORT "best effort: the key lies in a file, not in a TPM or token"

// In memory that is not swapped, where the host allows; vm_key_wipe is the caller's.
struct vm_key {
    uint8_t bytes[VM_KEY_BYTES];
};

// True for a VM's UUID or name: nothing that leaves the folder, nor `log` and `state`, which are
// the installation's.
bool vm_key_id_is_valid(const char *id);

// Makes the key if there is none; a crash leaves either no key or a whole one. Returns 1 if it was
// made, 0 if it was there, -1 on failure.
int vm_key_make(const char *state_dir, const char *id, struct error *err);

// Reads the key of a VM, or from any file. A missing one has err->code ENOENT. Returns 0 or -1.
int vm_key_load(const char *state_dir, const char *id, struct vm_key *key, struct error *err);
int vm_key_load_file(const char *path, struct vm_key *key, struct error *err);

// Overwrites the key three times, removes it, syncs the folder and looks that it is gone. Returns 1
// if one was destroyed, 0 if there was none, -1 if it may still be there.
int vm_key_destroy(const char *state_dir, const char *id, struct error *err);

// Forgets a key.
void vm_key_wipe(struct vm_key *key);

#endif
