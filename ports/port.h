// SPDX-License-Identifier: Apache-2.0
// The one mediation path: validate, gate, policy, audit, backend, gate, completion.
#ifndef PORTS_PORT_H
#define PORTS_PORT_H

#include "audit_stream.h"
#include "clock.h"
#include "level.h"
#include "port_backend.h"
#include "port_policy.h"
#include "virtqueue.h"

// Upward calls into whoever owns the vCPUs.
struct port_host_operations {
    // Raises a vCPU's event count and wakes it if it is parked.
    void (*raise_event)(void *context, unsigned vcpu);
    void *context;
};

// What is the same for all ports of a VM. Owned by the caller, outlives the ports.
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
    const struct limits_config *limits;
};

// Live counters; written by the poller only, read by anybody (relaxed).
struct port_counters {
    _Atomic uint64_t requests;
    _Atomic uint64_t completions;
    _Atomic uint64_t denied;
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
    _Atomic uint32_t anomalies;
    _Atomic uint32_t closed;
    _Atomic uint32_t anomaly_rule;
    _Atomic uint32_t anomaly_descriptor;
};

struct port;

// Makes a port without queues. All memory that it will ever use is allocated here. Returns NULL
// and sets *err if memory is short or the settings do not fit the backend.
struct port *port_create(const struct port_fabric *fabric, const struct port_settings *settings,
                         struct error *err);

// Adds a bound queue (copied) whose completions raise events of `vcpu`.
int port_add_queue(struct port *port, const struct virtqueue *queue, unsigned vcpu,
                   struct error *err);

void port_destroy(struct port *port);

// True if a queue has something new or a request waits to be tried again. No system call.
bool port_has_work(const struct port *port);

// Serves at most `budget` requests. Returns how many made progress. No allocation, lock or system
// call, except wake-ups of sleepers.
unsigned port_serve(struct port *port, unsigned budget);

// Before the poller sleeps: asks for doorbells and backend wake-ups. Returns false if there is
// work now. *wake_ns is lowered to when a throttled request may pass.
bool port_prepare_sleep(struct port *port, bool doorbells, uint64_t *wake_ns);

// After the poller slept.
void port_wake(struct port *port);

// Closes the port: nothing is taken or completed any more.
void port_close(struct port *port);

const struct port_counters *port_counters(const struct port *port);

#endif
