// SPDX-License-Identifier: Apache-2.0
// The supervisor of one VM: one thread, one poll loop.

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
#include "port_seeds.h"
#include "supervisor_internal.h"
#include "violation.h"

// From an order about a port to the VMM's confirmation: two passes of a poller, 100 ms at most
// each.
#define ORDER_NS (500 * NS_PER_MS)

// A VMM that has fallen can empty the eventfd that wakes us: audit rings are looked at all the
// same.
#define POLL_MAX_MS 1000

// For the recorder at the end: reading a long log, and a slow disk.
#define RECORDER_NS (60 * NS_PER_S)

// Operations of the console (ports/port_abi.h).
#define OPERATION_WRITE 1u
#define OPERATION_READ  2u

// How long a reader of our output may take for the last bytes once the VM has ended.
#define DRAIN_MS 2000

void supervisor_record(struct supervisor *s, const struct audit_record *record)
{
    struct error err;
    if (audit_log_append(&s->audit, record, &err) < 0) {
        // A log that cannot be written: Offline.
        s->error = err;
        supervisor_fail(s, RUN_ISOLATED);
    }
}

bool supervisor_hears_an_end(const struct error *err)
{
    return err->code == EPIPE || err->code == ECONNRESET;
}

uint32_t supervisor_order(struct supervisor *s, unsigned port, enum vmm_port_action action)
{
    struct error err;
    struct vmm_port_order order = {.port = port, .action = action};
    // Never 0, which stands for no order.
    if (!++s->order_number)
        s->order_number = 1;
    order.number = s->order_number;
    vmm_message_init(&order.message, VMM_MESSAGE_PORT_ORDER, sizeof(order));
    if (fd_message_send(s->process.channel, &order, sizeof(order), NULL, 0, &err) < 0 &&
        !supervisor_hears_an_end(&err)) {
        supervisor_lie(s, "the VMM takes no orders any more");
        return 0;
    }
    s->orders_open++;
    s->order_deadline_ns = clock_now_ns(&clock_host) + ORDER_NS;
    return order.number;
}

bool supervisor_carries(const struct supervisor *s, unsigned port, unsigned operation)
{
    unsigned highest = s->vm.ports[port].closed_at_probation ? LEVEL_STANDARD : LEVEL_PROBATION;
    return !s->port_closed[port] && (s->vm.ports[port].operations >> operation & 1) &&
           level_gate_up_to(s->process.level_own, s->process.level_vmm, highest) != LEVEL_GATE_SHUT;
}

bool supervisor_account(struct supervisor *s, unsigned port, unsigned operation, uint64_t bytes)
{
    const struct vmm_port_config *config = &s->vm.ports[port];
    s->relayed_bytes[port] += bytes;
    return (config->operations >> operation & 1) &&
           (!config->limits.bytes_total || s->relayed_bytes[port] <= config->limits.bytes_total);
}

static void go_offline(struct supervisor *s)
{
    supervisor_set_level(s, LEVEL_ACTOR_HYPERVISOR, LEVEL_OFFLINE);
}

void supervisor_fail(struct supervisor *s, enum run_outcome outcome)
{
    if (!s->ended)
        s->outcome = outcome;
    s->ended = true;
    if (outcome == RUN_ISOLATED)
        go_offline(s);
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
    placement_leave_model_cores(&s->process.config, 0);
    placement_leave_model_cores(&s->process.config, s->process.pid);
    placement_leave_model_cores(&s->process.config, s->audit.pid);
    levels_take_ready(s);
    keeper_take_ready(s);
    // Orders that came before it could take any.
    s->order_deadline_ns = clock_now_ns(&clock_host) + ORDER_NS;
}

// Whatever the VMM has said before it could have been a model's words.
static bool has_said_something(const struct supervisor *s)
{
    bool said = false;
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        said = said || s->audit_rings[i].next;
    return said;
}

void supervisor_fail_silent(struct supervisor *s)
{
    supervisor_fail(s, s->ready ? RUN_ISOLATED : RUN_FAILED);
    go_offline(s);
}

