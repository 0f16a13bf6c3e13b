// SPDX-License-Identifier: Apache-2.0
// The durable state of the VM that this process runs: found at the launch, kept up to date after.
#ifndef MONITOR_VM_STATE_H
#define MONITOR_VM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "key_set_file.h"
#include "state_file.h"
#include "vm_register.h"

// Key and identity of an installation, made at first use.
struct deployment {
    int folder; // the state directory
    struct uuid uuid;
    char text[UUID_TEXT_SIZE];
    uint8_t key[STATE_KEY_BYTES]; // of checksums
    bool has_key_set;             // quorum/keys.json exists: nothing but an order lowers a level
};

struct vm_state {
    struct deployment deployment;
    char uuid_text[UUID_TEXT_SIZE];
    struct uuid uuid;
    enum level level;       // to launch at, then the one that is durable
    uint64_t last_sequence; // of orders of administrators
    unsigned levels_reset;  // how many VMs --accept-level-reset took to Standard
    bool was_reset;
    bool unclean;              // a run that did not end decided the level: it may have cut nothing
    struct digest_set digests; // of this launch
    struct state_record record;
    bool noted; // vm_state_note_order said what vm_state_persist will say
    int fd;     // the state file, locked; -1: none
};

// What a launch asks for.
struct vm_state_request {
    const struct uuid *uuid; // or NULL
    const char *name;
    bool name_generated;
    bool accept_reset;
    struct digest_set digests;
    const char *state_dir;       // with the key sets
    struct key_set_file *keys;   // filled with the one in force; or NULL, in tests
    replica_permitted permitted; // or NULL
    void *context;               // of it
};

// Opens a state directory; makes identity and key if it has none. The folder stays open.
int deployment_open(struct deployment *deployment, const char *state_dir, struct error *err);
void deployment_close(struct deployment *deployment);

// Finds, or registers, the VM of a launch, locks its state and settles the level that the launch
// has: the highest of its own and of every other VM that shares a digest. At Offline or higher the
// launch is refused with EXIT_STATUS_ISOLATED, and the message says why and what to do. On success
// the state file is open and locked until vm_state_end.
int vm_state_claim(struct vm_state *state, const struct vm_state_request *request,
                   struct error *err);

// True if the audit log knows a newer state than the file has: the file was rolled back.
bool vm_state_is_behind(const struct vm_state *state, uint64_t generation_in_audit);

// Makes the running mark durable, with the level and `audit_size`, the records in the audit log:
// before the first entry to the guest. One fdatasync.
int vm_state_mark_running(struct vm_state *state, uint64_t audit_size, struct error *err);

// Notes in the register, durable, what an order will make of the VM, before it does: whatever
// becomes of the state file, the order is spent. Without it no level falls.
int vm_state_note_order(struct vm_state *state, enum level level, uint64_t sequence,
                        struct error *err);

// The state file is older than the audit log: which orders are spent is not known any more.
void vm_state_void_orders(struct vm_state *state);

// Makes a level durable, with the sequence number of the order behind it (0: none) and a reason.
// Raise the level page first and then this; lower this first and then the page. A failure counts as
// Offline.
int vm_state_persist(struct vm_state *state, enum level level, uint64_t sequence,
                     uint64_t audit_size, const char *reason, struct error *err);

// An ordinary end: the level stays, the running mark goes; unlocks and closes everything. Without
// `clean` the mark stays.
int vm_state_end(struct vm_state *state, bool clean, uint64_t audit_size, struct error *err);

// What is durable about a VM. *in_use: a process runs it. A missing, damaged or rolled-back file is
// no error but a record at Offline with the reason.
void vm_state_read(const struct deployment *deployment, const struct vm_register *reg,
                   const struct uuid *uuid, struct state_record *record, bool *in_use);

#endif
