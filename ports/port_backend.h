// SPDX-License-Identifier: Apache-2.0
// What a port's backend implements. Backends never see guest memory: they get private copies.
#ifndef PORTS_PORT_BACKEND_H
#define PORTS_PORT_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "port_abi.h"

// One operation that a backend offers; requests outside its bounds never reach it.
struct port_operation {
    uint32_t number; // below 64
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    const char *name;
};

// A request that passed validation, gate, policy and audit. `payload` and `reply` are private
// memory of the fabric and stay valid until the backend reports PORT_DONE.
struct port_request {
    uint32_t operation;
    uint32_t argument;
    uint32_t length; // payload bytes
    uint32_t reply_capacity;
    const uint8_t *payload;
    uint8_t *reply;
    // Results, set by the backend before it returns PORT_DONE.
    uint32_t status; // enum port_status
    uint32_t reply_length;
};

enum port_progress {
    PORT_DONE,
    PORT_PENDING, // ask again with resume()
};

// All hooks are mandatory; none may block, allocate or fail the VM. They run on a hypervisor core.
struct port_backend {
    enum port_kind kind;
    const char *name;
    const struct port_operation *operations;
    unsigned operation_count;
    // Starts a request.
    enum port_progress (*submit)(void *state, struct port_request *request);
    // Tries again to finish one that is pending; pending requests are resumed in arrival order.
    enum port_progress (*resume)(void *state, struct port_request *request);
    // After a batch: publishes what was produced and wakes the other side if it waits.
    void (*flush)(void *state);
    // Before the poller sleeps, only with requests pending: asks the other side for a wake-up.
    // Returns true if a pending request could make progress already.
    bool (*prepare_sleep)(void *state);
};

#endif
