// SPDX-License-Identifier: Apache-2.0
// A backend process: what the supervisor tells it, and the memory that it shares with the VMM.
//
// The shared memory holds one virtqueue of the port ABI: towards a backend process the VMM is what
// the model is towards the VMM, a driver whose every word is checked. The process runs the same
// code on its end: validate, gate, policy (its own static grant), audit (its own ring), backend.
#ifndef POLICY_BACKEND_PROTOCOL_H
#define POLICY_BACKEND_PROTOCOL_H

#include "vmm_protocol.h"

// Descriptor that a backend process has when it starts: its end of a SOCK_SEQPACKET pair.
#define BACKEND_CHANNEL_FD 3

// Types of messages on that channel; their head is struct vmm_message.
enum backend_message_type {
    BACKEND_MESSAGE_CONFIG = 0x100, // supervisor: struct backend_config and descriptors
    BACKEND_MESSAGE_READY = 0x101,  // backend: locked down, serves from now on
    BACKEND_MESSAGE_FAILED = 0x102, // backend: struct vmm_failed
};

// Descriptors that come with BACKEND_MESSAGE_CONFIG.
enum backend_fd {
    BACKEND_FD_MEMORY, // shared with the VMM
    BACKEND_FD_LEVEL_SUPERVISOR,
    BACKEND_FD_LEVEL_VMM,
    BACKEND_FD_AUDIT_RING,
    BACKEND_FD_WAKE_BACKEND, // the VMM's doorbell
    BACKEND_FD_WAKE_VMM,     // wakes the poller that waits for replies
    BACKEND_FD_WAKE_SUPERVISOR,
    BACKEND_FD_SETTINGS, // sealed memfd: what the kind makes of "settings"; empty without
    BACKEND_FD_POLICY,   // sealed memfd: the policy document as compiled; empty: there is none
    BACKEND_FDS,
};

// Descriptors that a kind of port needs beyond those come behind them.
#define BACKEND_MAX_EXTRA_FDS 8u

struct backend_config {
    struct vmm_message message;
    uint32_t port_index; // in the VM's port list
    uint32_t extra_fds;
    struct vmm_port_config port; // the static grant
    // What earlier processes of this port used of its lifetime totals.
    uint64_t requests_used;
    uint64_t bytes_used;
    uint64_t reply_bytes_used;
};

// Where things lie in the shared memory. Offsets; computed by each side from the grant.
struct backend_layout {
    uint32_t slots;      // requests at once; slot n uses descriptors 2n and 2n + 1
    uint32_t queue_size; // entries
    uint64_t descriptors;
    uint64_t available;
    uint64_t used;
    uint64_t buffers; // slots * stride
    uint64_t stride;
    uint64_t reply; // of the reply inside a slot's buffer; the request is at 0
    uint64_t bytes; // of everything, whole pages
};

void backend_layout_init(struct backend_layout *layout, const struct vmm_port_config *port);

#endif
