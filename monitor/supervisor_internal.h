// SPDX-License-Identifier: Apache-2.0
// What the parts of the supervisor say to each other. Nobody else includes this.
#ifndef MONITOR_SUPERVISOR_INTERNAL_H
#define MONITOR_SUPERVISOR_INTERNAL_H

#include <poll.h>

#include "supervisor.h"

enum watched {
    WATCH_CHANNEL,
    WATCH_PROCESS,
    WATCH_WAKE,
    WATCH_SIGNALS,
    WATCH_CONTROL,
    WATCH_INPUT,
    WATCH_OUTPUT,
    WATCH_RECORDER,
    WATCH_RECORDER_WAKE,
    WATCH_KEEPER,
    WATCH_CLIENTS,
    WATCH_DETECTORS = WATCH_CLIENTS + CONTROL_MAX_CLIENTS,
    WATCH_BACKENDS = WATCH_DETECTORS + DETECTOR_MAX_EXTERNALS, // for each port: process, channel
    WATCH_SERVE = WATCH_BACKENDS + 2 * VMM_MAX_PORTS,
    WATCH_COUNT = WATCH_SERVE + SERVE_LISTENERS_MAX,
};

// Levels (supervisor_levels.c). The gate is shut when supervisor_set_level returns; the rest is
// confirmed by the VMM, or it is killed.
enum level_refusal supervisor_set_level(struct supervisor *s, enum level_actor actor,
                                        enum level level);
enum level_refusal supervisor_level_event(struct supervisor *s, const struct level_event *event);
// An operator wants it.
enum level_refusal supervisor_isolate(struct supervisor *s, enum level level, const char *reason);
// Raises it for a reason that goes to the log and to status.
enum level_refusal supervisor_raise(struct supervisor *s, enum level_actor actor, enum level level,
                                    const char *reason);
// Ends the VM and leaves its level as it is.
void supervisor_stop(struct supervisor *s);
// True once the VMM has been asked to end.
bool supervisor_is_stopping(const struct supervisor *s);
// The level pages exist: from now on there is a level.
void levels_init(struct supervisor *s, enum level level);
void levels_take_done(struct supervisor *s, const struct vmm_level *done);
// The log is open: ports may carry traffic, as far as the level permits.
void levels_open_gate(struct supervisor *s);
// The VMM can be asked from now on.
void levels_take_ready(struct supervisor *s);
// Nothing that ran for the VM is left.
void levels_take_gone(struct supervisor *s);
// Looks at the deadlines.
void levels_serve(struct supervisor *s);

// Heartbeats (supervisor_heartbeat.c). Every loss takes the VM Offline.
void heartbeats_init(struct supervisor *s);
// Opens what watches the supervisor itself, and handles its fatal signals. The level pages exist.
int heartbeats_open(struct supervisor *s, struct error *err);
// Once in each turn of the loop, before anything else: beats, and looks at everybody's beats.
void heartbeats_serve(struct supervisor *s);
// When the next turn is due.
uint64_t heartbeats_deadline_ns(const struct supervisor *s);
// The VMM's control thread answered.
void heartbeats_take_answer(struct supervisor *s, const struct vmm_beat *beat);
// The VMM's own watchdog ended the run. `cause`: enum level_cause, or anything.
void heartbeats_take_end(struct supervisor *s, uint32_t cause);
// The VMM is gone without a word: isolated if it ever ran.
void heartbeats_take_death(struct supervisor *s);
// The run is over, nothing of the VM runs any more. Reboots the host if that is what the VM file
// and the command line want.
// The VMM is gone: no watchdog has anything left to end, and what follows may take long. Only one
// that is to restart the host stays.
void heartbeats_rest(struct supervisor *s);

// Spends an order of the administrators for a policy document with this SHA-256: checked, recorded,
// durable. Returns LEVEL_ORDER_ACCEPTED, or why it is refused; then it is not spent.
uint32_t orders_take_policy(struct supervisor *s, const struct signed_order *signed_order,
                            const uint8_t digest[32]);

void heartbeats_close(struct supervisor *s);
// Orders of the administrators (supervisor_orders.c). Puts the key set that the launch found in
// force, here and in the VMM's configuration; without one, levels only rise.
int orders_open(struct supervisor *s, struct error *err);
// Checks, records and carries out a signed order. Returns 0, or why not: enum level_order_refusal
// or enum level_refusal.
uint32_t supervisor_take_order(struct supervisor *s, const struct level_order *order,
                               const struct level_order_signature *signatures, unsigned count);
