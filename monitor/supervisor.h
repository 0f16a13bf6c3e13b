// SPDX-License-Identifier: Apache-2.0
// The supervisor of one VM: owns its process, level, audit log, console and control socket.
#ifndef MONITOR_SUPERVISOR_H
#define MONITOR_SUPERVISOR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "actuator_run.h"
#include "approvals.h"
#include "audit_log.h"
#include "backend_process.h"
#include "console_relay.h"
#include "containment.h"
#include "control_server.h"
#include "detector_link.h"
#include "host_check.h"
#include "keeper_protocol.h"
#include "key_set_file.h"
#include "log_file.h"
#include "message_relay.h"
#include "port_policy.h"
#include "serve_listener.h"
#include "supervisor_heartbeat.h"
#include "vm_state.h"
#include "vmm_process.h"

// Between two looks at the rings each detector alarms about each port once: there is room for all.
// What a flood of small alarms crowded out would stay quiet for DETECTOR_QUIET_NS more.
#define SUPERVISOR_MAX_ALARMS (DETECTOR_KINDS * VMM_MAX_PORTS)

#define EFFECT_ACTIONS 3 // cut, cut for good, destroy

// How a run ended.
enum run_outcome {
    RUN_EXITED,    // the model exited; end.exit_value
    RUN_VIOLATION, // end.violation
    RUN_STOPPED,   // stopped by an operator: signal or control socket
    RUN_ISOLATED,  // the level rose, or a fail-safe ended the run
    RUN_FAILED,    // it could not be launched, or broke; `error` says why
};

// What becomes of the VM's memory (supervisor_forensics.c).
struct supervisor_forensics {
    char id[64];                         // of the VM's key
    struct level_key_set administrators; // when it was launched
    int image_fd;                        // reserved file, -1: Offline scrubs without a copy
    char path[PATH_MAX];                 // of the reserved file
    bool scrubbed;
};

// The administrators' orders (supervisor_orders.c).
struct supervisor_orders {
    struct key_set_file keys; // in force; version 0: none
    bool keys_seen;           // while it runs: keys_file is the file that they were read from
    struct stat keys_file;
    uint64_t run_sequence; // where last_sequence points to if nobody keeps it
    bool lowers;           // an order is being carried out: `lowering` goes to the VMM
    struct vmm_lowering lowering;
    bool proposed;
    struct signed_order proposal;
    uint64_t proposal_deadline_ns;
    uint64_t beat_counter; // of the last token of an operator's console
};

// guillotine-keeper of this run.
struct supervisor_keeper {
    pid_t pid; // -1: none
    int pidfd;
    int channel;       // its end ends the keeper
    uint64_t start_ns; // when it is to be started; UINT64_MAX: not
    bool reported;
    bool failed;
    struct keeper_report report;
};

struct supervisor {
    struct vm_description vm; // owned
    const char *state_dir;    // NULL: no key set
    struct supervisor_forensics forensics;
    uint8_t deployment[16]; // UUIDs; zero: the key set's, none
    uint8_t uuid[16];
    uint64_t *last_sequence; // of the VM's last accepted order; whoever keeps it sets this
    struct supervisor_orders orders;
    struct detectors *detectors; // NULL: none
    struct detector_link detector_links[DETECTOR_MAX_EXTERNALS];
    struct serve_farewells farewells; // of a serve port's clients that were turned away
    uint64_t observed;                // records of the VMM that they were shown
    uint64_t observed_requests;       // of them
    uint64_t doorbells_ns;            // when the counts below were taken
    uint64_t doorbells;
    uint64_t doorbells_requests;
    uint64_t doorbells_quiet_ns; // no alarm before
    struct detector_alarm alarms[SUPERVISOR_MAX_ALARMS];
    unsigned alarm_count;
    struct approvals approvals;
    struct policy_document next_policy; // with the VMM, not confirmed; no memory: none
    uint64_t policy_deadline_ns;        // when it has to be
    struct vmm_process process;
    struct supervisor_keeper keeper;
    struct host_report host; // as it was at the launch
    struct audit_ring audit_rings[VMM_MAX_POLLERS];
    struct audit_log audit;
    struct audit_place audit_place; // where it is; set before supervisor_run
    struct console_relay console;
    unsigned console_port;
    struct message_relay messages[VMM_MAX_PORTS]; // of the message ports and logs
    struct log_file logs[VMM_MAX_PORTS];
    struct backend_process backends[VMM_MAX_PORTS]; // of the ports with a process
    struct control_server control;
    char actuators[PATH_MAX]; // configuration, from actuator_config_find
    struct actuator_run effects[EFFECT_ACTIONS];
    uint32_t effects_begun; // enum level_effect
    uint32_t effects_done;
    bool allow_host_cut;
    int signals; // signalfd
    bool has_console;
    bool console_lies; // the VMM put into its ring what nobody granted: none of it is shown
    bool ready;
    bool log_checked; // the log is open and agrees with the state file
    bool ended;
    uint64_t started_ns;                   // boot-time clock
    int stop_signal;                       // the signal that asked us to stop, or 0
    bool status_asked;                     // the VMM owes an answer
    uint32_t order_number;                 // of the last order about a port
    unsigned orders_open;                  // that the VMM has not confirmed
    uint64_t order_deadline_ns;            // when it must have
    bool port_closed[VMM_MAX_PORTS];       // on order
    uint64_t relayed_bytes[VMM_MAX_PORTS]; // from the model, of the ports that we carry
    uint64_t status_asked_ns;
    struct vm_state state;   // what is durable
    bool accept_level_reset; // given by the caller
    const char *vm_file;     // given by the caller, or NULL
    bool has_backend;        // a port has a backend process
    uint8_t vmm_sha256[DIGEST_BYTES];
    uint8_t backend_sha256[DIGEST_BYTES];
    uint8_t vm_file_sha256[DIGEST_BYTES];
    uint64_t generation_at_start; // of the state file
    uint64_t entered_ns;          // when the VMM was told that it may enter the model; 0: not yet
    bool state_broken;            // the state file could not be written: the running mark stays
    struct containment containment;
    uint64_t decided_ns;    // when the page was last written
    uint64_t gate_ns;       // from then until the last poller saw its gate shut, as confirmed
    uint64_t vcpus_ns;      // from then until the last vCPU was out of guest mode
    enum level_actor actor; // who acted last
    char reason[CONTROL_REASON_SIZE]; // of the level in force, if one was given
    uint32_t paused_vcpus;            // as last confirmed
    struct supervisor_heartbeat heartbeat;
    enum run_outcome outcome;
    bool rebooted; // RUN_EXITED: a Linux guest asked for a reset, not for power-off
    struct vmm_ready ready_message;
    struct vmm_end end;
    struct error error;
};

// Runs the VM to its end. The VMM process has been started (vmm_process_start); signals SIGINT,
// SIGTERM, SIGHUP and SIGPIPE are blocked. Takes ownership of everything in `supervisor`.
// Afterwards no process, socket, lock or shared memory of this run exists; the audit log does.
void supervisor_run(struct supervisor *supervisor, const char *runtime_dir);

// An operator has proved to be there: the deadline for the next heartbeat moves. Without
// heartbeat.operator_period_ms in the VM file nothing depends on it.
void supervisor_operator_beat(struct supervisor *supervisor);

// Releases what supervisor_run left for the report.
void supervisor_free(struct supervisor *supervisor);

#endif
