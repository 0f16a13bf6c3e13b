// SPDX-License-Identifier: Apache-2.0
// The supervisor's answers to clients of the control socket.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd_message.h"
#include "status_report.h"
#include "supervisor_internal.h"

// Operations of a message port (ports/port_abi.h).
#define OPERATION_SEND    1u
#define OPERATION_RECEIVE 2u

void clients_watch(struct supervisor *s, struct pollfd *fds)
{
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        const struct control_client *client = &s->control.clients[i];
        // Who does not read its answers is not asked for more.
        fds[WATCH_CLIENTS + i] =
            (struct pollfd){.fd = client->fd, .events = client->output ? POLLOUT : POLLIN};
    }
}

static int find_port(const struct supervisor *s, const char *name)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (!strcmp(s->vm.ports[i].name, name))
            return (int)i;
    }
    return -1;
}

static void answer_status(struct supervisor *s, const struct vmm_status *status)
{
    cleanup_free char *text = malloc(CONTROL_ANSWER_MAX);
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd < 0 || !client->waiting || !text)
            continue;
        if (client->order.operation == CONTROL_STATUS) {
            status_report_json(s, status, text, CONTROL_ANSWER_MAX);
            control_client_answer(client, text, NULL, 0);
        } else if (client->order.operation == CONTROL_METRICS) {
            status_report_metrics(s, status, text, CONTROL_ANSWER_MAX);
            control_client_answer_http(client, text);
        }
    }
}

void clients_take_status(struct supervisor *s, const struct vmm_status *status)
{
    s->status_asked = false;
    answer_status(s, status);
}

static void ask_status(struct supervisor *s)
{
    struct vmm_message message;
    struct error err;
    // One question at a time: the answer serves everybody who asked meanwhile. A VMM that owes one
    // for long is asked again.
    uint64_t now_ns = clock_now_ns(&clock_host);
    if (s->status_asked && now_ns - s->status_asked_ns < NS_PER_S)
        return;
    s->status_asked_ns = now_ns;
    vmm_message_init(&message, VMM_MESSAGE_STATUS, sizeof(message));
    s->status_asked = s->ready;
    if (s->ready &&
        fd_message_send(s->process.channel, &message, sizeof(message), NULL, 0, &err) == 0)
        return;
    // Nothing is known of the VMM; the level is the supervisor's own at least.
    s->status_asked = false;
    const struct vmm_status unknown = {.level =
                                           level_named(s->process.level_own, s->process.level_vmm)};
    answer_status(s, &unknown);
}

static void order_port(struct supervisor *s, struct control_client *client, bool open)
{
    int port = find_port(s, client->order.port);
    if (port < 0) {
        control_client_refuse(client, "no port of that name");
        return;
    }
    // The order is recorded before its effect.
    const struct audit_record entry = {
        .type = AUDIT_ORDER,
        .port = (uint16_t)port,
        .detail = open ? AUDIT_ORDER_PORT_OPEN : AUDIT_ORDER_PORT_CLOSE,
    };
    supervisor_record(s, &entry);
    // The supervisor's own part first: what it carries, and the backend, stop whatever the VMM
    // does.
    s->port_closed[port] = !open;
    if (!open)
        backends_close(s, (unsigned)port);
    client->port = (unsigned)port;
    client->number =
        supervisor_order(s, (unsigned)port, open ? VMM_PORT_ACTION_OPEN : VMM_PORT_ACTION_CLOSE);
    if (open)
        backends_open(s, (unsigned)port);
    if (!client->number)
        control_client_refuse(client, "the VMM cannot be reached");
}

void clients_take_done(struct supervisor *s, const struct vmm_port_order *order)
{
    char text[256];
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        enum vmm_port_action wanted = client->order.operation == CONTROL_PORT_CLOSE
                                          ? VMM_PORT_ACTION_CLOSE
                                          : VMM_PORT_ACTION_OPEN;
        if (client->fd < 0 || !client->waiting || !client->number ||
            client->number != order->number || client->port != order->port ||
            (uint32_t)wanted != order->action)
            continue;
        snprintf(text, sizeof(text),
                 "{\"format\":\"" CONTROL_FORMAT "\",\"port\":\"%s\",\"state\":\"%s\"}",
                 s->vm.ports[order->port].name,
                 order->action == VMM_PORT_ACTION_CLOSE ? "closed" : "open");
        control_client_answer(client, text, NULL, 0);
    }
}

// Gives a client's message to the model's port. Returns false if there is no room yet.
static bool move_send(struct supervisor *s, struct control_client *client, unsigned port)
{
    bool wake = false;
    uint32_t length = (uint32_t)client->order.length_bytes;
    if (!message_relay_has_room(&s->messages[port], length))
        return false;
    const struct audit_record entry = {
        .type = AUDIT_ORDER,
        .port = (uint16_t)port,
        .length = length,
        .detail = AUDIT_ORDER_MESSAGE,
    };
    supervisor_record(s, &entry);
    message_relay_send(&s->messages[port], client->body, length, &wake);
    if (wake)
        vmm_process_wake(&s->process, port);
    control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"sent\":true}", NULL, 0);
    return true;
}

