// SPDX-License-Identifier: Apache-2.0
// The supervisor of one VM: one thread, one poll loop.
#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd_message.h"
#include "placement.h"
#include "violation.h"

// From the request to stop until the VMM is killed (DESIGN.md section 3).
#define STOP_GRACE_NS (100 * NS_PER_MS)

// How long a reader of our output may take for the last bytes once the VM has ended.
#define DRAIN_MS 2000

enum watched {
    WATCH_CHANNEL,
    WATCH_PROCESS,
    WATCH_WAKE,
    WATCH_SIGNALS,
    WATCH_CONTROL,
    WATCH_INPUT,
    WATCH_OUTPUT,
    WATCH_CLIENTS,
    WATCH_COUNT = WATCH_CLIENTS + CONTROL_MAX_CLIENTS,
};

static int raise_wake(int fd)
{
    uint64_t one = 1;
    return write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one) ? 0 : -1;
}

// The supervisor's own level, and the record of it. Levels only rise here.
static void raise_level(struct supervisor *s, enum level level)
{
    struct error err;
    if (atomic_load(&s->process.level_own->level) >= level)
        return;
    atomic_store(&s->process.level_own->level, level);
    const struct audit_record record = {
        .type = AUDIT_LEVEL,
        .port = AUDIT_NO_PORT,
        .level = (uint16_t)level,
        .detail = level,
    };
    audit_log_append(&s->audit, &record, &err);
}

static void go_offline(struct supervisor *s)
{
    raise_level(s, LEVEL_OFFLINE);
}

static void fail(struct supervisor *s, enum run_outcome outcome)
{
    if (!s->ended)
        s->outcome = outcome;
    s->ended = true;
    if (outcome == RUN_ISOLATED)
        go_offline(s);
}

// Raises the level for everybody at once, then asks the VMM to end. Used by every path that stops
// a run: whatever the VMM does, no port carries a byte any more.
static void stop(struct supervisor *s, enum level level)
{
    struct vmm_message message;
    struct error err;
    raise_level(s, level);
    if (s->stopping)
        return;
    s->stopping = true;
    s->stop_deadline_ns = clock_now_ns(&clock_host) + STOP_GRACE_NS;
    vmm_message_init(&message, VMM_MESSAGE_STOP, sizeof(message));
    if (fd_message_send(s->process.channel, &message, sizeof(message), NULL, 0, &err) < 0)
        s->stop_deadline_ns = 0;
}

static void take_ready(struct supervisor *s, const struct vmm_ready *ready)
{
    s->ready = true;
    s->ready_message = *ready;
    static const struct {
        uint32_t layer;
        const char *name;
    } layers[] = {
        {VMM_LAYER_MOUNT_VIEW, " empty file system"},
        {VMM_LAYER_CAPABILITIES, " dropped capabilities"},
        {VMM_LAYER_IDENTITY, " unprivileged identity"},
        {VMM_LAYER_MSR_FILTER, " MSR filter"},
        {VMM_LAYER_PINNING, " pinning"},
    };
    if (ready->missing_layers) {
        fprintf(stderr, "guillotine: note: this host denies layers of isolation:");
        for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++)
            fputs(ready->missing_layers & layers[i].layer ? layers[i].name : "", stderr);
        fputc('\n', stderr);
    }
    placement_leave_model_cores(&s->vm, s->process.pid);
}