static void take_end(struct supervisor *s, const struct vmm_end *end)
{
    if (s->ended)
        return; // what was found before stands
    s->end = *end;
    s->ended = true;
    if (end->kind != VMM_END_EXIT && end->kind != VMM_END_STOPPED && end->kind != VMM_END_REBOOT)
        go_offline(s);
    switch (end->kind) {
    case VMM_END_EXIT:
    case VMM_END_REBOOT:
        s->outcome = RUN_EXITED;
        s->rebooted = end->kind == VMM_END_REBOOT;
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
    case VMM_END_WATCHDOG:
        heartbeats_take_end(s, end->violation);
        break;
    default:
        s->outcome = RUN_FAILED;
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0, "the VMM reported a fault of its own");
        break;
    }
    // Both would be true: the model's last act counts only if nobody had stopped it before.
    if (supervisor_is_stopping(s) && s->outcome == RUN_EXITED)
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
    supervisor_fail(s, RUN_FAILED);
    if (has_said_something(s))
        go_offline(s);
}

static void serve_channel(struct supervisor *s)
{
    union {
        struct vmm_message message;
        struct vmm_ready ready;
        struct vmm_end end;
        struct vmm_failed failed;
        struct vmm_status status;
        struct vmm_port_order order;
        struct vmm_port_event event;
        struct vmm_level level;
        struct vmm_beat beat;
        struct vmm_policy policy;
    } buffer;
    size_t fd_count = 0;
    struct error err;
    memset(&buffer, 0, sizeof(buffer));
    ssize_t length =
        fd_message_receive(s->process.channel, &buffer, sizeof(buffer), NULL, &fd_count, &err);
    // It left without reading what we had sent. What it said before is still there.
    if (length < 0 && err.code == ECONNRESET)
        length =
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
    } else if (type == VMM_MESSAGE_STATUS_REPLY && size == sizeof(buffer.status) &&
               buffer.status.port_count == s->vm.port_count) {
        // No VMM talks the level down.
        unsigned level = level_named(s->process.level_own, s->process.level_vmm);
        if (buffer.status.level < level || buffer.status.level >= LEVEL_COUNT)
            buffer.status.level = level;
        clients_take_status(s, &buffer.status);
    } else if (type == VMM_MESSAGE_PORT_DONE && size == sizeof(buffer.order) &&
               buffer.order.port < s->vm.port_count) {
        if (s->orders_open)
            s->orders_open--;
        clients_take_done(s, &buffer.order);
        backends_take_done(s, &buffer.order);
    } else if (type == VMM_MESSAGE_PORT_EVENT && size == sizeof(buffer.event)) {
        backends_take_event(s, &buffer.event);
    } else if (type == VMM_MESSAGE_LEVEL_DONE && size == sizeof(buffer.level)) {
        levels_take_done(s, &buffer.level);
    } else if (type == VMM_MESSAGE_BEAT && size == sizeof(buffer.beat)) {
        heartbeats_take_answer(s, &buffer.beat);
    } else if (type == VMM_MESSAGE_POLICY_DONE && size == sizeof(buffer.policy)) {
        policy_take_done(s, &buffer.policy);
    } else if (length <= 0) {
        heartbeats_take_death(s);
    } else if (!s->ended) {
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0,
                  "the VMM sent a message that is not of the protocol");
        supervisor_fail_silent(s);
    }
}

static void serve_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (!s->stop_signal)
        s->stop_signal = (int)info.ssi_signo;
    supervisor_stop(s);
}

void supervisor_lie(struct supervisor *s, const char *text)
{
    if (s->ended && s->outcome != RUN_EXITED && s->outcome != RUN_STOPPED)
        return; // what was found before stands
    error_set(&s->error, EXIT_STATUS_ISOLATED, 0, "%s", text);
    s->ended = false; // a model's own end does not cover a lie
    supervisor_fail(s, RUN_ISOLATED);
}

// The pollers wait for room in their audit rings: all of them look after several ports.
static void wake_poller(struct supervisor *s, unsigned poller)
{
    uint64_t one = 1;
    ssize_t ignored = write(s->process.wake_vmm[poller], &one, sizeof(one));
    (void)ignored;
}

// The log cannot be written: Offline. If it could not even be opened, nothing has been shown yet.
static void log_failed(struct supervisor *s, const struct error *err)
{
    if (s->ended)
        return;
    s->error = *err;
    supervisor_fail(s, s->audit.ready ? RUN_ISOLATED : RUN_FAILED);
}

// What the log has to say of the VM's state, and nobody has looked at yet.
static int check_log(struct supervisor *s, struct error *err)
{
    if (s->log_checked || !s->audit.ready)
        return 0;
    s->log_checked = true;
    if (launch_check_log(s, err) < 0)
        return -1;
    levels_open_gate(s);
    return 0;
}

