// SPDX-License-Identifier: Apache-2.0
// The control thread after lock-down: serves the supervisor's channel until the run ends.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fd_message.h"
#include "heartbeat.h"
#include "violation.h"
#include "vmm.h"

// How long a poller may take to begin another pass before it counts as stuck.
#define QUIESCE_NS (100 * NS_PER_MS)

static uint64_t sum_exits(const struct vmm *vmm)
{
    uint64_t exits = 0;
    for (unsigned i = 0; i < vmm->config.vcpus; i++)
        exits += atomic_load_explicit(&vmm->vcpus[i].exits, memory_order_relaxed);
    return exits;
}

static uint32_t port_state(const struct vmm *vmm, unsigned index, uint32_t state)
{
    switch (state) {
    case PORT_OPEN:
        if (level_gate_up_to(vmm->level_supervisor, vmm->level_own,
                             vmm->config.ports[index].closed_at_probation
                                 ? LEVEL_STANDARD
                                 : LEVEL_PROBATION) != LEVEL_GATE_OPEN)
            return VMM_PORT_SHUT;
        return vmm->config.ports[index].process && !backend_link_is_up(&vmm->links[index])
                   ? VMM_PORT_DOWN
                   : VMM_PORT_OPEN;
    case PORT_CLOSED_ANOMALY:
        return VMM_PORT_CLOSED_ANOMALY;
    default:
        return VMM_PORT_CLOSED_OPERATOR;
    }
}

#define READ(member) atomic_load_explicit(&counters->member, memory_order_relaxed)

static struct vmm_port_status port_status(const struct vmm *vmm, unsigned index)
{
    const struct port_counters *counters = port_counters(vmm->ports[index]);
    return (struct vmm_port_status){
        .requests = READ(requests),
        .completions = READ(completions),
        .denied = READ(denied),
        .bytes_in = READ(bytes_in),
        .bytes_out = READ(bytes_out),
        .p50_ns = port_latency_ns(counters, 0.5),
        .p99_ns = port_latency_ns(counters, 0.99),
        .anomalies = READ(anomalies),
        .anomaly_rule = READ(anomaly_rule),
        .anomaly_descriptor = READ(anomaly_descriptor),
        .state = port_state(vmm, index, READ(state)),
        .in_flight = READ(in_flight),
        .queued = READ(queued),
    };
}

static int send_status(const struct vmm *vmm)
{
    struct vmm_status status = {
        .level = level_named(vmm->level_supervisor, vmm->level_own),
        .port_count = vmm->config.port_count,
        .exits = sum_exits(vmm),
    };
    for (unsigned i = 0; i < vmm->config.port_count; i++)
        status.ports[i] = port_status(vmm, i);
    vmm_message_init(&status.message, VMM_MESSAGE_STATUS_REPLY, sizeof(status));
    return fd_message_send(vmm->channel, &status, sizeof(status), NULL, 0, NULL);
}

static void send_event(const struct vmm *vmm, struct vmm_port_event *event)
{
    vmm_message_init(&event->message, VMM_MESSAGE_PORT_EVENT, sizeof(*event));
    fd_message_send(vmm->channel, event, sizeof(*event), NULL, 0, NULL);
}

static void send_events(struct vmm *vmm)
{
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        struct vmm_port_event event = {.port = i};
        event.event = atomic_exchange(&vmm->port_events[i], 0);
        if (event.event)
            send_event(vmm, &event);
        uint64_t escalation = atomic_exchange(&vmm->escalations[i], 0);
        if (!escalation)
            continue;
        event.event = VMM_PORT_EVENT_ESCALATED;
        event.level = (uint32_t)(escalation >> 32);
        event.rule = (uint32_t)escalation;
        send_event(vmm, &event);
    }
}

