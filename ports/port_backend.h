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

// Stands for a decision to let one request through. The type is complete in ports/port.c only:
// nobody else can make one, so nobody else can make a request that a backend accepts.
struct port_clearance;

// A request that passed validation, gate, policy and audit. `payload` and `reply` are private
// memory of the fabric and stay valid until the backend reports PORT_DONE or forgets the request.
struct port_request {
    const struct port_clearance *clearance; // never NULL
    uint64_t number;                        // the fabric's own, never used twice
    uint32_t operation;
    uint32_t argument;
    uint32_t length; // payload bytes
    uint32_t reply_capacity;
    const uint8_t *payload;
    uint8_t *reply;
    uint32_t tag; // the backend's own
    // Results, set by the backend before it returns PORT_DONE.
    uint32_t status; // enum port_status
    uint32_t reply_length;
};

enum port_progress {
    PORT_DONE,
    PORT_PENDING, // ask again with resume()
};

// None of the hooks may block, allocate or fail the VM. They run on a hypervisor core, all of them
// on the thread that serves the port.
struct port_backend {
    enum port_kind kind;
    const char *name;
    const struct port_operation *operations;
    unsigned operation_count;
    // Replies to `outward`, if that is not 0, are requests of somebody outside: the rules of policy
    // decide on them as on requests of operation `inward` (below 64, none that guests can ask for)
    // before the guest gets them.
    uint32_t outward;
    uint32_t inward;
    // Starts a request.
    enum port_progress (*submit)(void *state, struct port_request *request);
    // Tries again to finish one that is pending; pending requests are resumed in arrival order.
    enum port_progress (*resume)(void *state, struct port_request *request);
    // Once in every pass, also while the port is closed. May be NULL.
    void (*poll)(void *state);
    // After a batch: makes visible what was produced.
    void (*flush)(void *state);
    // Every millisecond or so, and before the thread sleeps: wakes the other side if it waits for
    // what was produced. May be NULL.
    void (*notify)(void *state);
    // Before the thread sleeps, only with requests pending: asks the other side for a wake-up and
    // lowers *wake_ns to when the backend has to run without one. Returns true if a pending
    // request could make progress already.
    bool (*prepare_sleep)(void *state, uint64_t *wake_ns);
    // All pending requests are gone; their memory must not be used any more.
    void (*forget)(void *state);
};

#endif