static void drain_audit(struct supervisor *s)
{
    struct error err;
    if (audit_log_serve(&s->audit, &err) < 0)
        log_failed(s, &err);
    else if (check_log(s, &err) < 0)
        supervisor_lie(s, err.text);
    for (unsigned i = 0; i < s->process.config.poller_count; i++) {
        bool wake = false;
        if (audit_log_take(&s->audit, &s->audit_rings[i], &wake, &err) < 0 && !s->ended) {
            // A log that cannot be written, or a VMM that lies in it: Offline.
            s->error = err;
            supervisor_fail(s, RUN_ISOLATED);
        }
        if (wake)
            wake_poller(s, i);
    }
    backends_drain_audit(s);
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
            supervisor_fail(s, RUN_ISOLATED);
        }
        supervisor_stop(s);
    }
    if (wake)
        vmm_process_wake(&s->process, s->console_port);
}

static void serve_input(struct supervisor *s)
{
    bool wake = false;
    console_relay_read(&s->console, &wake);
    if (wake)
        vmm_process_wake(&s->process, s->console_port);
}

static void drain_wake(struct supervisor *s)
{
    uint64_t value;
    ssize_t ignored = read(s->process.wake_supervisor, &value, sizeof(value));
    (void)ignored;
}

// What the VMM put into the console's ring must be what the port's grant allows.
static void check_console(struct supervisor *s)
{
    if (!s->has_console)
        return;
    uint64_t available = shared_ring_available(&s->console.output);
    uint64_t news = s->console.output.own + available - s->relayed_bytes[s->console_port];
    if (available != UINT64_MAX &&
        (!news || supervisor_account(s, s->console_port, OPERATION_WRITE, news)))
        return;
    s->console_lies = true;
    supervisor_lie(s, available == UINT64_MAX ? "console ring: the VMM's index is impossible"
                                              : "console ring: more than the port's grant allows");
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
        [WATCH_RECORDER] = {.fd = s->audit.channel, .events = POLLIN},
        [WATCH_RECORDER_WAKE] = {.fd = s->audit.wake_own, .events = POLLIN},
    };
    memcpy(fds, fixed, sizeof(fixed));
    // Nothing is shown or read before the log is open.
    if (s->has_console && s->audit.ready &&
        supervisor_carries(s, s->console_port, OPERATION_READ) &&
        console_relay_wants_input(&s->console))
        fds[WATCH_INPUT] = (struct pollfd){.fd = s->console.input_fd, .events = POLLIN};
    if (s->has_console && s->audit.ready &&
        supervisor_carries(s, s->console_port, OPERATION_WRITE) &&
        console_relay_has_output(&s->console))
        fds[WATCH_OUTPUT] = (struct pollfd){.fd = s->console.output_fd, .events = POLLOUT};
    clients_watch(s, fds);
    detectors_watch(s, fds);
    backends_watch(s, fds);
    serve_watch(s, fds);
    keeper_watch(s, fds);
}

// Milliseconds until something has to happen without an event, or -1.
static int poll_timeout(struct supervisor *s)
{
    // Asks for wake-ups; what came in meanwhile is served without sleeping.
    bool data = false;
    for (unsigned i = 0; i < s->process.config.poller_count; i++)
        data = audit_log_wait(&s->audit, &s->audit_rings[i]) || data;
    for (unsigned i = 0; i < s->vm.port_count; i++)
        data = (s->backends[i].audit.ring.header &&
                audit_log_wait(&s->audit, &s->backends[i].audit)) ||
               data;
    // Each move sets its own wake-up if it has to wait.
    data = clients_move_messages(s) || data;
    data = logs_move(s) || data;
    // Output that waits for its reader needs no wake-up from the VMM, only POLLOUT.
    if (s->has_console && !console_relay_has_output(&s->console) &&
        shared_ring_wait_data(&s->console.output))
        data = true;
    if (data)
        return 0;
    uint64_t deadline_ns = containment_deadline_ns(&s->containment);
    if (!supervisor_is_stopping(s) && backends_deadline_ns(s) < deadline_ns)
        deadline_ns = backends_deadline_ns(s);
    if (s->ready && s->orders_open && s->order_deadline_ns < deadline_ns)
        deadline_ns = s->order_deadline_ns;
    if (detectors_deadline_ns(s) < deadline_ns)
        deadline_ns = detectors_deadline_ns(s);
    if (policy_deadline_ns(s) < deadline_ns)
        deadline_ns = policy_deadline_ns(s);
    if (keeper_deadline_ns(s) < deadline_ns)
        deadline_ns = keeper_deadline_ns(s);
    uint64_t turn_ns = heartbeats_deadline_ns(s);
    if (turn_ns < deadline_ns)
        deadline_ns = turn_ns;
    uint64_t now = clock_now_ns(&clock_host);
    if (now >= deadline_ns)
        return 0;
    uint64_t left_ms = (deadline_ns - now) / NS_PER_MS + 1;
    return left_ms < POLL_MAX_MS ? (int)left_ms : POLL_MAX_MS;
}