static bool move_receive(struct supervisor *s, struct control_client *client, unsigned port)
{
    char text[128];
    bool wake = false;
    int64_t length = message_relay_next(&s->messages[port], NULL);
    if (length == -2)
        supervisor_lie(s, "message ring: what the VMM wrote is not a message");
    if (length < 0)
        return false;
    if (!supervisor_account(s, port, OPERATION_SEND, (uint64_t)length)) {
        supervisor_lie(s, "message ring: more than the port's grant allows");
        return false;
    }
    cleanup_free uint8_t *data = malloc((size_t)length + 1);
    if (!data)
        return false;
    message_relay_take(&s->messages[port], data, (uint32_t)length, &wake);
    if (wake)
        vmm_process_wake(&s->process, port);
    snprintf(text, sizeof(text), "{\"format\":\"" CONTROL_FORMAT "\",\"length_bytes\":%" PRId64 "}",
             length);
    control_client_answer(client, text, data, (size_t)length);
    return true;
}

// Returns true if the client has got its answer.
static bool move_message(struct supervisor *s, struct control_client *client)
{
    int port = find_port(s, client->order.port);
    bool sends = client->order.operation == CONTROL_SEND;
    unsigned operation = sends ? OPERATION_RECEIVE : OPERATION_SEND; // as the model sees it
    if (port < 0 || s->vm.ports[port].kind != VMM_PORT_MESSAGE)
        control_client_refuse(client, "no message port of that name");
    else if (!(s->vm.ports[port].operations >> operation & 1))
        control_client_refuse(client, sends ? "the model may not receive on this port"
                                            : "the model may not send on this port");
    else if (!supervisor_carries(s, (unsigned)port, operation))
        return false; // closed or shut: waits
    else if (sends && client->order.length_bytes > s->vm.ports[port].max_reply_bytes)
        control_client_refuse(client, "the message is larger than the port's max_reply_bytes");
    else
        return sends ? move_send(s, client, (unsigned)port)
                     : move_receive(s, client, (unsigned)port);
    return true;
}

void clients_take_last_words(struct supervisor *s)
{
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd >= 0 && client->waiting && client->order.operation == CONTROL_RECEIVE)
            move_message(s, client);
    }
}

bool clients_move_messages(struct supervisor *s)
{
    bool moved = false;
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd >= 0 && client->waiting &&
            (client->order.operation == CONTROL_SEND || client->order.operation == CONTROL_RECEIVE))
            moved = move_message(s, client) || moved;
    }
    return moved;
}

static const char *nanoseconds(char *text, size_t size, uint64_t value)
{
    snprintf(text, size, value ? "%" PRIu64 : "null", value);
    return text;
}

void clients_take_level(struct supervisor *s)
{
    char text[320], decided[24], gate[24], vcpus[24];
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd < 0 || !client->waiting ||
            (client->order.operation != CONTROL_ISOLATE &&
             client->order.operation != CONTROL_ORDER))
            continue;
        snprintf(text, sizeof(text),
                 "{\"format\":\"" CONTROL_FORMAT "\",\"level\":\"%s\",\"paused_vcpus\":%u,"
                 "\"decided_ns\":%s,\"gate_ns\":%s,\"vcpus_ns\":%s}",
                 level_name(s->containment.state.level), s->paused_vcpus,
                 nanoseconds(decided, sizeof(decided), s->decided_ns),
                 nanoseconds(gate, sizeof(gate), s->gate_ns),
                 nanoseconds(vcpus, sizeof(vcpus), s->vcpus_ns));
        control_client_answer(client, text, NULL, 0);
    }
}

static void isolate(struct supervisor *s, struct control_client *client)
{
    enum level level = level_parse(client->order.level);
    enum level_refusal refusal = level == LEVEL_COUNT
                                     ? LEVEL_REFUSAL_INVALID
                                     : supervisor_isolate(s, level, client->order.reason);
    if (refusal)
        control_client_refuse(client, level_refusal_text(refusal));
    else if (level >= LEVEL_OFFLINE) // the closed connection says that the VM is gone
        control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"stopping\":true}", NULL,
                              0);
}

static void serve(struct supervisor *s, struct control_client *client)
{
    switch (client->order.operation) {
    case CONTROL_STATUS:
    case CONTROL_METRICS:
        ask_status(s);
        break;
    case CONTROL_STOP:
        control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"stopping\":true}", NULL,
                              0);
        supervisor_stop(s);
        break;
    case CONTROL_PORT_CLOSE:
    case CONTROL_PORT_OPEN:
        order_port(s, client, client->order.operation == CONTROL_PORT_OPEN);
        break;
    case CONTROL_SEND:
    case CONTROL_RECEIVE:
        move_message(s, client);
        break;
    case CONTROL_ISOLATE:
        isolate(s, client);
        break;
    case CONTROL_QUORUM:
        orders_answer_status(s, client);
        break;
    case CONTROL_ORDER:
    case CONTROL_PROPOSE:
        orders_serve(s, client);
        break;
    case CONTROL_BEAT:
        orders_take_beat(s, client);
        break;
    case CONTROL_APPROVALS:
    case CONTROL_APPROVE:
    case CONTROL_REJECT:
        approvals_serve(s, client);
        break;
    case CONTROL_POLICY:
    case CONTROL_POLICY_ORDERED:
        policy_serve(s, client);
        break;
    case CONTROL_BAD:
    case CONTROL_NONE:
    default:
        control_client_refuse(client, client->order.error);
        break;
    }
}

void clients_serve(struct supervisor *s, const struct pollfd *fds)
{
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        const struct pollfd *watched = &fds[WATCH_CLIENTS + i];
        if (client->fd < 0 || watched->fd != client->fd)
            continue;
        if (watched->revents & POLLOUT)
            control_client_write(client);
        if (client->fd >= 0 && !client->output && watched->revents & ~POLLOUT &&
            control_client_read(client))
            serve(s, client);
    }
}
