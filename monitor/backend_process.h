// SPDX-License-Identifier: Apache-2.0
// One backend process: started, watched, killed.
#ifndef MONITOR_BACKEND_PROCESS_H
#define MONITOR_BACKEND_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "audit_log.h"
#include "vmm_process.h"

enum backend_phase {
    BACKEND_NONE,     // the port has no process
    BACKEND_STARTING, // loaded or locking itself down
    BACKEND_UP,
    BACKEND_ENDED,    // dead and reaped; the VMM still has to let go of the shared memory
    BACKEND_WAITING,  // until start_ns
    BACKEND_CLOSED,   // the port is closed on order; started again when it is opened
    BACKEND_GIVEN_UP, // for good
};

struct backend_process {
    enum backend_phase phase;
    unsigned port;
    pid_t pid;
    int pidfd;
    int channel;
    int audit_fd;
    struct audit_ring audit;
    uint32_t restarts;
    bool severed;                   // killed by the level, which may fall again
    uint64_t start_ns;              // boot-time clock
    uint64_t start_deadline_ns;     // of a process that is starting
    uint32_t delay_ms;              // before the next start
    enum audit_backend_event cause; // why it was killed, if it was
    // What all processes of this port used of its totals.
    uint64_t requests_used;
    uint64_t bytes_used;
    uint64_t reply_bytes_used;
};

// No process.
void backend_process_init(struct backend_process *backend, unsigned port);

// Makes an audit ring, starts the program and sends it its configuration with what the settings
// say, and the policy document in force, if there is one. On failure everything is undone.
int backend_process_start(struct backend_process *backend, const struct vmm_process *vmm,
                          const struct vm_settings *settings, const struct policy_document *policy,
                          struct error *err);

// Kills it; its end is seen on the pidfd. The first cause stays.
void backend_process_kill(struct backend_process *backend, enum audit_backend_event cause);

// Kills it if it still runs, reaps it and releases everything but the audit ring, whose last
// records are still to be taken.
void backend_process_reap(struct backend_process *backend);

// Adds what the audit ring says to the used totals and releases the ring.
void backend_process_close_audit(struct backend_process *backend);

#endif
