// SPDX-License-Identifier: Apache-2.0
// The supervisor's care for backend processes: start, death, restart.
//
// A process that died is replaced only after the VMM has said that it let go of the memory that
// both shared: then the queue is empty and no old reply can be taken for a new one.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend_protocol.h"
#include "escape.h"
#include "fd_message.h"
#include "supervisor_internal.h"

#define DELAY_MAX_MS 10000u

// The recorder's time for the last records of a process.
#define RECORDER_NS (2 * NS_PER_S)

static void record(struct supervisor *s, const struct backend_process *backend,
                   enum audit_backend_event event)
{
    const struct audit_record entry = {
        .type = AUDIT_BACKEND,
        .port = (uint16_t)backend->port,
        .argument = backend->restarts,
        .detail = event,
    };
    supervisor_record(s, &entry);
}

static const char *name_of(const struct supervisor *s, const struct backend_process *backend)
{
    return s->vm.ports[backend->port].name;
}

int backends_start(struct supervisor *s, struct error *err)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        s->backends[i].delay_ms = s->vm.restarts[i].delay_ms;
        // From Severed on there are none, until the level falls.
        s->backends[i].severed = s->vm.ports[i].process && s->state.level >= LEVEL_SEVERED;
        if (s->vm.ports[i].process && !s->backends[i].severed &&
            backend_process_start(&s->backends[i], &s->process, &s->vm.settings[i], &s->vm.policy,
                                  err) < 0)
            return -1;
    }
    return 0;
}

static bool is_alive(const struct backend_process *backend)
{
    return backend->phase == BACKEND_STARTING || backend->phase == BACKEND_UP;
}

void backends_watch(const struct supervisor *s, struct pollfd *fds)
{
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        const struct backend_process *backend = &s->backends[i];
        bool alive = is_alive(backend);
        fds[WATCH_BACKENDS + 2 * i] =
            (struct pollfd){.fd = alive ? backend->pidfd : -1, .events = POLLIN};
        fds[WATCH_BACKENDS + 2 * i + 1] =
            (struct pollfd){.fd = alive ? backend->channel : -1, .events = POLLIN};
    }
}

// The last records of a process, before its ring goes away. What it wrote may be nonsense: it is
// dead already.
static void drain_last_records(struct supervisor *s, struct backend_process *backend)
{
    struct error err;
    if (!backend->audit.ring.header)
        return;
    if (audit_log_take_all(&s->audit, &backend->audit, RECORDER_NS, &err) < 0 && err.code &&
        !s->ended) {
        s->error = err; // the log itself
        supervisor_fail(s, RUN_ISOLATED);
    }
}

// The process is gone. The VMM has to let go of the shared memory before anything else.
static void take_death(struct supervisor *s, struct backend_process *backend)
{
    enum audit_backend_event cause = backend->cause ? backend->cause : AUDIT_BACKEND_DIED;
    backend_process_reap(backend);
    drain_last_records(s, backend);
    backend_process_close_audit(backend);
    backend->phase = BACKEND_ENDED;
    record(s, backend, cause);
    if (s->ended || supervisor_is_stopping(s))
        return;
    supervisor_order(s, backend->port, VMM_PORT_ACTION_BACKEND_DOWN);
    if (s->port_closed[backend->port])
        return; // it was killed on order
    fprintf(stderr, "guillotine: port %s: the backend process %s\n", name_of(s, backend),
            cause == AUDIT_BACKEND_HUNG     ? "did not answer in time and was killed"
            : cause == AUDIT_BACKEND_BROKEN ? "broke its protocol and was killed"
                                            : "died");
}

static void wait_for_restart(struct backend_process *backend)
{
    backend->phase = BACKEND_WAITING;
    backend->start_ns = clock_now_ns(&clock_host) + backend->delay_ms * NS_PER_MS;
    backend->delay_ms = backend->delay_ms * 2 < DELAY_MAX_MS ? backend->delay_ms * 2 : DELAY_MAX_MS;
}