static void take_end(struct supervisor *s, const struct vmm_end *end)
{
    if (s->ended)
        return; // what was found before stands
    s->end = *end;
    s->ended = true;
    if (end->kind != VMM_END_EXIT && end->kind != VMM_END_STOPPED)
        go_offline(s);
    switch (end->kind) {
    case VMM_END_EXIT:
        s->outcome = RUN_EXITED;
        break;
    case VMM_END_VIOLATION:
        // A cell whose memory vanished did nothing wrong; it is Offline all the same.
        s->outcome = end->violation == VIOLATION_BACKING_LOST ? RUN_ISOLATED : RUN_VIOLATION;
        if (s->outcome == RUN_ISOLATED)
            error_set(&s->error, EXIT_STATUS_ISOLATED, 0,
                      "a file or memory behind the cell vanished while it ran (was a weights file "
                      "truncated?): stopped");
        break;
    case VMM_END_STOPPED:
        s->outcome = RUN_STOPPED;
        break;
    default:
        s->outcome = RUN_FAILED;
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0, "the VMM reported a fault of its own");
        break;
    }
    // Both would be true: the model's last act counts only if nobody had stopped it before.
    if (s->stopping && s->outcome == RUN_EXITED)
        s->outcome = RUN_STOPPED;
}

static void take_failed(struct supervisor *s, struct vmm_failed *failed)
{
    static const char image[] = "image: ";
    failed->text[sizeof(failed->text) - 1] = '\0';
    // The VMM knows the image only as a descriptor. The text is escaped when it is printed.
    if (!strncmp(failed->text, image, sizeof(image) - 1))
        error_set(&s->error, (enum exit_status)failed->status, 0, "image %s: %s", s->vm.image,
                  failed->text + sizeof(image) - 1);
    else
        error_set(&s->error, (enum exit_status)failed->status, 0, "%s", failed->text);
    switch (failed->status) {
    case EXIT_STATUS_BAD_FILE:
    case EXIT_STATUS_NO_KVM:
    case EXIT_STATUS_RESOURCES:
    case EXIT_STATUS_HOST_REFUSED:
        break;
    default:
        s->error.status = EXIT_STATUS_INTERNAL;
        break;
    }
    fail(s, RUN_FAILED);
}

// Answers the clients that asked for the status.
static void answer_status(struct supervisor *s, const struct vmm_status *status)
{
    char text[CONTROL_ANSWER_MAX];
    uint64_t uptime_ms = (clock_now_ns(&clock_host) - s->started_ns) / NS_PER_MS;
    uint32_t count = status->port_count < s->vm.port_count ? status->port_count : s->vm.port_count;
    size_t used = (size_t)snprintf(
        text, sizeof(text),
        "{\"format\":\"" CONTROL_FORMAT "\",\"name\":\"%s\",\"pid\":%d,\"vmm_pid\":%d,"
        "\"level\":\"%s\",\"vcpus\":%u,\"uptime_ms\":%llu,\"exits\":%llu,\"ports\":[",
        s->vm.name, getpid(), s->process.pid, level_name(status->level),
        s->vm.vcpus ? s->vm.vcpus : 1, (unsigned long long)uptime_ms,
        (unsigned long long)status->exits);
    for (unsigned i = 0; i < count && used < sizeof(text); i++) {
        const struct vmm_port_status *port = &status->ports[i];
        used += (size_t)snprintf(
            text + used, sizeof(text) - used,
            "%s{\"name\":\"%s\",\"state\":\"%s\",\"requests\":%llu,\"completions\":%llu,"
            "\"denied\":%llu,\"bytes_in\":%llu,\"bytes_out\":%llu,\"anomalies\":%u}",
            i ? "," : "", s->vm.ports[i].name, port->closed ? "closed" : "open",
            (unsigned long long)port->requests, (unsigned long long)port->completions,
            (unsigned long long)port->denied, (unsigned long long)port->bytes_in,
            (unsigned long long)port->bytes_out, port->anomalies);
    }
    if (used < sizeof(text))
        snprintf(text + used, sizeof(text) - used, "]}");
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        if (s->status_pending[i] && s->control.clients[i].fd >= 0)
            control_client_answer(&s->control.clients[i], text);
        s->status_pending[i] = false;
    }
}

