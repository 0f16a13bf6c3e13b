// SPDX-License-Identifier: Apache-2.0
// A port as port.c (the path) and port_control.c (its life) see it. Nobody else includes this.
#ifndef PORTS_PORT_INTERNAL_H
#define PORTS_PORT_INTERNAL_H

#include "port.h"

enum slot_state {
    SLOT_FREE,
    SLOT_THROTTLED, // copied and validated; policy said wait
    SLOT_HELD,      // a rule wants somebody's approval
    SLOT_RECORDED,  // allowed; waits until its records are on the disk
    SLOT_PENDING,   // at the backend
    SLOT_READY,     // has its reply; waits for gate, limits or room in the log
    SLOT_SEALED,    // its completion is recorded; waits until that is on the disk
};

// One request in flight: the private copy that policy, audit and backend all look at.
struct slot {
    enum slot_state state;
    uint16_t queue;
    uint16_t next;                // of the list that it is in; SLOT_NONE ends it
    bool reply_decided;           // limits of replies have accounted it
    bool reply_logged;            // its payload is in the log as the port's configuration says
    bool reply_redacted;          // what its rule blots out is
    bool inward_asked;            // `question` is that about its reply
    bool inward_decided;          // and answered
    uint32_t inward;              // operation that its reply is to be decided on as, or 0
    bool decided_strict;          // the decision on it was that of Probation
    uint32_t generation;          // of the document that it was decided by
    bool strict;                  // request and payload were recorded at Probation
    uint64_t durable_at;          // if so, or once sealed: index of the ring behind its records
    enum audit_decision decision; // on the request, or on its reply
    uint32_t rule;                // enum policy_rule that made it
    uint16_t verdict;             // enum audit_verdict on a held request, or 0
    uint16_t recorded_verdict;    // the same once it is in the log
    uint64_t held_until_ns;       // if it is held; with a verdict: when to ask the rules again
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
    struct port_policy policies[2]; // of Standard, of Probation
    struct port_policy *policy;     // in force
    bool strict;                    // it is that of Probation
    bool logs_payloads;             // at Standard
    bool digests_only;              // at Standard
    uint32_t max_reply_bytes;
    uint32_t tight_reply_bytes; // the same at Probation
    unsigned highest;           // level up to which the port is open
    uint16_t index;
    uint16_t queue_count;
    uint16_t free_slots; // list without tail
    uint16_t throttled;  // slot that waits for its rate, or SLOT_NONE
    uint16_t next_queue; // round robin
    uint16_t broken;     // queue of the last anomaly
    bool pass_over;      // what was published there is to be passed over when the port opens
    struct policy_engine *engine; // rules of the document; NULL: none
    bool has_approvers;
    bool decides_inward;
    bool may_hold;                        // some of the rules hold, and somebody approves
    uint32_t generation;                  // of the document: how many were in force before
    _Atomic(struct policy_engine *) news; // to be put in force, or NULL
    struct slot_list held;
    _Atomic uint32_t verdict_count;                // that wait to be looked at
    _Atomic uint64_t verdicts[PORT_MAX_IN_FLIGHT]; // request number times two, plus 1: approved
    struct slot_list recorded;
    struct slot_list pending;
    struct slot_list ready;
    struct slot_list sealed;
    enum port_state state; // in force on the serving thread
    bool dropped;          // in-flight requests were dropped because the gate shut
    bool shut_seen;        // a look at the gate between two calls of port_settle_state: shut
    bool stopped;
    bool had_turn;           // records were reserved in this call of port_serve
    bool backend_touched;    // flush is due
    uint64_t retry_ns;       // when to try the throttled slot again
    uint64_t reply_retry_ns; // when to try the first ready slot again
    bool unsealed;           // the last look at a reply's gate found that it has to be sealed first
    bool unlogged;           // or that its payload has to be logged first
    bool waits_for_disk;     // something waits in this call of port_serve until `disk_position`
    uint64_t disk_position;  // of the log is on the disk
    uint64_t request_room;   // bytes of the log that a throttled request waits for, or 0
    uint64_t reply_room;     // the same for a request with its reply
    uint64_t record_room;    // the same for one that has to be recorded once more
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

static inline uint16_t port_slot_index(const struct port *port, const struct slot *slot)
{
    return (uint16_t)(slot - port->slots);
}

// A free slot; there is one (port_slot.c).
struct slot *port_take_slot(struct port *port);
void port_free_slot(struct port *port, struct slot *slot);

// Appends a slot that is in no list; takes one out that follows `previous`, or SLOT_NONE
// (port_slot.c).
void port_list_add(struct port *port, struct slot_list *list, struct slot *slot,
                   enum slot_state state);
void port_list_remove(struct port *port, struct slot_list *list, uint16_t previous, uint16_t index);

// Counts how long a request took (port_slot.c).
void port_record_latency(struct port *port, uint64_t ns);

// The gate, and whether the level asks for records on the disk before their effects. One look: both
// are of the same moment.
static inline enum level_gate port_look(const struct port *port, bool *strict)
{
    const struct level_page *a = port->fabric->level_supervisor;
    const struct level_page *b = port->fabric->level_own;
    *strict = false;
    if (atomic_load_explicit(&port->wanted, memory_order_acquire) != PORT_OPEN || port->stopped)
        return LEVEL_GATE_SHUT;
    unsigned x = atomic_load_explicit(&a->level, memory_order_acquire);
    unsigned y = atomic_load_explicit(&b->level, memory_order_acquire);
    if (x > port->highest || y > port->highest)
        return LEVEL_GATE_SHUT;
    *strict = (x | y) != LEVEL_STANDARD;
    if (atomic_load_explicit(&a->hold, memory_order_acquire) ||
        atomic_load_explicit(&b->hold, memory_order_acquire))
        return LEVEL_GATE_HELD;
    return LEVEL_GATE_OPEN;
}

// Redacts a reply, decides on what comes from outside, asks the limits. Returns false if it has to
// wait (port_reply.c).
bool port_admit_reply(struct port *port, struct slot *slot);

// Puts a new document in force if there is one (port_control.c).
void port_take_engine(struct port *port, uint64_t now_ns);

// Puts the limits of Probation, or those of Standard, in force (port_control.c).
void port_set_limits(struct port *port, bool strict, uint64_t now_ns);

// Appends a record about a slot's request, into reserved room (port_audit.c).
void port_audit(struct port *port, const struct slot *slot, enum audit_type type,
                enum audit_decision decision, uint32_t rule, uint64_t now_ns);

// Payload bytes of the request that the fabric has copied: those that can be logged.
static inline uint32_t port_copied_bytes(const struct slot *slot)
{
    return slot->question.payload ? slot->request.length : 0;
}

// Logs the payload of a request whose record was just appended, into reserved room. In full at
// Probation (`strict`; what follows then waits for the disk), and if it is held: somebody has to
// see it (port_audit.c).
void port_log_request(struct port *port, struct slot *slot, bool strict);

// Bytes of the log that a request needs beyond its two records (port_audit.c).
uint64_t port_request_room(const struct port *port, const struct slot *slot, bool strict);

// Begins to hold a request, which is in no list (port_hold.c).
void port_hold_begin(struct port *port, struct slot *slot, uint64_t hold_ns, uint64_t now_ns);

// Finds the held requests that verdicts have come for (port_hold.c).
void port_hold_take_verdicts(struct port *port);

// What has become of a held request: enum audit_verdict, or 0. Its first verdict is recorded
// (port_hold.c).
uint16_t port_hold_look(struct port *port, struct slot *slot, uint64_t now_ns);

// Before the thread sleeps: lowers *wake_ns to the first time-out. False if there are verdicts
// (port_hold.c).
bool port_hold_prepare_sleep(const struct port *port, uint64_t *wake_ns);

// True if the records of an allowed request, and its payload, are on the disk. Records that went
// out while the level did not ask for that are no use: what has to be is appended once more. Else
// false, also for lack of room (port_audit.c).
bool port_request_is_durable(struct port *port, struct slot *slot);

// Logs the payload of a reply as the port's configuration says. Returns false for lack of room
// (port_audit.c).
bool port_log_reply(struct port *port, struct slot *slot);

// Records completion and reply before the guest gets them. Returns false for lack of room
// (port_audit.c).
bool port_seal(struct port *port, struct slot *slot);

// True if the log is on the disk up to `position` (port_audit.c).
bool port_is_durable(struct port *port, uint64_t position);

// Drops everything in flight, with an audit record each, into the room reserved for it (port.c).
void port_drop_in_flight(struct port *port);

// Acts on port_close, port_open and gates that shut or opened. Returns false if nothing may be
// served now (port_control.c).
bool port_settle_state(struct port *port);

// The same question without acting. If nothing may be served, *idle says whether there is nothing
// to act on either (port_control.c).
bool port_may_serve(const struct port *port, bool *idle);

#endif