static void loop(struct supervisor *s)
{
    struct pollfd fds[WATCH_COUNT];
    while (!s->ended) {
        int timeout = poll_timeout(s);
        fill_watch(s, fds);
        if (poll(fds, WATCH_COUNT, timeout) < 0 && errno != EINTR) {
            error_set(&s->error, EXIT_STATUS_INTERNAL, errno, "poll");
            supervisor_fail_silent(s);
            return;
        }
        heartbeats_serve(s);
        if (s->ended)
            return;
        if (fds[WATCH_SIGNALS].revents)
            serve_signals(s);
        if (fds[WATCH_WAKE].revents)
            drain_wake(s);
        drain_audit(s);
        detectors_serve(s);
        check_console(s);
        // The VMM may have shut the gate by itself since poll was asked.
        if (fds[WATCH_OUTPUT].revents && !s->console_lies &&
            supervisor_carries(s, s->console_port, OPERATION_WRITE))
            serve_output(s);
        if (fds[WATCH_INPUT].revents)
            serve_input(s);
        if (fds[WATCH_CHANNEL].revents)
            serve_channel(s);
        else if (fds[WATCH_PROCESS].revents)
            heartbeats_take_death(s);
        levels_serve(s);
        if (s->ready && s->orders_open && clock_now_ns(&clock_host) >= s->order_deadline_ns)
            supervisor_lie(s, "the VMM did not carry out an order about a port in time");
        policy_watch(s);
        backends_serve(s, fds);
        serve_refuse_clients(s, fds);
        keeper_serve(s, fds);
        clients_serve(s, fds);
        if (fds[WATCH_CONTROL].revents)
            control_server_accept(&s->control);
    }
}

static int map_port_rings(struct supervisor *s, unsigned index, struct shared_ring *from_model,
                          struct shared_ring *to_model, struct error *err)
{
    const struct vmm_port_config *port = &s->process.config.ports[index];
    const int *fds = s->process.ports[index];
    if (shared_ring_map(from_model, fds[VMM_PORT_FD_TO_HOST], vmm_port_ring_bytes(port, 1), err) <
        0)
        return -1;
    return shared_ring_map(to_model, fds[VMM_PORT_FD_FROM_HOST], vmm_port_ring_bytes(port, 0), err);
}