static void serve_channel(struct supervisor *s)
{
    union {
        struct vmm_message message;
        struct vmm_ready ready;
        struct vmm_end end;
        struct vmm_failed failed;
        struct vmm_status status;
    } buffer;
    size_t fd_count = 0;
    struct error err;
    memset(&buffer, 0, sizeof(buffer));
    ssize_t length =
        fd_message_receive(s->process.channel, &buffer, sizeof(buffer), NULL, &fd_count, &err);
    uint64_t size = length > 0 ? (uint64_t)length : 0;
    uint32_t type = size ? vmm_message_check(&buffer.message, size) : 0;
    if (length < 0 && err.code == EAGAIN)
        return;
    if (type == VMM_MESSAGE_READY && size == sizeof(buffer.ready) && !s->ready) {
        take_ready(s, &buffer.ready);
    } else if (type == VMM_MESSAGE_END && size == sizeof(buffer.end)) {
        take_end(s, &buffer.end);
    } else if (type == VMM_MESSAGE_FAILED && size == sizeof(buffer.failed) && !s->ready) {
        take_failed(s, &buffer.failed);
    } else if (type == VMM_MESSAGE_STATUS_REPLY && size == sizeof(buffer.status)) {
        s->status_asked = false;
        answer_status(s, &buffer.status);
    } else if (!s->ended) {
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0,
                  length > 0 ? "the VMM sent a message that is not of the protocol"
                             : "the VMM ended without a report");
        fail(s, s->ready ? RUN_ISOLATED : RUN_FAILED);
    }
}

static void serve_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (!s->stop_signal)
        s->stop_signal = (int)info.ssi_signo;
    stop(s, LEVEL_OFFLINE);
}

static void serve_clients(struct supervisor *s, const struct pollfd *fds)
{
    struct vmm_message message;
    struct error err;
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd < 0 || !fds[WATCH_CLIENTS + i].revents ||
            fds[WATCH_CLIENTS + i].fd != client->fd)
            continue;
        switch (control_client_read(client)) {
        case CONTROL_STATUS:
            s->status_pending[i] = true;
            // One question at a time: the answer serves everybody who asked meanwhile.
            if (s->status_asked)
                break;
            vmm_message_init(&message, VMM_MESSAGE_STATUS, sizeof(message));
            s->status_asked = s->ready;
            if (!s->ready ||
                fd_message_send(s->process.channel, &message, sizeof(message), NULL, 0, &err) < 0) {
                // Nothing is known of the VMM; the level is the supervisor's own at least.
                s->status_asked = false;
                answer_status(s,
                              &(struct vmm_status){.level = level_effective(s->process.level_own,
                                                                            s->process.level_vmm)});
            }
            break;
        case CONTROL_STOP:
            control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"stopping\":true}");
            stop(s, LEVEL_OFFLINE);
            break;
        case CONTROL_BAD:
            control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT
                                          "\",\"error\":\"unknown request\"}");
            break;
        case CONTROL_NONE:
        default:
            break;
        }
    }
}

// The VMM says something impossible: it has fallen.
static void lie(struct supervisor *s, const char *text)
{
    if (s->ended)
        return;
    error_set(&s->error, EXIT_STATUS_ISOLATED, 0, "%s", text);
    fail(s, RUN_ISOLATED);
}

static void drain_audit(struct supervisor *s)
{
    bool wake = false;
    struct error err;
    if (audit_log_take(&s->audit, &s->audit_ring, &wake, &err) < 0 && !s->ended) {
        // A log that cannot be written, or a VMM that lies in it: Offline.
        s->error = err;
        fail(s, RUN_ISOLATED);
    }
    if (wake)
        raise_wake(s->process.wake_vmm);
}

static void serve_output(struct supervisor *s)
{
    bool wake = false;
    struct error err;
    if (console_relay_write(&s->console, &wake, &err) < 0) {
        if (err.code == EPIPE) {
            // Nobody reads any more: end as any program in a pipe does.
            s->stop_signal = s->stop_signal ? s->stop_signal : SIGPIPE;
        } else if (!s->ended) {
            s->error = err;
            s->error.status = EXIT_STATUS_ISOLATED;
            fail(s, RUN_ISOLATED);
        }
        stop(s, LEVEL_OFFLINE);
    }
    if (wake)
        raise_wake(s->process.wake_vmm);
}

