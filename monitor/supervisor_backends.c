// SPDX-License-Identifier: Apache-2.0
// The supervisor's care for backend processes: start, death, restart.
//
// A process that died is replaced only after the VMM has said that it let go of the memory that
// both shared: then the queue is empty and no old reply can be taken for a new one.
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "backend_protocol.h"
#include "fd_message.h"
#include "supervisor_internal.h"

#define DELAY_MAX_MS 10000u

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
        if (s->vm.ports[i].process && backend_process_start(&s->backends[i], &s->process, err) < 0)
            return -1;
    }
    return 0;
}

void backends_watch(const struct supervisor *s, struct pollfd *fds)
{
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        const struct backend_process *backend = &s->backends[i];
        bool alive = backend->phase == BACKEND_STARTING || backend->phase == BACKEND_UP;
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
    bool wake = false;
    struct error err;
    audit_log_take(&s->audit, &backend->audit, &wake, &err);
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
    if (s->ended || s->stopping)
        return;
    fprintf(stderr, "guillotine: port %s: the backend process %s\n", name_of(s, backend),
            cause == AUDIT_BACKEND_HUNG     ? "did not answer in time and was killed"
            : cause == AUDIT_BACKEND_BROKEN ? "broke its protocol and was killed"
                                            : "died");
    supervisor_order(s, backend->port, VMM_PORT_ACTION_BACKEND_DOWN);
}

// A lying process is not asked again; one that crashed or hung is, as often as the VM file says.
void backends_take_done(struct supervisor *s, const struct vmm_port_order *order)
{
    struct backend_process *backend = &s->backends[order->port];
    if (order->action != VMM_PORT_ACTION_BACKEND_DOWN || backend->phase != BACKEND_ENDED)
        return;
    if (backend->cause == AUDIT_BACKEND_BROKEN ||
        backend->restarts >= s->vm.restarts[order->port].max) {
        backend->phase = BACKEND_GIVEN_UP;
        record(s, backend, AUDIT_BACKEND_GIVEN_UP);
        fprintf(stderr, "guillotine: port %s: down for good\n", name_of(s, backend));
        return;
    }
    backend->phase = BACKEND_WAITING;
    backend->start_ns = clock_now_ns(&clock_host) + backend->delay_ms * NS_PER_MS;
    backend->delay_ms = backend->delay_ms * 2 < DELAY_MAX_MS ? backend->delay_ms * 2 : DELAY_MAX_MS;
}

void backends_take_event(struct supervisor *s, const struct vmm_port_event *event)
{
    // A VMM that accuses a backend of another port, or none, only harms itself.
    if (event->port >= s->vm.port_count)
        return;
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
    backend_process_kill(backend, length > 0 && type != BACKEND_MESSAGE_FAILED
                                      ? AUDIT_BACKEND_BROKEN
                                      : AUDIT_BACKEND_DIED);
}

static void restart(struct supervisor *s, struct backend_process *backend)
{
    struct error err;
    backend->restarts++;
    if (backend_process_start(backend, &s->process, &err) == 0)
        return;
    fprintf(stderr, "guillotine: %s\n", err.text);
    backend->phase = BACKEND_GIVEN_UP;
    record(s, backend, AUDIT_BACKEND_GIVEN_UP);
}

void backends_serve(struct supervisor *s, const struct pollfd *fds)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        if (fds[WATCH_BACKENDS + 2 * i + 1].revents)
            take_message(s, backend);
        if (fds[WATCH_BACKENDS + 2 * i].revents)
            take_death(s, backend);
        if (backend->phase == BACKEND_WAITING && !s->stopping &&
            clock_now_ns(&clock_host) >= backend->start_ns)
            restart(s, backend);
    }
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
        if (wake) {
            uint64_t one = 1;
            ssize_t ignored =
                write(s->process.ports[i][VMM_PORT_FD_BACKEND_WAKE], &one, sizeof(one));
            (void)ignored;
        }
    }
}

uint64_t backends_deadline_ns(const struct supervisor *s)
{
    uint64_t deadline_ns = UINT64_MAX;
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (s->backends[i].phase == BACKEND_WAITING && s->backends[i].start_ns < deadline_ns)
            deadline_ns = s->backends[i].start_ns;
    }
    return deadline_ns;
}

void backends_kill_all(struct supervisor *s)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct backend_process *backend = &s->backends[i];
        backend_process_reap(backend);
        if (backend->audit.ring.header && s->audit.fd >= 0)
            drain_last_records(s, backend);
        backend_process_close_audit(backend);
        if (backend->phase != BACKEND_NONE)
            backend->phase = BACKEND_GIVEN_UP;
    }
}