// The poller may hold it, have dropped it, or never have had it: its records tell.
static bool serve_verdict(struct vmm *vmm, const struct vmm_verdict *verdict)
{
    uint64_t one = 1;
    if (verdict->port >= vmm->config.port_count || verdict->approved > 1)
        return false;
    if (!port_answer(vmm->ports[verdict->port], verdict->request, verdict->approved))
        return true; // many wait: this one times out, which is a no
    ssize_t ignored = write(vmm_poller_of(vmm, verdict->port)->wake_fd, &one, sizeof(one));
    (void)ignored;
    return true;
}

// The run ends at Offline, whatever the supervisor says.
static bool end_offline(struct vmm *vmm)
{
    const struct vmm_end end = {.kind = VMM_END_FAULT, .vector = UINT32_MAX};
    atomic_store(&vmm->level_own->level, LEVEL_OFFLINE);
    vmm_report(vmm, &end);
    return false;
}

// Carries an order out and says so once it is in force. Returns false if a poller is stuck: then
// nothing that it may still do can be ruled out, except by ending the run.
static bool serve_order(struct vmm *vmm, struct vmm_port_order *order)
{
    if (order->port >= vmm->config.port_count)
        return false;
    struct port *port = vmm->ports[order->port];
    bool process = vmm->config.ports[order->port].process;
    switch (order->action) {
    case VMM_PORT_ACTION_CLOSE:
        port_close(port);
        break;
    case VMM_PORT_ACTION_OPEN:
        port_open(port);
        break;
    case VMM_PORT_ACTION_BACKEND_DOWN:
    case VMM_PORT_ACTION_BACKEND_UP:
        if (!process)
            return false;
        backend_link_order(&vmm->links[order->port], order->action == VMM_PORT_ACTION_BACKEND_UP);
        break;
    default:
        return false;
    }
    if (!poller_quiesce(&vmm_poller_of(vmm, order->port)->poller, QUIESCE_NS))
        return end_offline(vmm);
    // What a backend did before the order must not be taken for its successor's deed.
    send_events(vmm);
    vmm_message_init(&order->message, VMM_MESSAGE_PORT_DONE, sizeof(*order));
    return fd_message_send(vmm->channel, order, sizeof(*order), NULL, 0, NULL) == 0;
}

// The answer says that no request is decided by the old document any more.
static bool serve_policy(struct vmm *vmm, struct vmm_policy *policy)
{
    policy->refused = !port_table_use_policy(vmm, policy->half, policy->bytes);
    for (unsigned i = 0; i < vmm->config.poller_count && !policy->refused; i++) {
        if (!poller_quiesce(&vmm->pollers[i].poller, QUIESCE_NS))
            return end_offline(vmm);
    }
    vmm_message_init(&policy->message, VMM_MESSAGE_POLICY_DONE, sizeof(*policy));
    return fd_message_send(vmm->channel, policy, sizeof(*policy), NULL, 0, NULL) == 0;
}

// Takes the own page down to a lower level if the administrators' quorum orders it: the
// supervisor's word alone does not.
static bool lower_own(struct vmm *vmm, uint32_t own, const struct vmm_lowering *lowering)
{
    struct vmm_config *config = &vmm->config;
    const struct level_state state = {.level = (enum level)own};
    const struct level_quorum quorum = level_key_set_quorum(&config->key_set);
    const struct level_order_context context = {
        .key_set = &config->key_set,
        .vm = config->uuid,
        .level = state.level,
        .last_sequence = config->last_sequence,
        .now_s = clock_wall_ns(&clock_host) / NS_PER_S,
        .issued_from_s = config->orders_from_s,
    };
    struct level_event event;
    if (level_order_check(&lowering->order, lowering->signatures, lowering->count, &context,
                          &event))
        return false;
    struct level_result result = level_transition(&state, &event, &quorum);
    if (result.refusal || result.state.level != lowering->level.level)
        return false;
    config->last_sequence = lowering->order.sequence;
    // A thread that raised it meanwhile goes first.
    return atomic_compare_exchange_strong(&vmm->level_own->level, &own, lowering->level.level);
}