static void serve_input(struct supervisor *s)
{
    bool wake = false;
    console_relay_read(&s->console, &wake);
    if (wake)
        raise_wake(s->process.wake_vmm);
}

static void drain_wake(struct supervisor *s)
{
    uint64_t value;
    ssize_t ignored = read(s->process.wake_supervisor, &value, sizeof(value));
    (void)ignored;
}

static void fill_watch(struct supervisor *s, struct pollfd *fds)
{
    const struct pollfd fixed[] = {
        [WATCH_CHANNEL] = {.fd = s->process.channel, .events = POLLIN},
        [WATCH_PROCESS] = {.fd = s->process.pidfd, .events = POLLIN},
        [WATCH_WAKE] = {.fd = s->process.wake_supervisor, .events = POLLIN},
        [WATCH_SIGNALS] = {.fd = s->signals, .events = POLLIN},
        [WATCH_CONTROL] = {.fd = s->control.fd, .events = POLLIN},
        [WATCH_INPUT] = {.fd = -1},
        [WATCH_OUTPUT] = {.fd = -1},
    };
    memcpy(fds, fixed, sizeof(fixed));
    if (s->has_console && console_relay_wants_input(&s->console))
        fds[WATCH_INPUT] = (struct pollfd){.fd = s->console.input_fd, .events = POLLIN};
    if (s->has_console && console_relay_has_output(&s->console))
        fds[WATCH_OUTPUT] = (struct pollfd){.fd = s->console.output_fd, .events = POLLOUT};
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
        fds[WATCH_CLIENTS + i] = (struct pollfd){.fd = s->control.clients[i].fd, .events = POLLIN};
}

// Milliseconds until something has to happen without an event, or -1.
static int poll_timeout(struct supervisor *s)
{
    // Asks the VMM for a wake-up; what came in meanwhile is served without sleeping.
    bool data = shared_ring_wait_data(&s->audit_ring);
    // Output that waits for its reader needs no wake-up from the VMM, only POLLOUT.
    if (s->has_console && !console_relay_has_output(&s->console) &&
        shared_ring_wait_data(&s->console.output))
        data = true;
    if (data)
        return 0;
    if (!s->stopping)
        return -1;
    uint64_t now = clock_now_ns(&clock_host);
    return now >= s->stop_deadline_ns ? 0 : (int)((s->stop_deadline_ns - now) / NS_PER_MS) + 1;
}

static void loop(struct supervisor *s)
{
    struct pollfd fds[WATCH_COUNT];
    while (!s->ended) {
        int timeout = poll_timeout(s);
        fill_watch(s, fds);
        if (poll(fds, WATCH_COUNT, timeout) < 0 && errno != EINTR) {
            error_set(&s->error, EXIT_STATUS_INTERNAL, errno, "poll");
            fail(s, RUN_FAILED);
            return;
        }
        if (fds[WATCH_SIGNALS].revents)
            serve_signals(s);
        if (fds[WATCH_WAKE].revents)
            drain_wake(s);
        drain_audit(s);
        if (s->has_console && shared_ring_available(&s->console.output) == UINT64_MAX)
            lie(s, "console ring: the VMM's index is impossible");
        if (fds[WATCH_OUTPUT].revents)
            serve_output(s);
        if (fds[WATCH_INPUT].revents)
            serve_input(s);
        if (fds[WATCH_CHANNEL].revents)
            serve_channel(s);
        else if (fds[WATCH_PROCESS].revents && !s->ended) {
            error_set(&s->error, EXIT_STATUS_INTERNAL, 0, "the VMM ended without a report");
            fail(s, s->ready ? RUN_ISOLATED : RUN_FAILED);
        }
        serve_clients(s, fds);
        if (fds[WATCH_CONTROL].revents) {
            int place = control_server_accept(&s->control);
            if (place >= 0)
                s->status_pending[place] = false;
        }
        if (s->stopping && !s->ended && clock_now_ns(&clock_host) >= s->stop_deadline_ns) {
            // It did not confirm in time: vmm_process_end kills it.
            s->outcome = RUN_STOPPED;
            s->ended = true;
        }
    }
}