// A lying process is not asked again; one that crashed or hung is, as often as the VM file says.
void backends_take_done(struct supervisor *s, const struct vmm_port_order *order)
{
    struct backend_process *backend = &s->backends[order->port];
    if (order->action != VMM_PORT_ACTION_BACKEND_DOWN || backend->phase != BACKEND_ENDED)
        return;
    bool severed = backend->severed;
    backend->severed = false;
    if (s->port_closed[order->port]) {
        backend->phase = BACKEND_CLOSED;
        return;
    }
    if (severed) {
        backend->cause = 0;
        backend->phase = BACKEND_WAITING;
        backend->restarts--; // not a failure: restart() counts it
        backend->start_ns = 0;
        return;
    }
    if (backend->cause == AUDIT_BACKEND_BROKEN ||
        backend->restarts >= s->vm.restarts[order->port].max) {
        backend->phase = BACKEND_GIVEN_UP;
        record(s, backend, AUDIT_BACKEND_GIVEN_UP);
        fprintf(stderr, "guillotine: port %s: down for good\n", name_of(s, backend));
        return;
    }
    wait_for_restart(backend);
}

void backends_close(struct supervisor *s, unsigned port)
{
    backend_process_kill(&s->backends[port], AUDIT_BACKEND_CLOSED);
}

void backends_open(struct supervisor *s, unsigned port)
{
    struct backend_process *backend = &s->backends[port];
    if (backend->phase != BACKEND_CLOSED)
        return;
    backend->phase = BACKEND_WAITING;
    backend->restarts--; // not a failure: restart() counts it
    backend->start_ns = 0;
}

void backends_take_event(struct supervisor *s, const struct vmm_port_event *event)
{
    if (event->event == VMM_PORT_EVENT_ESCALATED) {
        approvals_take_escalation(s, event);
        return;
    }
    bool known = event->event == VMM_PORT_EVENT_HUNG || event->event == VMM_PORT_EVENT_BROKEN;
    if (!known || event->port >= s->vm.port_count || !s->vm.ports[event->port].process) {
        supervisor_lie(s, "the VMM reports a backend that there is not");
        return;
    }
    backend_process_kill(&s->backends[event->port], event->event == VMM_PORT_EVENT_HUNG
                                                        ? AUDIT_BACKEND_HUNG
                                                        : AUDIT_BACKEND_BROKEN);
}

static void take_message(struct supervisor *s, struct backend_process *backend)
{
    union {
        struct vmm_message message;
        struct vmm_failed failed;
    } buffer;
    size_t fd_count = 0;
    struct error err;
    ssize_t length =
        fd_message_receive(backend->channel, &buffer, sizeof(buffer), NULL, &fd_count, &err);
    if (length < 0 && err.code == EAGAIN)
        return;
    uint32_t type = length > 0 ? vmm_message_check(&buffer.message, (uint64_t)length) : 0;
    if (type == BACKEND_MESSAGE_READY && backend->phase == BACKEND_STARTING) {
        backend->phase = BACKEND_UP;
        record(s, backend, AUDIT_BACKEND_UP);
        serve_announce(s, backend->port);
        supervisor_order(s, backend->port, VMM_PORT_ACTION_BACKEND_UP);
        return;
    }
    if (type == BACKEND_MESSAGE_FAILED && (size_t)length == sizeof(buffer.failed) &&
        !backend->restarts && backend->phase == BACKEND_STARTING && !s->ended) {
        // The first start of all: the launch fails, as it would for any part of the VM.
        buffer.failed.text[sizeof(buffer.failed.text) - 1] = '\0';
        error_set(&s->error, EXIT_STATUS_RESOURCES, 0, "backend of port %s: %s",
                  name_of(s, backend), buffer.failed.text);
        supervisor_fail(s, RUN_FAILED);
        return;
    }
    if (type == BACKEND_MESSAGE_FAILED && (size_t)length == sizeof(buffer.failed)) {
        char text[512];
        buffer.failed.text[sizeof(buffer.failed.text) - 1] = '\0';
        escape_line(text, sizeof(text), buffer.failed.text, strlen(buffer.failed.text));
        fprintf(stderr, "guillotine: port %s: the backend process cannot %s: %s\n",
                name_of(s, backend), backend->phase == BACKEND_UP ? "go on" : "start", text);
    }
    backend_process_kill(backend, length > 0 && type != BACKEND_MESSAGE_FAILED
                                      ? AUDIT_BACKEND_BROKEN
                                      : AUDIT_BACKEND_DIED);
}