static int map_rings(struct supervisor *s, struct error *err)
{
    for (unsigned i = 0; i < s->process.config.poller_count; i++) {
        s->audit_rings[i].source = AUDIT_SOURCE_VMM;
        s->audit_rings[i].ports = s->vm.port_count;
        if (shared_ring_map(
                &s->audit_rings[i].ring, s->process.audit_rings[i],
                vmm_audit_ring_bytes(s->process.config.ports, s->process.config.port_count),
                err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        struct message_relay *message = &s->messages[i];
        switch (s->vm.ports[i].kind) {
        case VMM_PORT_CONSOLE:
            console_relay_init(&s->console, STDIN_FILENO, STDOUT_FILENO);
            s->has_console = true;
            s->console_port = i;
            if (map_port_rings(s, i, &s->console.output, &s->console.input, err) < 0)
                return -1;
            break;
        case VMM_PORT_LOG:
            message->most_severity = VMM_LOG_SEVERITY_MAX;
            // fall through
        case VMM_PORT_MESSAGE:
            message->largest = s->vm.ports[i].max_request_bytes;
            if (map_port_rings(s, i, &message->output, &message->input, err) < 0)
                return -1;
            break;
        default:
            break;
        }
    }
    return 0;
}

static int check_ports(const struct supervisor *s, struct error *err)
{
    unsigned consoles = 0, clocks = 0, serves = 0;
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        consoles += s->vm.ports[i].kind == VMM_PORT_CONSOLE;
        clocks += s->vm.ports[i].kind == VMM_PORT_CLOCK;
        serves += s->vm.ports[i].kind == VMM_PORT_SERVE;
    }
    // The ticks of two clocks together would be finer than those of either.
    if (consoles > 1 || clocks > 1 || serves > 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "ports: a VM has at most one %s",
                         consoles > 1 ? "console"
                         : clocks > 1 ? "clock"
                                      : "serve port");
    return 0;
}

// The log's first record; the recorder is only being started.
static int begin_audit(struct supervisor *s, struct error *err)
{
    const struct audit_record record = {.type = AUDIT_START, .port = AUDIT_NO_PORT};
    return audit_log_prepare(&s->audit, err) < 0 || audit_log_start_recorder(&s->audit, err) < 0
               ? -1
               : audit_log_append(&s->audit, &record, err);
}

static int open_audit(struct supervisor *s, struct error *err)
{
    return audit_log_open(&s->audit, &s->audit_place, s->process.level_supervisor_fd, err);
}

static int start(struct supervisor *s, const char *runtime_dir, struct error *err)
{
    sigset_t set;
    // Before there is a VM: probe cells may have to run first.
    if (s->vm.require != VMM_REQUIRE_NONE &&
        host_check_launch(s->vm.require, runtime_dir, &s->host, err) < 0)
        return -1;
    if (begin_audit(s, err) < 0 || check_ports(s, err) < 0 ||
        vmm_process_prepare(&s->process, &s->vm, err) < 0 || map_rings(s, err) < 0 ||
        vmm_process_open_inputs(&s->process, &s->vm, err) < 0)
        return -1;
    if (s->accept_level_reset && (open_audit(s, err) < 0 || launch_record_reset(s, err) < 0))
        return -1;
    if (launch_admit(s, err) < 0) {
        if (err->status == EXIT_STATUS_ISOLATED && s->state.unclean)
            effects_make_up(s);
        return -1;
    }
    if (logs_open(s, err) < 0)
        return -1;
    levels_init(s, s->state.level);
    approvals_open(s);
    if (detectors_open(s, err) < 0)
        return -1;
    forensics_reserve(s);
    s->process.state_dir = s->state_dir;
    if (heartbeats_open(s, err) < 0 || orders_open(s, err) < 0 ||
        vmm_process_configure(&s->process, &s->vm, err) < 0)
        return -1;
    port_seeds_forget(&s->vm);
    // Everything below happens while the VMM builds the VM.
    if (s->vm.require == VMM_REQUIRE_NONE &&
        host_check_launch(VMM_REQUIRE_NONE, runtime_dir, &s->host, err) < 0)
        return -1;
    if (control_server_open(&s->control, runtime_dir, s->vm.name, err) < 0 ||
        serve_open_places(s, runtime_dir, err) < 0 || (!s->audit.opened && open_audit(s, err) < 0))
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "signalfd");
    if (keeper_require(s, err) < 0 || launch_go(s, err) < 0)
        return -1;
    return backends_start(s, err);
}

// What the VMM still had in its rings, and that the log took it: before the model's last bytes are
// shown. The recorder may have been started a moment ago.
static void settle_audit(struct supervisor *s)
{
    struct error err = {0};
    int result = 0;
    if (!s->audit.opened || !s->entered_ns)
        return;
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++) {
        if (s->audit_rings[i].ring.header && result == 0)
            result = audit_log_take_all(&s->audit, &s->audit_rings[i], RECORDER_NS, &err);
    }
    if (result == 0)
        result = audit_log_wait_durable(&s->audit, RECORDER_NS, &err);
    if (result == 0)
        result = check_log(s, &err); // a run may be shorter than the opening of its log
    if (result < 0 && s->outcome != RUN_ISOLATED) {
        s->error = err;
        s->outcome = s->audit.ready ? RUN_ISOLATED : RUN_FAILED;
        go_offline(s);
    }
}