// The own page follows the supervisor's level upwards at once, so that the supervisor's page alone
// never lowers what everybody acts on. Returns false if the supervisor has fallen.
static bool follow_level(struct vmm *vmm, const struct vmm_lowering *message, size_t length)
{
    uint32_t wanted = message->level.level;
    uint32_t own = atomic_load(&vmm->level_own->level);
    if (wanted >= LEVEL_COUNT)
        return false;
    while (own < wanted && !atomic_compare_exchange_weak(&vmm->level_own->level, &own, wanted))
        continue;
    // An order that was signed before this level and never arrived must not be used after it.
    if (wanted >= own && message->level.sequence > vmm->config.last_sequence)
        vmm->config.last_sequence = message->level.sequence;
    return wanted >= own || (length == sizeof(*message) && lower_own(vmm, own, message));
}

// Makes a level of the supervisor true here, and says what is. The gate has been shut by the
// supervisor's page before this message came.
static bool serve_level(struct vmm *vmm, struct vmm_lowering *message, size_t length)
{
    struct vmm_level *order = &message->level;
    if (!follow_level(vmm, message, length))
        return end_offline(vmm);
    bool pauses = order->hold || order->level >= LEVEL_SEVERED;
    order->paused_vcpus = 0;
    order->quiet_pollers = 0;
    order->paused_ns = 0;
    if (pauses) {
        order->paused_vcpus = vcpus_pause(vmm, QUIESCE_NS);
        for (unsigned i = 0; i < vmm->config.vcpus; i++) {
            uint64_t at = atomic_load(&vmm->vcpus[i].paused_ns);
            order->paused_ns = at > order->paused_ns ? at : order->paused_ns;
        }
    }
    order->shut_ns = 0;
    for (unsigned i = 0; i < vmm->config.poller_count; i++) {
        struct poller *poller = &vmm->pollers[i].poller;
        order->quiet_pollers += poller_quiesce(poller, QUIESCE_NS);
        uint64_t at = atomic_load(&poller->observed_ns);
        order->shut_ns = at > order->shut_ns ? at : order->shut_ns;
    }
    if (!pauses)
        vcpus_resume(vmm);
    vmm_message_init(&order->message, VMM_MESSAGE_LEVEL_DONE, sizeof(*order));
    return fd_message_send(vmm->channel, order, sizeof(*order), NULL, 0, NULL) == 0;
}

// Serves one message. Returns false if the run has to end.
static bool serve_channel(struct vmm *vmm)
{
    union {
        struct vmm_message message;
        struct vmm_port_order order;
        struct vmm_level level;
        struct vmm_beat beat;
        struct vmm_lowering lowering;
        struct vmm_verdict verdict;
        struct vmm_policy policy;
    } buffer;
    size_t fd_count = 0;
    ssize_t length =
        fd_message_receive(vmm->channel, &buffer, sizeof(buffer), NULL, &fd_count, NULL);
    if (length <= 0)
        return false; // the supervisor is gone, or talks nonsense: the grace of `run` is 0
    switch (vmm_message_check(&buffer.message, (uint64_t)length)) {
    case VMM_MESSAGE_STATUS:
        return send_status(vmm) == 0;
    case VMM_MESSAGE_PORT_ORDER:
        return (size_t)length == sizeof(buffer.order) && serve_order(vmm, &buffer.order);
    case VMM_MESSAGE_LEVEL:
        return ((size_t)length == sizeof(buffer.level) ||
                (size_t)length == sizeof(buffer.lowering)) &&
               serve_level(vmm, &buffer.lowering, (size_t)length);
    case VMM_MESSAGE_BEAT:
        return (size_t)length == sizeof(buffer.beat) &&
               fd_message_send(vmm->channel, &buffer, sizeof(buffer.beat), NULL, 0, NULL) == 0;
    case VMM_MESSAGE_VERDICT:
        return (size_t)length == sizeof(buffer.verdict) && serve_verdict(vmm, &buffer.verdict);
    case VMM_MESSAGE_POLICY:
        return (size_t)length == sizeof(buffer.policy) && serve_policy(vmm, &buffer.policy);
    case VMM_MESSAGE_STOP:
    default:
        return false;
    }
}