static void restart(struct supervisor *s, struct backend_process *backend)
{
    struct error err;
    backend->restarts++;
    if (backend_process_start(backend, &s->process, &s->vm.settings[backend->port], &s->vm.policy,
                              &err) == 0)
        return;
    fprintf(stderr, "guillotine: %s\n", err.text);
    if (backend->restarts < s->vm.restarts[backend->port].max) {
        wait_for_restart(backend); // a shortage may pass
        return;
    }
    backend->phase = BACKEND_GIVEN_UP;
    record(s, backend, AUDIT_BACKEND_GIVEN_UP);
}

void backends_serve(struct supervisor *s, const struct pollfd *fds)
{
    // What poll saw may be over: whatever was served since can have ended the process.
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        if (fds[WATCH_BACKENDS + 2 * i + 1].revents && is_alive(backend))
            take_message(s, backend);
        if (fds[WATCH_BACKENDS + 2 * i].revents && is_alive(backend))
            take_death(s, backend);
        uint64_t now_ns = clock_now_ns(&clock_host);
        if (backend->phase == BACKEND_WAITING && !supervisor_is_stopping(s) && !s->port_closed[i] &&
            now_ns >= backend->start_ns)
            restart(s, backend);
        if (backend->phase == BACKEND_STARTING && now_ns >= backend->start_deadline_ns)
            backend_process_kill(backend, AUDIT_BACKEND_HUNG);
    }
}

void backends_wake(const struct supervisor *s, unsigned port)
{
    uint64_t one = 1;
    if (!s->vm.ports[port].process)
        return;
    ssize_t ignored = write(s->process.ports[port][VMM_PORT_FD_BACKEND_WAKE], &one, sizeof(one));
    (void)ignored;
}

void backends_drain_audit(struct supervisor *s)
{
    struct error err;
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        bool wake = false;
        if (!backend->audit.ring.header)
            continue;
        if (audit_log_take(&s->audit, &backend->audit, &wake, &err) < 0) {
            if (err.code) { // the log itself: nothing may go on without it
                s->error = err;
                supervisor_fail(s, RUN_ISOLATED);
                return;
            }
            backend_process_kill(backend, AUDIT_BACKEND_BROKEN);
        }
        if (wake)
            backends_wake(s, i);
    }
}

uint64_t backends_deadline_ns(const struct supervisor *s)
{
    uint64_t deadline_ns = UINT64_MAX;
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        const struct backend_process *backend = &s->backends[i];
        if (backend->phase == BACKEND_WAITING && !s->port_closed[i] &&
            backend->start_ns < deadline_ns)
            deadline_ns = backend->start_ns;
        if (backend->phase == BACKEND_STARTING && backend->start_deadline_ns < deadline_ns)
            deadline_ns = backend->start_deadline_ns;
    }
    return deadline_ns;
}

void backends_kill_all(struct supervisor *s)
{
    // All at once, before any is waited for; last the one that has clients to tell.
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (s->vm.ports[i].kind != VMM_PORT_SERVE)
            backend_process_kill(&s->backends[i], 0);
    }
    serve_say_farewell(s);
    for (unsigned i = 0; i < s->vm.port_count; i++)
        backend_process_kill(&s->backends[i], 0);
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        backend_process_reap(backend);
        if (s->audit.opened)
            drain_last_records(s, backend);
        backend_process_close_audit(backend);
        if (backend->phase != BACKEND_NONE && backend->phase != BACKEND_GIVEN_UP) {
            backend->severed = true;
            backend->phase = BACKEND_GIVEN_UP;
        }
    }
}

void backends_revive(struct supervisor *s)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        if (!backend->severed)
            continue;
        // As after a death: the VMM lets go of the shared memory first.
        backend->phase = BACKEND_ENDED;
        supervisor_order(s, i, VMM_PORT_ACTION_BACKEND_DOWN);
    }
}