static int map_rings(struct supervisor *s, struct error *err)
{
    if (shared_ring_map(&s->audit_ring, s->process.audit_ring, VMM_AUDIT_RING_BYTES, err) < 0)
        return -1;
    console_relay_init(&s->console, STDIN_FILENO, STDOUT_FILENO);
    if (shared_ring_map(&s->console.output, s->process.console_out, VMM_CONSOLE_RING_BYTES, err) <
        0)
        return -1;
    return shared_ring_map(&s->console.input, s->process.console_in, VMM_CONSOLE_RING_BYTES, err);
}

static int start(struct supervisor *s, const char *runtime_dir, const char *audit_path,
                 struct error *err)
{
    sigset_t set;
    if (vmm_process_prepare(&s->process, err) < 0 || map_rings(s, err) < 0 ||
        vmm_process_configure(&s->process, &s->vm, err) < 0)
        return -1;
    // Everything below happens while the VMM builds the VM.
    for (unsigned i = 0; i < s->vm.port_count; i++)
        s->has_console = s->has_console || s->vm.ports[i].kind == VMM_PORT_CONSOLE;
    if (control_server_open(&s->control, runtime_dir, s->vm.name, err) < 0 ||
        audit_log_open(&s->audit, audit_path, &clock_host, err) < 0)
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "signalfd");
    s->audit.ports = s->vm.port_count;
    const struct audit_record record = {.type = AUDIT_START, .port = AUDIT_NO_PORT};
    return audit_log_append(&s->audit, &record, err);
}

// The last records: what the VMM still had in its ring, the violation, the end.
static void close_audit(struct supervisor *s)
{
    bool wake = false;
    struct error err;
    if (s->audit.fd < 0)
        return;
    bool whole = true;
    if (s->audit_ring.header && audit_log_take(&s->audit, &s->audit_ring, &wake, &err) < 0)
        whole = false;
    if (s->outcome == RUN_VIOLATION) {
        const struct audit_record violation = {
            .type = AUDIT_VIOLATION,
            .port = AUDIT_NO_PORT,
            .argument = s->end.address,
            .detail = s->end.violation,
        };
        audit_log_append(&s->audit, &violation, &err);
    }
    const struct audit_record end = {
        .type = AUDIT_END,
        .port = AUDIT_NO_PORT,
        .argument = s->end.exit_value,
        .detail = s->outcome,
    };
    audit_log_append(&s->audit, &end, &err);
    if (audit_log_flush(&s->audit, &err) < 0)
        whole = false;
    if (!whole && s->outcome != RUN_FAILED && s->outcome != RUN_ISOLATED) {
        s->error = err;
        s->outcome = RUN_ISOLATED;
    }
    audit_log_close(&s->audit);
}

void supervisor_run(struct supervisor *s, const char *runtime_dir, const char *audit_path)
{
    s->signals = -1;
    s->audit.fd = -1;
    s->control.fd = s->control.lock = -1;
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
        s->control.clients[i].fd = -1;
    s->started_ns = clock_now_ns(&clock_host);
    if (start(s, runtime_dir, audit_path, &s->error) < 0)
        s->outcome = RUN_FAILED;
    else
        loop(s);
    vmm_process_end(&s->process);
    if (s->has_console && s->console.output.header && s->outcome != RUN_FAILED)
        console_relay_drain(&s->console, s->stopping ? 0 : DRAIN_MS);
    close_audit(s);
    control_server_close(&s->control);
    if (s->signals >= 0)
        close(s->signals);
    shared_ring_unmap(&s->audit_ring);
    shared_ring_unmap(&s->console.output);
    shared_ring_unmap(&s->console.input);
}

void supervisor_free(struct supervisor *s)
{
    vm_description_free(&s->vm);
}
