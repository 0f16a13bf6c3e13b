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
    WATCH_CLIENTS,
    WATCH_BACKENDS = WATCH_CLIENTS + CONTROL_MAX_CLIENTS, // for each port: process, channel
    WATCH_COUNT = WATCH_BACKENDS + 2 * VMM_MAX_PORTS,
};

// Levels (supervisor_levels.c). The gate is shut when supervisor_set_level returns; the rest is
// confirmed by the VMM, or it is killed.
enum level_refusal supervisor_set_level(struct supervisor *s, enum level_actor actor,
                                        enum level level);
void levels_take_done(struct supervisor *s, const struct vmm_level *done);
// The VMM can be asked from now on.
void levels_take_ready(struct supervisor *s);
// Looks whether a confirmation is late.
void levels_serve(struct supervisor *s);

// Asks the VMM to end, or kills it at once. Only levels do this.
void supervisor_end_vmm(struct supervisor *s, bool kill);

// The run is over; the first outcome stands.
void supervisor_fail(struct supervisor *s, enum run_outcome outcome);

// The VMM says something impossible: it has fallen.
void supervisor_lie(struct supervisor *s, const char *text);

// Appends a record about a port.
void supervisor_record(struct supervisor *s, const struct audit_record *record);

// Sends an order about a port. Returns its number, or 0 if the VMM cannot be reached: then it is
// isolated, as it is if it does not confirm in time.
uint32_t supervisor_order(struct supervisor *s, unsigned port, enum vmm_port_action action);

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
// The VMM reports a backend, or has let go of a dead one's memory.
void backends_take_event(struct supervisor *s, const struct vmm_port_event *event);
void backends_take_done(struct supervisor *s, const struct vmm_port_order *order);
// When the next process is to be started, or UINT64_MAX.
uint64_t backends_deadline_ns(const struct supervisor *s);
void backends_kill_all(struct supervisor *s);

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

// True if the supervisor itself lets a port's bytes through: it is not closed on order, the level
// allows it, and the operation is granted.
bool supervisor_carries(const struct supervisor *s, unsigned port, unsigned operation);

// Accounts bytes that the model sent through a port that the supervisor carries. False if the VMM
// let more through than the total allows, or anything that is not granted: it has fallen.
bool supervisor_account(struct supervisor *s, unsigned port, unsigned operation, uint64_t bytes);

#endif
