// SPDX-License-Identifier: Apache-2.0
// The driver's side of a port's queue, for virtio devices: what a Linux guest asks of a device
// becomes a request of the port behind it, in memory that the guest never sees, and goes the one
// mediated path from there.
#ifndef DEVICES_PORT_DRIVER_H
#define DEVICES_PORT_DRIVER_H

#include <stdbool.h>

#include "port.h"

enum port_call_state {
    PORT_CALL_FREE,
    PORT_CALL_TAKEN, // its owner fills it
    PORT_CALL_SENT,
    PORT_CALL_DONE, // its owner reads the reply
};

// One request.
struct port_call {
    enum port_call_state state;
    uint32_t status; // enum port_status; PORT_STATUS_CLOSED: dropped, since the gate was shut
    uint32_t reply_length;
    struct port_request_header *header; // shared with the port
    uint8_t *payload;                   // max_request_bytes behind it
    const uint8_t *reply;
    void *owner;
    uint64_t tag; // the owner's
};

struct port_driver {
    struct port *port;
    struct guest_memory memory; // queue and buffers: one region at address 0
    uint8_t *host;
    uint64_t bytes;
    uint64_t buffer_bytes; // of one call
    struct port_call *calls;
    unsigned count; // of calls
    uint16_t size;  // of the queue: two descriptors for a call
    uint16_t next_available;
    uint16_t next_used;
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
};

// Allocates all that will ever be used. `count` calls, 1 to PORT_MAX_IN_FLIGHT.
int port_driver_open(struct port_driver *driver, unsigned count, uint32_t max_request_bytes,
                     uint32_t max_reply_bytes, struct error *err);

// Gives the queue to its port. Borrowed; the port is served by the thread that makes the calls.
int port_driver_attach(struct port_driver *driver, struct port *port, struct error *err);

void port_driver_close(struct port_driver *driver);

// A free call, or NULL. Takes one out of `count`.
struct port_call *port_driver_take(struct port_driver *driver, void *owner, uint64_t tag);

// Sends a call whose payload has `length` bytes, at most max_request_bytes.
void port_driver_send(struct port_driver *driver, struct port_call *call, uint32_t operation,
                      uint32_t argument, uint32_t length);

// The next call that is done, or NULL. Its reply stays until port_driver_free.
struct port_call *port_driver_next_done(struct port_driver *driver);

void port_driver_free(struct port_call *call);

static inline unsigned port_call_index(const struct port_driver *driver,
                                       const struct port_call *call)
{
    return (unsigned)(call - driver->calls);
}

#endif