// Asks the VMM for a lower level, with the order that allows it (s->orders.lowers).
int orders_ask(struct supervisor *s, const struct vmm_level *level, struct error *err);
// Clients that bring an order or a proposal, ask what one is bound to, bring an operator's beat.
void orders_serve(struct supervisor *s, struct control_client *client);
void orders_answer_status(struct supervisor *s, struct control_client *client);
void orders_take_beat(struct supervisor *s, struct control_client *client);

// What rules of the policy document ask for (supervisor_approvals.c). Sees the VMM's records from
// now on.
void approvals_open(struct supervisor *s);
// Clients that ask what waits, approve or reject.
void approvals_serve(struct supervisor *s, struct control_client *client);
// The VMM has gone to a higher level because policy says so.
void approvals_take_escalation(struct supervisor *s, const struct vmm_port_event *event);

// Detectors (supervisor_detectors.c). Connects to the external ones.
int detectors_open(struct supervisor *s, struct error *err);
// A record on its way to the log.
void detectors_observe(struct supervisor *s, const struct audit_record *record, const void *data);
// Looks, once in a second, at how often the VMM says that doorbells were rung, against the requests
// in its records: a VMM that lies can hide a storm, and accuse its model.
void detectors_count_doorbells(struct supervisor *s, uint64_t now_ns);

// True if the ring has to wait: at Probation an external detector has not seen that many records.
bool detectors_withhold(const struct supervisor *s, uint64_t number);
void detectors_watch(const struct supervisor *s, struct pollfd *fds);
uint64_t detectors_deadline_ns(const struct supervisor *s);
// Acts on alarms.
void detectors_serve(struct supervisor *s);
// The model has ended: what it said last is looked at too.
void detectors_settle(struct supervisor *s);
void detectors_close(struct supervisor *s);

// Another policy document (supervisor_policy.c). A client brings one; the VMM's answer.
void policy_serve(struct supervisor *s, struct control_client *client);
void policy_take_done(struct supervisor *s, const struct vmm_policy *done);
// When the VMM has to have answered; what happens if it has not.
uint64_t policy_deadline_ns(const struct supervisor *s);
void policy_watch(struct supervisor *s);

// The launch and the durable level (supervisor_launch.c). Admits the VM whose inputs are open, or
// refuses it; level and page are set.
int launch_admit(struct supervisor *s, struct error *err);
// --accept-level-reset goes to the log before it has any effect.
int launch_record_reset(struct supervisor *s, struct error *err);
// The log is open: -1 if it knows a newer state of the VM than the state file, which then is taken
// Offline.
int launch_check_log(struct supervisor *s, struct error *err);
// Records the SHA-256 of the ports with the policy that is in force, or about to be.
int launch_record_policy(struct supervisor *s, const struct policy_document *policy,
                         struct error *err);
// Makes the running mark durable and lets the VMM enter the model.
int launch_go(struct supervisor *s, struct error *err);
// Makes a level durable (vm_state_persist) and records that.
int launch_persist(struct supervisor *s, enum level level, uint64_t sequence, const char *reason,
                   struct error *err);
// Takes the running mark away, unless the state file could not be written.
void launch_end(struct supervisor *s);

// Effects outside the VM (supervisor_effects.c). Begins one; false: it cannot even be begun.
bool effects_begin(struct supervisor *s, enum level_effect effect);
// The reversible cut that a supervisor which was killed may not have made. Waits for it.
void effects_make_up(const struct supervisor *s);
// Waits for what was begun, and says what failed.
void effects_finish(struct supervisor *s);

// The run is over; the first outcome stands.
void supervisor_fail(struct supervisor *s, enum run_outcome outcome);

// The VMM is gone without a word, or talks nonsense. It may have entered the model before it said
// that it would: the level is Offline in either case.
void supervisor_fail_silent(struct supervisor *s);

// The VMM says something impossible: it has fallen.
void supervisor_lie(struct supervisor *s, const char *text);

// Appends a record about a port.
void supervisor_record(struct supervisor *s, const struct audit_record *record);

// True if a message could not be sent because the VMM has just ended: it said why, and the loop
// reads that next. Whoever waits for an answer has a deadline all the same.
bool supervisor_hears_an_end(const struct error *err);

// Sends an order about a port. Returns its number, or 0 if the VMM cannot be reached: then it is
// isolated, as it is if it does not confirm in time.
uint32_t supervisor_order(struct supervisor *s, unsigned port, enum vmm_port_action action);

