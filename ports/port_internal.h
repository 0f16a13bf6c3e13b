// SPDX-License-Identifier: Apache-2.0
// A port as port.c (the path) and port_control.c (its life) see it. Nobody else includes this.
#ifndef PORTS_PORT_INTERNAL_H
#define PORTS_PORT_INTERNAL_H

#include "port.h"

enum slot_state {
    SLOT_FREE,
    SLOT_THROTTLED, // copied and validated; policy said wait
    SLOT_PENDING,   // at the backend
    SLOT_READY,     // has its reply; waits for gate or limits
};

// One request in flight: the private copy that policy, audit and backend all look at.
struct slot {
    enum slot_state state;
    uint16_t queue;
    uint16_t next;                // of the list that it is in; SLOT_NONE ends it
    bool reply_decided;           // limits of replies have accounted it
    enum audit_decision decision; // on the request, or on its reply
    enum policy_rule rule;        // that made it
    uint64_t start_ns;            // when it was taken
    struct port_request_header header;
    struct policy_request question;
    struct virtqueue_chain chain;
    struct port_request request;
};

#define SLOT_NONE 0xffffu

// Slots in order of arrival.
struct slot_list {
    uint16_t head;
    uint16_t tail;
};

struct port_queue {
    struct virtqueue queue;
    unsigned target;
    bool pushed; // completions since the driver was last asked about events
};

struct port {
    const struct port_fabric *fabric;
    const struct port_backend *backend;
    void *backend_state;
    struct port_policy policy;
    uint32_t max_reply_bytes;
    unsigned highest; // level up to which the port is open
    uint16_t index;
    uint16_t queue_count;
    uint16_t free_slots; // list without tail
    uint16_t throttled;  // slot that waits for its rate, or SLOT_NONE
    uint16_t next_queue; // round robin
    uint16_t broken;     // queue of the last anomaly
    bool pass_over;      // what was published there is to be passed over when the port opens
    struct slot_list pending;
    struct slot_list ready;
    enum port_state state; // in force on the serving thread
    bool dropped;          // in-flight requests were dropped because the gate shut
    bool shut_seen;        // a look at the gate between two calls of port_settle_state: shut
    bool stopped;
    bool had_turn;           // records were reserved in this call of port_serve
    bool backend_touched;    // flush is due
    uint64_t retry_ns;       // when to try the throttled slot again
    uint64_t reply_retry_ns; // when to try the first ready slot again
    uint64_t audit_retry_ns; // when the audit budget has room, or 0
    uint64_t moved_bytes;    // in this call of port_serve
    uint64_t request_number;
    _Atomic uint32_t wanted; // enum port_state; the first thing that every look at the gate reads
    struct port_counters counters;
    char name[PORT_NAME_SIZE];
    struct slot *slots;
    uint8_t *buffers; // for each slot: payload, reply
    struct port_queue queues[PORT_MAX_QUEUES];
};

static inline void port_count(_Atomic uint64_t *counter, uint64_t amount)
{
    // One writer: a plain load and store are enough, and cost no locked instruction.
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

// Drops everything in flight, with an audit record each, into the room reserved for it (port.c).
void port_drop_in_flight(struct port *port);

// Acts on port_close, port_open and gates that shut or opened. Returns false if nothing may be
// served now (port_control.c).
bool port_settle_state(struct port *port);

// The same question without acting. If nothing may be served, *idle says whether there is nothing
// to act on either (port_control.c).
bool port_may_serve(const struct port *port, bool *idle);

#endif