static void finish(struct vmm *vmm)
{
    send_events(vmm); // an escalation goes before the end
    // Gate first: nothing that is under way reaches the guest or a backend any more, except when
    // the model ended by itself: its last words are still carried out.
    if (!atomic_load(&vmm->ended))
        atomic_store(&vmm->level_own->level, LEVEL_OFFLINE);
    vcpus_stop(vmm);
    atomic_fetch_add(&vmm->control_beat, 1);
    for (unsigned i = 0; i < vmm->config.poller_count; i++)
        poller_stop(&vmm->pollers[i].poller);
    atomic_fetch_add(&vmm->control_beat, 1);
    struct vmm_end *end = &vmm->end;
    // All vCPUs have stopped: nobody fills a slot any more.
    if (atomic_load(&vmm->violated) == 2)
        *end = vmm->violation;
    else if (atomic_load(&vmm->ended) != 2)
        *end = (struct vmm_end){.kind = VMM_END_STOPPED, .vector = UINT32_MAX};
    if (vmm->config.guest == VMM_GUEST_CELL && !cell_verify(&vmm->cell)) {
        end->kind = VMM_END_VIOLATION;
        end->violation = VIOLATION_STATE;
    }
    end->first_exit_ns = atomic_load(&vmm->first_exit_ns);
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        struct vmm_port_status status = port_status(vmm, i);
        end->requests += status.requests;
        end->completions += status.completions;
        end->anomalies += status.anomalies;
    }
    vmm_message_init(&end->message, VMM_MESSAGE_END, sizeof(*end));
    fd_message_send(vmm->channel, end, sizeof(*end), NULL, 0, NULL);
}

// The watchdog watches everybody; somebody has to watch the watchdog.
static bool watchdog_lives(struct vmm *vmm, struct heartbeat_watch *watch)
{
    enum heartbeat_state state =
        heartbeat_watch_check(watch, atomic_load(&vmm->level_own->beat), clock_now_ns(&clock_host));
    if (state == HEARTBEAT_ALIVE)
        return true;
    const struct vmm_end end = {
        .kind = VMM_END_WATCHDOG,
        .violation = state == HEARTBEAT_LATE ? LEVEL_CAUSE_STOPPED : LEVEL_CAUSE_WATCHDOG_STUCK,
        .vector = UINT32_MAX,
    };
    atomic_store(&vmm->level_own->level, LEVEL_OFFLINE);
    atomic_store(&vmm->level_own->cause, end.violation);
    vmm_report(vmm, &end);
    return false;
}

int control_run(struct vmm *vmm)
{
    struct pollfd fds[2] = {
        {.fd = vmm->channel, .events = POLLIN},
        {.fd = vmm->control_fd, .events = POLLIN},
    };
    uint64_t interval_ns = heartbeat_interval_ns(vmm->config.heartbeat_period_ns);
    struct heartbeat_watch watchdog;
    heartbeat_watch_start(&watchdog, vmm->config.heartbeat_period_ns,
                          atomic_load(&vmm->level_own->beat), true, clock_now_ns(&clock_host));
    for (;;) {
        const struct timespec turn = {
            .tv_sec = (time_t)(interval_ns / NS_PER_S),
            .tv_nsec = (long)(interval_ns % NS_PER_S),
        };
        atomic_fetch_add(&vmm->control_beat, 1);
        if (ppoll(fds, 2, &turn, NULL) < 0 && errno != EINTR)
            break;
        if (!watchdog_lives(vmm, &watchdog))
            break;
        if (fds[1].revents) {
            uint64_t value;
            ssize_t ignored = read(vmm->control_fd, &value, sizeof(value));
            (void)ignored;
            send_events(vmm);
        }
        if (atomic_load(&vmm->ended))
            break;
        if (fds[0].revents && !serve_channel(vmm))
            break;
    }
    finish(vmm);
    return 0;
}
