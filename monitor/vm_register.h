// SPDX-License-Identifier: Apache-2.0
// The register of VMs (guillotine-register/1): which UUID has had which name and digests.
//
// An append-only file of 1,024-byte entries, each with a keyed checksum that covers the one before
// it too. Nothing is ever removed: an entry is what makes a level stick to digests.
#ifndef MONITOR_VM_REGISTER_H
#define MONITOR_VM_REGISTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "state_file.h"
#include "uuid.h"
#include "vm_file.h"

#define REGISTER_FORMAT      "guillotine-register/1"
#define REGISTER_ENTRY_BYTES 1024u
// 64 MiB of entries: a launch reads them all.
#define REGISTER_MAX_ENTRIES 65536u

#define DIGEST_BYTES 32u

// SHA-256 of what a VM is made of.
struct digest_set {
    uint8_t image[DIGEST_BYTES];
    uint32_t weights_count;
    uint8_t weights[VMM_MAX_WEIGHTS][DIGEST_BYTES];
};

enum register_flag {
    REGISTER_NAME_GENERATED = 1u << 0, // the name identifies nothing
    REGISTER_RECOVERED = 1u << 1,      // from a state file without an entry: digests unknown
};

struct register_entry {
    struct uuid uuid;
    uint64_t created_wall_ns; // Unix time
    uint32_t flags;           // enum register_flag
    char name[VM_NAME_SIZE];
    struct digest_set digests;
};

struct vm_register {
    int fd; // locked as long as it is open
    struct register_entry *entries;
    size_t count;
    bool damaged;
    uint8_t last[32]; // checksum of the last entry
};

// Opens, or creates, the register in the state directory `folder`, locks it and reads it. A damaged
// one is no error: `damaged` is set, and what stands before the damage is there.
int vm_register_open(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                     struct error *err);

// Appends an entry, durable on return. Not for a damaged register.
int vm_register_append(struct vm_register *reg, const struct register_entry *entry,
                       const uint8_t key[STATE_KEY_BYTES], struct error *err);

// Unlocks and frees.
void vm_register_close(struct vm_register *reg);

// Permits that digests are used by several VMs whose levels do not touch each other (the key-set
// document decides); NULL permits nothing.
typedef bool (*replica_permitted)(const uint8_t digest[DIGEST_BYTES], void *context);

// True if two sets have the same image, or a weights file in common, without permission.
bool digest_set_shares(const struct digest_set *a, const struct digest_set *b,
                       replica_permitted permitted, void *context);

// True if both are the same files in the same order.
bool digest_set_equal(const struct digest_set *a, const struct digest_set *b);

#endif
