// SPDX-License-Identifier: Apache-2.0
// The one mediation path: validate, gate, policy, audit, backend, gate, completion.
#ifndef PORTS_PORT_H
#define PORTS_PORT_H

#include "audit_stream.h"
#include "clock.h"
#include "level.h"
#include "policy_memory.h"
#include "policy_table.h"
#include "port_backend.h"
#include "port_policy.h"
#include "virtqueue.h"

// Upward calls into whoever owns the drivers of the queues.
struct port_host_operations {
    // Tells the driver behind a queue that replies are there: for a cell, raises the event count of
    // vCPU `target` and wakes it if it is parked.
    void (*raise_event)(void *context, unsigned target);
    // A rule of the policy document asks for a higher level, at most LEVEL_OFFLINE: the gate has to
    // be shut when this returns. NULL: somebody else, who saw the same request, does that.
    void (*escalate)(void *context, uint16_t port, uint32_t level, uint32_t rule);
    void *context;
};

// What is the same for all ports of a poller. Owned by the caller, outlives the ports.
struct port_fabric {
    const struct level_page *level_supervisor;
    const struct level_page *level_own;
    struct audit_stream *audit;
    const struct clock *clock;
    struct port_host_operations host;
};

struct port_settings {
    const char *name;
    uint16_t index; // in the VM's port list, for audit records
    const struct port_backend *backend;
    void *backend_state;
    uint64_t operations; // granted: bit n for operation n
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    uint32_t in_flight; // 1 to PORT_MAX_IN_FLIGHT
    const struct limits_config *limits;
    bool closed_at_probation;
    // At Probation, if it is open then; never looser than those above. Without limits: the same.
    uint32_t tight_request_bytes;
    uint32_t tight_reply_bytes;
    const struct limits_config *tight_limits;
    // The policy document, or NULL: none. Borrowed. `has_approvers`: port_answer is called for
    // requests that a rule holds; else they pass, since somebody in front has held them.
    const struct policy_arrays *document;
    struct policy_memory *document_memory; // of its engine, borrowed; with a document
    bool has_approvers;
    // Whether what comes from outside in replies is decided on here: by the VMM, and not once more
    // by the process that took it in.
    bool decides_inward;
    // What goes to the log of payloads at Standard; at Probation all of them do.
    bool logs_payloads;
    bool digests_only; // the reader puts digests in their place
    // What was used of the lifetime totals before.
    uint64_t requests_used;
    uint64_t bytes_used;
    uint64_t reply_bytes_used;
};

#define PORT_MAX_IN_FLIGHT 64u

enum port_state {
    PORT_OPEN,
    PORT_CLOSED_ANOMALY, // a rule of the transport was broken
    PORT_CLOSED_ORDER,   // port_close
};

// Times between 0 and 36 minutes, to an eighth of their size.
#define PORT_LATENCY_BUCKETS 320u

// Live counters; written by the serving thread only, read by anybody (relaxed).
struct port_counters {
    _Atomic uint64_t requests;
    _Atomic uint64_t completions;
    _Atomic uint64_t denied;
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
    _Atomic uint32_t anomalies;
    _Atomic uint32_t anomaly_rule;
    _Atomic uint32_t anomaly_descriptor;
    _Atomic uint32_t state; // enum port_state
    _Atomic uint32_t in_flight;
    _Atomic uint32_t queued; // published and not taken, when last looked
    _Atomic uint64_t latency[PORT_LATENCY_BUCKETS];
};

struct port;

// Makes a port without queues. All memory that it will ever use is allocated here. Returns NULL
// and sets *err if memory is short or the settings do not fit the backend.
struct port *port_create(const struct port_fabric *fabric, const struct port_settings *settings,
                         struct error *err);

// Adds a bound queue (copied) whose completions raise events of `target`.
int port_add_queue(struct port *port, const struct virtqueue *queue, unsigned target,
                   struct error *err);

void port_destroy(struct port *port);

// Serves at most `budget` requests, and stops early after PORT_SERVE_BYTES of payload. Returns how
// many made progress. No allocation, lock or system call, except wake-ups of sleepers.
unsigned port_serve(struct port *port, unsigned budget);

// Payload bytes that one call of port_serve moves before it lets other ports have their turn (one
// request may exceed it).
#define PORT_SERVE_BYTES (256u << 10)

// Every millisecond or so: wakes readers of what the backend produced, refreshes gauges.
void port_notify(struct port *port);

// Before the thread sleeps: asks for doorbells and backend wake-ups. Returns false if there is
// work now. *wake_ns is lowered to when something has to happen without a wake-up.
bool port_prepare_sleep(struct port *port, bool doorbells, uint64_t *wake_ns);

// After the thread slept.
void port_wake(struct port *port);

// The serving thread takes and completes nothing any more, for good: the end of the run.
void port_stop(struct port *port);

// Closes the port, from any thread. The gate is shut when this returns; what is being copied at
// this moment stops at the next look at the gate. After poller_quiesce no byte reaches the guest
// any more, and what was in flight is dropped.
void port_close(struct port *port);

// Opens a closed port again, from any thread. Requests that were dropped come back to the driver
// with 0 bytes written; on a queue with an anomaly, what was published and not taken is passed
// over.
void port_open(struct port *port);

// Makes the engine of another document for a port that has one, from any one thread; NULL and *err
// on failure. No system call.
struct policy_engine *port_make_engine(const struct port *port,
                                       const struct policy_arrays *document,
                                       struct policy_memory *memory, struct error *err);

// Puts it in force, from any thread; once poller_quiesce has returned, it is, and nothing of the
// one before is used any more. What was used of totals of rules that have the same names stays
// used. A held request has to pass the new rules too, once it is approved; the reply to a request
// that was to be redacted is denied.
void port_use_engine(struct port *port, struct policy_engine *engine);

// The verdict on a held request, from any one thread at a time. One that is not held (any more) is
// not answered: numbers are never used twice. Wake the serving thread afterwards. Returns false if
// too many verdicts wait for it: try again.
bool port_answer(struct port *port, uint64_t request, bool approved);

// The gate as of now, on the thread that serves the port: whoever carries replies on to a guest
// asks in front of every piece (at least every 4 KiB).
bool port_gate_is_open(const struct port *port);

// Closes the port because of what the guest did in front of the port's own queue, with a record. On
// the serving thread. Returns false, having done nothing, if the log has no room: try again.
bool port_report_anomaly(struct port *port, const struct queue_anomaly *anomaly);

const struct port_counters *port_counters(const struct port *port);

// The time below which `fraction` of the completed requests stayed, in ns; 0 without any. From any
// thread.
uint64_t port_latency_ns(const struct port_counters *counters, double fraction);

#endif
