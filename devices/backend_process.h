// SPDX-License-Identifier: Apache-2.0
// A backend process: executes the requests of one port behind a queue that it shares with the VMM.
//
// Towards it the VMM is a hostile driver. It serves its end of the queue with the fabric's own
// code: validate, gate (it looks at both level pages itself), policy (its own static grant), audit
// (a ring that the VMM cannot write), backend, gate. It never sees guest memory.
#ifndef DEVICES_BACKEND_PROCESS_H
#define DEVICES_BACKEND_PROCESS_H

#include "backend_protocol.h"
#include "error.h"
#include "poller.h"

struct backend_process;

// A kind of port that a program serves.
struct backend_kind {
    const struct port_backend *backend;
    // Makes the backend's state, before the process locks itself down. Returns NULL and sets *err
    // on failure. NULL: it needs none.
    void *(*make_state)(struct backend_process *process, struct error *err);
};

struct backend_process {
    struct backend_config config;
    int fds[BACKEND_FDS + BACKEND_MAX_EXTRA_FDS]; // -1: closed
    const struct backend_kind *kind;
    void *state; // of the backend
    int wake_fd; // readable: the backend's poll hook has work; set by make_state, else -1
    // The port's settings, in a form that is the kind's own; NULL: none. Mapped until the process
    // ends.
    const void *settings;
    size_t settings_length;
    struct policy_arrays policy; // of the policy document; no table: none
    struct policy_memory policy_memory;
    struct guest_memory memory; // what is shared with the VMM: one region at address 0
    struct port_fabric fabric;
    struct audit_stream audit;
    struct port *port;
    struct poller poller;
};

// Receives the configuration on BACKEND_CHANNEL_FD and checks it: format, ranges, and that the
// kind of port is one of the `count` that this program serves.
int backend_process_receive(struct backend_process *process, const struct backend_kind *kinds,
                            size_t count, struct error *err);

// Maps what the descriptors stand for, and makes the backend's state, port and poller. Refuses
// shared memory that is too small or that somebody could shrink, and eventfds on which the process
// could block.
int backend_process_build(struct backend_process *process, struct error *err);

// Closes the descriptors that are not needed any more, ties the process's life to the channel, and
// installs the system-call filter with `install` (backend_filter_install, or a program's own).
//
// From here on the kernel kills the process when the supervisor's end of the channel closes, and
// when a message arrives, for nothing is expected any more: the serving thread never looks at the
// channel. That the supervisor itself dies is covered by sandbox_enter.
int backend_process_lock_down(struct backend_process *process, int (*install)(struct error *err),
                              struct error *err);

// Tells the supervisor that the process serves from now on.
int backend_process_report_ready(struct error *err);

// Tells the supervisor why the process ends.
void backend_process_report_failure(const struct error *err);

// Serves until the process is killed: there is no orderly end, since requests that are dropped with
// it are answered by the VMM, and what they used of the totals stands in the audit ring.
void backend_process_run(struct backend_process *process);

// Installs the system-call filter of a backend process on the calling thread, for good.
int backend_filter_install(struct error *err);

#endif