// The last records: the violation, the end.
static void close_audit(struct supervisor *s)
{
    struct error err = {0};
    if (s->audit.opened) {
        if (s->outcome == RUN_VIOLATION) {
            const struct audit_record violation = {
                .type = AUDIT_VIOLATION,
                .port = AUDIT_NO_PORT,
                .argument = s->end.address,
                .level = (uint8_t)s->containment.state.level,
                .detail = s->end.violation,
            };
            audit_log_append(&s->audit, &violation, &err);
        }
        const struct audit_record end = {
            .type = AUDIT_END,
            .port = AUDIT_NO_PORT,
            .argument = s->end.exit_value,
            .level = (uint8_t)s->containment.state.level,
            .detail = s->outcome,
        };
        if ((audit_log_append(&s->audit, &end, &err) < 0 ||
             audit_log_finish(&s->audit, RECORDER_NS, &err) < 0) &&
            s->outcome != RUN_FAILED && s->outcome != RUN_ISOLATED) {
            s->error = err;
            s->outcome = s->audit.ready ? RUN_ISOLATED : RUN_FAILED;
            go_offline(s);
        }
    }
    audit_log_close(&s->audit);
}

// The gate of a port, when nobody moves the VMM's pages any more. What the model said before
// it ended by itself, or was ended, is shown; what it says at a level or on a port that is shut is
// not.
static bool may_say_last_words(const struct supervisor *s, unsigned port)
{
    enum level highest = s->vm.ports[port].closed_at_probation ? LEVEL_STANDARD : LEVEL_PROBATION;
    return !s->heartbeat.lost && s->outcome != RUN_FAILED && !s->port_closed[port] &&
           !s->containment.state.hold && s->containment.state.level <= highest;
}

// What is left for the console and the logs.
static void say_last_words(struct supervisor *s)
{
    if (s->console.output.header)
        check_console(s);
    if (s->has_console && s->console.output.header && !s->console_lies &&
        may_say_last_words(s, s->console_port))
        console_relay_drain(&s->console, supervisor_is_stopping(s) ? 0 : DRAIN_MS);
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (s->logs[i].fd >= 0 && s->audit.opened && may_say_last_words(s, i))
            logs_finish(s, i);
    }
    logs_close(s);
}

// What is left in rings: payloads of a model among them.
static void clear_rings(struct supervisor *s)
{
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        shared_ring_clear(&s->audit_rings[i].ring);
    shared_ring_clear(&s->console.output);
    shared_ring_clear(&s->console.input);
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        shared_ring_clear(&s->messages[i].output);
        shared_ring_clear(&s->messages[i].input);
    }
}

void supervisor_run(struct supervisor *s, const char *runtime_dir)
{
    s->signals = -1;
    s->forensics.image_fd = -1;
    audit_log_init(&s->audit, &clock_host);
    s->state.fd = s->state.deployment.folder = -1;
    s->control.fd = s->control.lock = -1;
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
        s->control.clients[i].fd = -1;
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        backend_process_init(&s->backends[i], i);
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++)
        detector_link_init(&s->detector_links[i]);
    logs_init(s);
    keeper_init(s);
    heartbeats_init(s);
    s->started_ns = clock_now_ns(&clock_host);
    if (start(s, runtime_dir, &s->error) < 0)
        s->outcome = RUN_FAILED;
    else
        loop(s);
    // The last words of a model that ended by itself, for whoever waits for them.
    if (s->outcome == RUN_EXITED)
        clients_take_last_words(s);
    vmm_process_kill(&s->process);
    keeper_dismiss(s);
    backends_kill_all(s);
    heartbeats_rest(s);
    // Destruction waits for no disk.
    if (s->containment.state.level >= LEVEL_IMMOLATION)
        levels_take_gone(s);
    settle_audit(s);
    detectors_settle(s);
    levels_take_gone(s);
    // Also after an ordinary end: freed pages never hold the model's state.
    forensics_scrub(s);
    say_last_words(s);
    forensics_close(s);
    // With it the cores become free for others, who must find them as they were.
    keeper_wait(s);
    vmm_process_end(&s->process);
    effects_finish(s);
    close_audit(s);
    effects_finish(s); // a log that could not be closed has isolated the VM
    launch_end(s);
    serve_close_places(s);
    control_server_close(&s->control);
    heartbeats_close(s);
    if (s->signals >= 0)
        close(s->signals);
    clear_rings(s);
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        shared_ring_unmap(&s->audit_rings[i].ring);
    shared_ring_unmap(&s->console.output);
    shared_ring_unmap(&s->console.input);
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        shared_ring_unmap(&s->messages[i].output);
        shared_ring_unmap(&s->messages[i].input);
    }
}

void supervisor_free(struct supervisor *s)
{
    detectors_close(s);
    approvals_free(&s->approvals);
    policy_document_free(&s->next_policy);
    vm_description_free(&s->vm);
}
