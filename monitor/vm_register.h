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
    REGISTER_NOTE = 1u << 2,           // describes no VM: a struct register_note
};

struct register_entry {
    struct uuid uuid;
    uint64_t created_wall_ns; // Unix time
    uint32_t flags;           // enum register_flag
    char name[VM_NAME_SIZE];
    struct digest_set digests;
};

// What a state file is compared with: written before the file is, whenever a level changes or a
// number of an order is spent, so that neither can be lost or rolled back alone. Without a UUID it
// is about the key set.
struct register_note {
    struct uuid uuid;
    uint64_t created_wall_ns; // Unix time
    uint64_t generation;      // that the state file has, at least
    uint64_t sequence;        // as in the state file, like those below
    uint64_t orders_from_s;
    uint32_t level;
    struct key_set_pin keys;
};

struct vm_register {
    int fd; // locked as long as it is open
    struct register_entry *entries;
    size_t count;
    struct register_note *notes;
    size_t note_count;
    struct key_set_pin keys; // the newest key set that was in force
    size_t number;           // of the next entry or note
    bool damaged;
    bool torn;        // ends within an entry, as a power cut leaves it: the next one replaces it
    uint8_t last[32]; // checksum of the last entry or note
};

// Opens, or creates, the register in the state directory `folder`, locks it and reads it. A damaged
// one is no error: `damaged` is set, and what stands before the damage is there.
int vm_register_open(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                     struct error *err);

// Same, but gives up after `wait_ns` if somebody else has it locked.
int vm_register_open_within(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                            uint64_t wait_ns, struct error *err);

// Appends an entry, durable on return. Not for a damaged register. Addresses of older entries are
// not valid any more.
int vm_register_append(struct vm_register *reg, const struct register_entry *entry,
                       const uint8_t key[STATE_KEY_BYTES], struct error *err);

// Same for a note; entries stay where they are.
int vm_register_append_note(struct vm_register *reg, const struct register_note *note,
                            const uint8_t key[STATE_KEY_BYTES], struct error *err);

// True if the VM has an entry.
bool vm_register_has(const struct vm_register *reg, const struct uuid *uuid);

// The last note about a VM, or NULL.
const struct register_note *vm_register_find_note(const struct vm_register *reg,
                                                  const struct uuid *uuid);

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
