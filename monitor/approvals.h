// SPDX-License-Identifier: Apache-2.0
// Requests of the model that a rule holds until somebody approves them.
//
// They are seen in the VMM's audit records, where each comes with its whole payload. An approval
// names the digest of the exact request: of the VM, the port, the request's number, its operation,
// argument and payload. It counts once.
#ifndef MONITOR_APPROVALS_H
#define MONITOR_APPROVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit_record.h"
#include "sha256.h"
#include "vmm_protocol.h"

#define APPROVALS_MAX       64u
#define APPROVALS_MAX_BYTES (16u << 20) // of all payloads together

#define APPROVALS_RULE_SIZE 64u

struct approval {
    bool used;
    bool complete; // its payload is there, and `id`
    bool answered;
    unsigned port;
    uint64_t request; // the fabric's number
    uint64_t cookie;
    uint64_t argument;
    uint32_t operation;
    uint32_t length;
    uint32_t have;
    uint32_t rule; // enum policy_rule, of the document that held it
    char rule_name[APPROVALS_RULE_SIZE];
    uint64_t deadline_ns; // boot-time clock; the VMM keeps its own
    uint8_t *payload;     // owned
    uint8_t id[SHA256_BYTES];
};

struct approvals {
    uint8_t uuid[16]; // of the VM
    const struct vmm_port_config *ports;
    uint32_t port_count;
    uint64_t bytes;
    uint64_t missed; // for lack of room: nobody can approve those
    struct approval entries[APPROVALS_MAX];
};

// Looks at a record of the VMM's ring, with `data` behind it if it is a piece of a payload.
// For records that begin a hold: `hold_ns` is how long its rule holds, `rule` the name of that, or
// NULL.
void approvals_observe(struct approvals *approvals, const struct audit_record *record,
                       const void *data, uint64_t hold_ns, const char *rule);

// The request that waits under an id, given as 64 hexadecimal digits, or as the first 32 or more of
// them if only one begins so. NULL, and why: unknown, answered, or too late.
struct approval *approvals_find(struct approvals *approvals, const char *id, uint64_t now_ns,
                                const char **why);

void approvals_free(struct approvals *approvals);

#endif
