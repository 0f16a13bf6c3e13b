// SPDX-License-Identifier: Apache-2.0
// The fabric's end of a backend process: the driver of the one queue that both share.
//
// The process is trusted less than the fabric: it parses what comes from outside. Whatever it puts
// into the shared memory is copied once and checked; a broken rule takes the port's backend down.
#ifndef PORTS_BACKEND_LINK_H
#define PORTS_BACKEND_LINK_H

#include "backend_protocol.h"
#include "clock.h"
#include "error.h"
#include "port.h"

enum backend_link_slot_state {
    LINK_SLOT_FREE,
    LINK_SLOT_SENT,
    LINK_SLOT_DONE,      // its request has a result
    LINK_SLOT_FORGOTTEN, // its request is gone, the process still has the buffers
};

struct backend_link_slot {
    enum backend_link_slot_state state;
    struct port_request *request;
    uint64_t number;
    uint64_t deadline_ns;
};

struct backend_link {
    struct port_backend backend; // the real one's operations with this link's hooks
    struct backend_layout layout;
    uint8_t *memory; // shared with the process
    int wake_fd;     // eventfd of the process, borrowed
    const struct port_fabric *fabric;
    unsigned highest; // level up to which the port is open
    uint64_t timeout_ns;
    // Tells the supervisor; called on the serving thread, must not block.
    void (*report)(void *context, unsigned port, enum vmm_port_event_kind event);
    void *context;
    unsigned port;
    bool up;
    bool was_held; // when last looked
    bool awaited;  // no order came yet: the process is being started, requests wait for it
    bool sent;     // since the last flush
    bool wants_events;
    uint16_t next_available;
    uint16_t last_used;
    uint16_t sent_count; // slots whose buffers the process has
    uint32_t obeyed;     // the last order
    _Atomic uint32_t order;
    _Atomic uint32_t is_up; // for other threads
    struct backend_link_slot slots[VMM_MAX_IN_FLIGHT];
};

struct backend_link_settings {
    const struct port_backend *backend; // whose operations the process offers
    const struct vmm_port_config *port;
    unsigned port_index;
    int memory_fd; // of backend_layout_init(port).bytes; mapped, not kept
    int wake_fd;
    const struct port_fabric
        *fabric; // of the port: clock, and levels, since a hold stops time-outs
    void (*report)(void *context, unsigned port, enum vmm_port_event_kind event);
    void *context;
};

// Maps the shared memory. Until the first backend_link_order requests wait. The port's backend is
// &link->backend, its state the link.
int backend_link_init(struct backend_link *link, const struct backend_link_settings *settings,
                      struct error *err);

// From another thread: the process is there (up), or gone (down: what it had fails, the rings are
// cleared for its successor). In force after poller_quiesce.
void backend_link_order(struct backend_link *link, bool up);

// From any thread: true if requests reach the process.
bool backend_link_is_up(const struct backend_link *link);

#endif