// Keeping everything else off the model cores (supervisor_placement.c). keeper_require does it
// before the model is entered where --require strict wants that, or refuses.
void keeper_init(struct supervisor *s);
int keeper_require(struct supervisor *s, struct error *err);
// The model runs: the keeper starts in a moment.
void keeper_take_ready(struct supervisor *s);
uint64_t keeper_deadline_ns(const struct supervisor *s);
void keeper_watch(const struct supervisor *s, struct pollfd *fds);
void keeper_serve(struct supervisor *s, const struct pollfd *fds);
// Nothing of the VM runs any more: the host may be put back. keeper_wait waits until it is.
void keeper_dismiss(struct supervisor *s);
void keeper_wait(struct supervisor *s);

// Backend processes (supervisor_backends.c).
int backends_start(struct supervisor *s, struct error *err);
void backends_watch(const struct supervisor *s, struct pollfd *fds);
void backends_serve(struct supervisor *s, const struct pollfd *fds);
void backends_drain_audit(struct supervisor *s);
// The port is closed, or opened again, on order.
void backends_close(struct supervisor *s, unsigned port);
void backends_open(struct supervisor *s, unsigned port);
// The gate or the room in its audit ring changed: the port's process has to look.
void backends_wake(const struct supervisor *s, unsigned port);

// The sockets of a serve port (supervisor_serve.c): opened for its process, watched while there may
// be none, closed. serve_say_farewell gives a process that is isolated a moment to tell its
// clients.
int serve_open_places(struct supervisor *s, const char *runtime_dir, struct error *err);
void serve_watch(const struct supervisor *s, struct pollfd *fds);
void serve_refuse_clients(struct supervisor *s, const struct pollfd *fds);
void serve_say_farewell(struct supervisor *s);
void serve_announce(const struct supervisor *s, unsigned port); // where clients find it
void serve_close_places(struct supervisor *s);
// The VMM reports a backend, or has let go of a dead one's memory.
void backends_take_event(struct supervisor *s, const struct vmm_port_event *event);
void backends_take_done(struct supervisor *s, const struct vmm_port_order *order);
// When the next process is to be started, or UINT64_MAX.
uint64_t backends_deadline_ns(const struct supervisor *s);
void backends_kill_all(struct supervisor *s);
// The level fell below Severed: starts again what ran before backends_kill_all.
void backends_revive(struct supervisor *s);

// The memory of a VM (supervisor_forensics.c). Reserves room for a forensic image, or says that
// there will be none. Before the VMM is configured.
void forensics_reserve(struct supervisor *s);
// Effects of levels, once the VMM is gone, in this order. Each does its work once; false: failed,
// which was said and recorded.
bool forensics_seal(struct supervisor *s);
bool forensics_scrub(struct supervisor *s);
bool forensics_destroy_keys(struct supervisor *s);
// Scrubs the rings, when nobody reads them any more, and gives unused room back.
void forensics_close(struct supervisor *s);

// Clients of the control socket (supervisor_clients.c).
void clients_watch(struct supervisor *s, struct pollfd *fds);
void clients_serve(struct supervisor *s, const struct pollfd *fds);
void clients_take_status(struct supervisor *s, const struct vmm_status *status);
void clients_take_done(struct supervisor *s, const struct vmm_port_order *order);
// The level is confirmed, or failed: answers who waits.
void clients_take_level(struct supervisor *s);
// Messages that wait for room, or for the model to say something. Returns true if one moved.
bool clients_move_messages(struct supervisor *s);
// What the model still said, for those who wait for it. After the end.
void clients_take_last_words(struct supervisor *s);

// Files of log ports (supervisor_logs.c). Opened at launch, and closed when nothing comes any more.
void logs_init(struct supervisor *s);
int logs_open(struct supervisor *s, struct error *err);
// Writes what is in the rings. Returns true if there may be more, or the run has ended.
bool logs_move(struct supervisor *s);
// Writes what is left of one port, once the VMM is gone.
void logs_finish(struct supervisor *s, unsigned port);
void logs_close(struct supervisor *s);

// True if the supervisor itself lets a port's bytes through: it is not closed on order, the level
// allows it, and the operation is granted.
bool supervisor_carries(const struct supervisor *s, unsigned port, unsigned operation);

// Accounts bytes that the model sent through a port that the supervisor carries. False if the VMM
// let more through than the total allows, or anything that is not granted: it has fallen.
bool supervisor_account(struct supervisor *s, unsigned port, unsigned operation, uint64_t bytes);

#endif
