// SPDX-License-Identifier: Apache-2.0
// The supervisor of one VM: owns its process, level, audit log, console and control socket.
#ifndef MONITOR_SUPERVISOR_H
#define MONITOR_SUPERVISOR_H

#include <stdbool.h>

#include "audit_log.h"
#include "backend_process.h"
#include "console_relay.h"
#include "control_server.h"
#include "level_control.h"
#include "message_relay.h"
#include "port_policy.h"
#include "vmm_process.h"

// How a run ended.
enum run_outcome {
    RUN_EXITED,    // the model exited; end.exit_value
    RUN_VIOLATION, // end.violation
    RUN_STOPPED,   // stopped by an operator: signal or control socket
    RUN_ISOLATED,  // the level rose, or a fail-safe ended the run
    RUN_FAILED,    // it could not be launched, or broke; `error` says why
};

struct supervisor {
    struct vm_description vm; // owned
    struct vmm_process process;
    struct audit_ring audit_rings[VMM_MAX_POLLERS];
    struct audit_log audit;
    struct audit_place audit_place; // where it is; set before supervisor_run
    struct console_relay console;
    unsigned console_port;
    struct message_relay messages[VMM_MAX_PORTS];   // of the ports of that kind
    struct backend_process backends[VMM_MAX_PORTS]; // of the ports with a process
    struct control_server control;
    int signals; // signalfd
    bool has_console;
    bool console_lies; // the VMM put into its ring what nobody granted: none of it is shown
    bool ready;
    bool stopping;
    bool ended;
    uint64_t started_ns; // boot-time clock
    uint64_t stop_deadline_ns;
    int stop_signal;                       // the signal that asked us to stop, or 0
    bool status_asked;                     // the VMM owes an answer
    uint32_t order_number;                 // of the last order about a port
    unsigned orders_open;                  // that the VMM has not confirmed
    uint64_t order_deadline_ns;            // when it must have
    bool port_closed[VMM_MAX_PORTS];       // on order
    uint64_t relayed_bytes[VMM_MAX_PORTS]; // from the model, of the ports that we carry
    uint64_t status_asked_ns;
    struct level_state level;
    bool level_asked; // the VMM owes a confirmation of the level, until level_deadline_ns
    uint32_t level_number;
    uint64_t level_deadline_ns;
    uint32_t paused_vcpus; // as last confirmed
    enum run_outcome outcome;
    struct vmm_ready ready_message;
    struct vmm_end end;
    struct error error;
};

// Runs the VM to its end. The VMM process has been started (vmm_process_start); signals SIGINT,
// SIGTERM, SIGHUP and SIGPIPE are blocked. Takes ownership of everything in `supervisor`.
// Afterwards no process, socket, lock or shared memory of this run exists; the audit log does.
void supervisor_run(struct supervisor *supervisor, const char *runtime_dir);

// Releases what supervisor_run left for the report.
void supervisor_free(struct supervisor *supervisor);

#endif
