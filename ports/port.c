// SPDX-License-Identifier: Apache-2.0
// The one mediation path: validate, gate, policy, audit, backend, gate, completion.
//
// A request exists only as a slot of this file: backends have no other way to receive one, and
// nothing here reads guest memory a second time.
#include "port.h"

#include <stdatomic.h>

#include "policy_engine.h"
#include "port_internal.h"

// Bytes of a reply that are copied between two looks at the gate (DESIGN: at least every 4 KiB).
#define GATE_CHECK_BYTES 4096u

// Records reserved when a request is taken: one for the request, one for its completion.
#define RECORDS_PER_REQUEST 2u

// What passed the path up to the backend. Only this file can make one.
struct port_clearance {
    uint32_t rule;
};

static const struct port_clearance clearance_of_grant = {POLICY_RULE_GRANT};

static const struct port_operation *find_operation(const struct port_backend *backend,
                                                   uint32_t number)
{
    for (unsigned i = 0; i < backend->operation_count; i++) {
        if (backend->operations[i].number == number)
            return &backend->operations[i];
    }
    return NULL;
}

// Room for the record is reserved.
static void record_anomaly(struct port *port, const struct queue_anomaly *anomaly)
{
    struct port_counters *counters = &port->counters;
    atomic_store_explicit(&counters->anomalies,
                          atomic_load_explicit(&counters->anomalies, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&counters->anomaly_rule, anomaly->rule, memory_order_relaxed);
    atomic_store_explicit(&counters->anomaly_descriptor, anomaly->descriptor, memory_order_relaxed);
    struct audit_record record = {
        .type = AUDIT_ANOMALY,
        .port = port->index,
        .now_ns = clock_now_ns(port->fabric->clock),
        .request = port->request_number,
        .argument = anomaly->descriptor,
        .level = (uint8_t)level_effective(port->fabric->level_supervisor, port->fabric->level_own),
        .detail = anomaly->rule,
    };
    audit_stream_append(port->fabric->audit, &record, NULL, 0);
    atomic_store(&port->wanted, PORT_CLOSED_ANOMALY);
    port_settle_state(port);
}

bool port_report_anomaly(struct port *port, const struct queue_anomaly *anomaly)
{
    if (!audit_stream_reserve(port->fabric->audit, 1, clock_now_ns(port->fabric->clock)))
        return false;
    record_anomaly(port, anomaly);
    return true;
}

bool port_gate_is_open(const struct port *port)
{
    bool strict;
    return port_look(port, &strict) == LEVEL_GATE_OPEN;
}

// A rule of the transport was broken: nothing that this driver says can be trusted any more.
static void close_on_anomaly(struct port *port, uint16_t queue, const struct queue_anomaly *anomaly)
{
    port->broken = queue;
    port->pass_over = true;
    record_anomaly(port, anomaly);
}

static void ended(struct port *port, struct slot *slot)
{
    port_count(&port->counters.completions, 1);
    atomic_store_explicit(&port->counters.in_flight,
                          atomic_load_explicit(&port->counters.in_flight, memory_order_relaxed) - 1,
                          memory_order_relaxed);
    port_free_slot(port, slot);
}

// Records the end of a request whose reply the guest will not get. Its chain stays with the queue
// until the port is open again.
static void drop(struct port *port, struct slot *slot)
{
    uint64_t now_ns = clock_now_ns(port->fabric->clock);
    if (slot->state == SLOT_HELD && !slot->recorded_verdict)
        audit_stream_release(port->fabric->audit, sizeof(struct audit_record));
    if (slot->state == SLOT_THROTTLED)
        port_audit(port, slot, AUDIT_REQUEST, AUDIT_DECISION_GATE, POLICY_RULE_DEFAULT_DENY,
                   now_ns);
    // A sealed request has a completion already, of a reply that did not reach the guest: this one
    // takes it back.
    slot->request.status = PORT_STATUS_CLOSED;
    slot->request.reply_length = 0;
    port_audit(port, slot, AUDIT_COMPLETION, AUDIT_DECISION_GATE, POLICY_RULE_DEFAULT_DENY, now_ns);
    ended(port, slot);
}

static void drop_list(struct port *port, struct slot_list *list)
{
    while (list->head != SLOT_NONE) {
        uint16_t index = list->head;
        port_list_remove(port, list, SLOT_NONE, index);
        drop(port, &port->slots[index]);
    }
}

void port_drop_in_flight(struct port *port)
{
    if (port->pending.head != SLOT_NONE)
        port->backend->forget(port->backend_state);
    drop_list(port, &port->pending);
    drop_list(port, &port->ready);
    drop_list(port, &port->sealed);
    drop_list(port, &port->held);
    drop_list(port, &port->recorded);
    if (port->throttled != SLOT_NONE) {
        drop(port, &port->slots[port->throttled]);
        port->throttled = SLOT_NONE;
    }
}

// The gate of a reply. At Probation only what is sealed and on the disk may pass, at Standard only
// what is logged as the port's configuration says: anything else stays as if the gate were held.
static enum level_gate reply_gate(struct port *port, const struct slot *slot)
{
    bool strict;
    enum level_gate now = port_look(port, &strict);
    if (now != LEVEL_GATE_OPEN || slot->state == SLOT_SEALED)
        return now;
    if (strict)
        port->unsealed = true;
    else if (port->logs_payloads && !slot->reply_logged)
        port->unlogged = true;
    else
        return now;
    return LEVEL_GATE_HELD;
}

// Copies header and reply to the guest, with a look at the gate in front of every piece. Returns
// the gate as last seen; only if it is open is everything there.
static enum level_gate deliver(struct port *port, struct slot *slot)
{
    struct virtqueue *queue = &port->queues[slot->queue].queue;
    const struct port_request *request = &slot->request;
    const struct port_reply_header header = {
        .status = request->status,
        .length = request->reply_length,
        .cookie = slot->header.cookie,
    };
    enum level_gate now = reply_gate(port, slot);
    if (now != LEVEL_GATE_OPEN || !virtqueue_write(queue, &slot->chain, 0, &header, sizeof(header)))
        return now;
    // The header counts: no more than GATE_CHECK_BYTES pass between two looks.
    uint32_t part = GATE_CHECK_BYTES - (uint32_t)sizeof(header);
    for (uint32_t done = 0; done < request->reply_length; part = GATE_CHECK_BYTES) {
        if (part > request->reply_length - done)
            part = request->reply_length - done;
        if (done) {
            now = reply_gate(port, slot);
            if (now != LEVEL_GATE_OPEN)
                return now;
        }
        virtqueue_write(queue, &slot->chain, (uint32_t)sizeof(header) + done, request->reply + done,
                        part);
        done += part;
    }
    return reply_gate(port, slot);
}

// The guest has its reply: used ring, counters.
static void push(struct port *port, struct slot *slot, uint64_t now_ns)
{
    struct port_queue *queue = &port->queues[slot->queue];
    uint32_t written = (uint32_t)sizeof(struct port_reply_header) + slot->request.reply_length;
    virtqueue_push(&queue->queue, slot->chain.head, written);
    queue->pushed = true;
    port->moved_bytes += written;
    port_count(&port->counters.bytes_out, written);
    port_record_latency(port, now_ns - slot->start_ns);
    ended(port, slot);
}

// Ends a request: second gate, reply, audit, used ring; at Probation audit only, the rest follows
// when that is on the disk. Returns false if it has to wait: the gate is held, or the limits of
// replies say so, or the log has no room.
static bool complete(struct port *port, struct slot *slot)
{
    if (!port_admit_reply(port, slot))
        return false;
    port->unsealed = port->unlogged = false;
    enum level_gate now = deliver(port, slot);
    if (now == LEVEL_GATE_HELD && port->unlogged) {
        if (!port_log_reply(port, slot))
            return false;
        now = deliver(port, slot);
    }
    if (now == LEVEL_GATE_HELD) {
        if (!port->unsealed || !port_seal(port, slot))
            return false; // all of it once more when the hold is over
        port_list_add(port, &port->sealed, slot, SLOT_SEALED);
        return true;
    }
    if (now == LEVEL_GATE_SHUT) {
        port->shut_seen = true;
        drop(port, slot);
        return true;
    }
    uint64_t now_ns = clock_now_ns(port->fabric->clock);
    port_audit(port, slot, AUDIT_COMPLETION, slot->decision, slot->rule, now_ns);
    push(port, slot, now_ns);
    return true;
}

// Replies whose records are on the disk.
static unsigned deliver_sealed(struct port *port, unsigned budget)
{
    unsigned done = 0;
    while (port->sealed.head != SLOT_NONE && done < budget &&
           port->moved_bytes < PORT_SERVE_BYTES) {
        uint16_t index = port->sealed.head;
        struct slot *slot = &port->slots[index];
        if (!port_is_durable(port, slot->durable_at))
            break;
        enum level_gate now = deliver(port, slot);
        if (now != LEVEL_GATE_OPEN) {
            port->shut_seen = port->shut_seen || now == LEVEL_GATE_SHUT;
            break; // held: once more later; shut: dropped with the others
        }
        port_list_remove(port, &port->sealed, SLOT_NONE, index);
        // The room for the record of a drop.
        audit_stream_release(port->fabric->audit, sizeof(struct audit_record));
        push(port, slot, clock_now_ns(port->fabric->clock));
        done++;
    }
    return done;
}

// The request has its result: completes it now, or behind those that wait already.
static void finish(struct port *port, struct slot *slot)
{
    if (port->ready.head != SLOT_NONE || !complete(port, slot))
        port_list_add(port, &port->ready, slot, SLOT_READY);
}

// Answers a request that goes no further with a status.
static void refuse(struct port *port, struct slot *slot, uint32_t status)
{
    slot->request.status = status;
    slot->request.reply_length = 0;
    finish(port, slot);
}

// Validate: copies header and payload, once, and checks all that the transport promises. Returns
// a rule if the request breaks it.
static enum queue_rule copy_request(struct port *port, struct slot *slot)
{
    const struct virtqueue *queue = &port->queues[slot->queue].queue;
    struct port_request_header *header = &slot->header;
    const uint32_t header_bytes = (uint32_t)sizeof(*header);

    if (slot->chain.writable_bytes < sizeof(struct port_reply_header))
        return QUEUE_RULE_REPLY_HEADER;
    if (slot->chain.readable_bytes < header_bytes ||
        !virtqueue_read(queue, &slot->chain, 0, header, header_bytes) ||
        header->length != slot->chain.readable_bytes - header_bytes)
        return QUEUE_RULE_REQUEST_HEADER;
    if (header->flags)
        return QUEUE_RULE_RESERVED;

    struct port_request *request = &slot->request;
    uint32_t room = slot->chain.writable_bytes - (uint32_t)sizeof(struct port_reply_header);
    request->number = ++port->request_number;
    request->operation = header->operation;
    request->argument = header->argument;
    request->length = header->length;
    request->status = PORT_STATUS_OK;
    request->reply_length = 0;
    request->reply_capacity = room < port->max_reply_bytes ? room : port->max_reply_bytes;
    const struct port_operation *operation = find_operation(port->backend, header->operation);
    if (operation && request->reply_capacity > operation->max_reply_bytes)
        request->reply_capacity = operation->max_reply_bytes;
    slot->question = (struct policy_request){
        .operation = request->operation,
        .argument = request->argument,
        .length = request->length,
    };
    slot->reply_decided = slot->reply_logged = slot->reply_redacted = slot->strict = false;
    slot->inward = 0;
    if (port->decides_inward && operation && operation->number == port->backend->outward)
        slot->inward = port->backend->inward;
    slot->inward_asked = slot->inward_decided = false;
    // A payload beyond the grant is not copied: policy refuses it by its length alone. The grant is
    // that of Standard: the level may have changed when the request is decided.
    if (header->length > port->policies[0].max_request_bytes)
        return QUEUE_RULE_NONE;
    uint8_t *payload = (uint8_t *)(uintptr_t)request->payload;
    if (header->length &&
        !virtqueue_read(queue, &slot->chain, header_bytes, payload, header->length))
        return QUEUE_RULE_ADDRESS;
    slot->question.payload = payload;
    return QUEUE_RULE_NONE;
}

static uint32_t status_of_denial(uint32_t rule)
{
    switch (rule) {
    case POLICY_RULE_REQUEST_SIZE:
        return PORT_STATUS_TOO_LARGE;
    case POLICY_RULE_TOTAL:
        return PORT_STATUS_EXHAUSTED;
    case POLICY_RULE_MALFORMED:
        return PORT_STATUS_INVALID;
    default:
        return PORT_STATUS_DENIED;
    }
}

// The last look at the gate was open, and at Probation the request's records are on the disk.
static void submit(struct port *port, struct slot *slot, bool strict)
{
    struct port_request *request = &slot->request;
    if (strict && request->reply_capacity > port->tight_reply_bytes)
        request->reply_capacity = port->tight_reply_bytes;
    request->clearance = &clearance_of_grant;
    port->backend_touched = true;
    if (port->backend->submit(port->backend_state, request) == PORT_DONE)
        finish(port, slot);
    else
        port_list_add(port, &port->pending, slot, SLOT_PENDING);
}

// Reserves what the payload of a request takes in the log. Without room the request waits.
static bool reserve_payload(struct port *port, uint64_t room)
{
    if (audit_stream_reserve_bytes(port->fabric->audit, room))
        return true;
    port->request_room = room;
    port->retry_ns = 0;
    return false;
}

// The document and the limits, with what they ask for: a request that a rule redacts is what the
// backend, and the log, will see.
static struct policy_decision decide(struct port *port, struct slot *slot, uint64_t now_ns)
{
    struct policy_decision decision = port_policy_decide(port->policy, &slot->question, now_ns);
    slot->decided_strict = port->strict;
    slot->generation = port->generation;
    if (decision.outcome == POLICY_HOLD && !port->may_hold)
        decision.outcome = POLICY_ALLOW;
    if (decision.outcome == POLICY_ALLOW && decision.redacts &&
        !policy_engine_redact(port->engine, decision.rule - POLICY_RULE_DOCUMENT,
                              POLICY_DIRECTION_REQUEST, (uint8_t *)(uintptr_t)slot->request.payload,
                              slot->request.length))
        decision = (struct policy_decision){
            .outcome = POLICY_DENY,
            .rule = POLICY_RULE_EFFORT,
            .escalate_to = policy_engine_count_denial(port->engine, now_ns),
        };
    return decision;
}

static enum audit_decision audit_decision_of(const struct policy_decision *decision)
{
    if (decision->outcome == POLICY_HOLD)
        return AUDIT_DECISION_HOLD;
    if (decision->outcome == POLICY_ALLOW)
        return decision->redacts ? AUDIT_DECISION_REDACT : AUDIT_DECISION_ALLOW;
    return decision->escalate_to ? AUDIT_DECISION_ESCALATE : AUDIT_DECISION_DENY;
}

// Answers a request that policy denied, and goes to the level that it asks for: first, so that no
// answer is seen before.
static void refuse_denied(struct port *port, struct slot *slot,
                          const struct policy_decision *decision)
{
    const struct port_host_operations *host = &port->fabric->host;
    port_count(&port->counters.denied, 1);
    if (decision->escalate_to && host->escalate)
        host->escalate(host->context, port->index, decision->escalate_to, decision->rule);
    refuse(port, slot, status_of_denial(decision->rule));
}

// An allowed request goes to the backend, at Probation once its records are on the disk.
static void admit(struct port *port, struct slot *slot, bool strict)
{
    if (strict || port->recorded.head != SLOT_NONE)
        port_list_add(port, &port->recorded, slot, SLOT_RECORDED);
    else
        submit(port, slot, strict);
}

// Gate, policy, audit, backend. Returns false if the request has to wait for its rate, or for room
// in the log.
static bool mediate(struct port *port, struct slot *slot, uint64_t now_ns)
{
    bool strict;
    enum level_gate now = port_look(port, &strict);
    if (now == LEVEL_GATE_HELD) {
        port->retry_ns = 0; // as soon as anything is served again
        return false;
    }
    if (now == LEVEL_GATE_SHUT) {
        port->shut_seen = true;
        slot->state = SLOT_THROTTLED; // not decided: its request is not recorded yet
        drop(port, slot);
        return true;
    }
    if (strict != port->strict)
        port_set_limits(port, strict, now_ns);
    uint64_t room = port_request_room(port, slot, strict);
    if (room && !reserve_payload(port, room))
        return false;
    struct policy_decision decision = decide(port, slot, now_ns);
    if (decision.outcome == POLICY_WAIT) {
        audit_stream_release(port->fabric->audit, room);
        port->retry_ns = decision.retry_ns;
        return false;
    }
    bool held = decision.outcome == POLICY_HOLD;
    bool logs = strict || port->logs_payloads || held;
    slot->state = SLOT_PENDING;
    slot->decision = audit_decision_of(&decision);
    slot->rule = decision.rule;
    port_audit(port, slot, AUDIT_REQUEST, slot->decision, slot->rule, now_ns);
    if (logs)
        port_log_request(port, slot, strict);
    if (port->may_hold && !held)
        audit_stream_release(port->fabric->audit,
                             room - (logs ? audit_payload_bytes(port_copied_bytes(slot)) : 0));
    if (held)
        port_hold_begin(port, slot, decision.hold_ns, now_ns);
    else if (decision.outcome == POLICY_ALLOW)
        admit(port, slot, strict);
    else
        refuse_denied(port, slot, &decision);
    return true;
}

// Ends the hold of one request. Returns false if it goes on.
static bool release_held(struct port *port, struct slot *slot, uint16_t previous, uint64_t now_ns)
{
    bool strict;
    uint16_t verdict = port_hold_look(port, slot, now_ns);
    enum level_gate now = port_look(port, &strict);
    port->shut_seen = port->shut_seen || now == LEVEL_GATE_SHUT;
    if (!verdict || now != LEVEL_GATE_OPEN)
        return false;
    struct policy_decision decision = {.outcome = POLICY_DENY, .rule = slot->rule};
    if (verdict == AUDIT_VERDICT_APPROVED) {
        decision.outcome = POLICY_ALLOW;
        // Another level, another document, has other rules: what they deny, nobody can approve.
        if (strict != slot->decided_strict || slot->generation != port->generation)
            decision =
                port_policy_decide_approved(&port->policies[strict], &slot->question, now_ns);
        if (decision.outcome == POLICY_WAIT) {
            slot->held_until_ns = decision.retry_ns; // it has its verdict
            return false;
        }
        // What was approved is the request as it is: not one with something blotted out.
        if (decision.redacts)
            decision.outcome = POLICY_DENY;
    }
    port_list_remove(port, &port->held, previous, port_slot_index(port, slot));
    slot->state = SLOT_PENDING;
    if (decision.outcome == POLICY_DENY) {
        slot->decision = audit_decision_of(&decision);
        slot->rule = decision.rule;
        refuse_denied(port, slot, &decision);
    } else {
        admit(port, slot, strict);
    }
    return true;
}

// Held requests whose verdict came, or came not in time.
static unsigned serve_held(struct port *port, unsigned budget)
{
    unsigned done = 0;
    uint16_t previous = SLOT_NONE;
    port_hold_take_verdicts(port);
    uint64_t now_ns = port->held.head == SLOT_NONE ? 0 : clock_now_ns(port->fabric->clock);
    for (uint16_t index = port->held.head; index != SLOT_NONE && done < budget;) {
        uint16_t next = port->slots[index].next;
        if (release_held(port, &port->slots[index], previous, now_ns))
            done++;
        else
            previous = index;
        index = next;
    }
    return done;
}

// Requests whose records are on the disk go to the backend, in order.
static unsigned submit_recorded(struct port *port, unsigned budget)
{
    unsigned done = 0;
    while (port->recorded.head != SLOT_NONE && done < budget &&
           port->moved_bytes < PORT_SERVE_BYTES) {
        uint16_t index = port->recorded.head;
        struct slot *slot = &port->slots[index];
        bool strict;
        enum level_gate now = port_look(port, &strict);
        port->shut_seen = port->shut_seen || now == LEVEL_GATE_SHUT;
        if (now != LEVEL_GATE_OPEN || (strict && !port_request_is_durable(port, slot)))
            break;
        port_list_remove(port, &port->recorded, SLOT_NONE, index);
        submit(port, slot, strict);
        done++;
    }
    return done;
}

// Replies that wait for limits or for the end of a hold, in order.
static unsigned complete_ready(struct port *port, unsigned budget)
{
    unsigned done = 0;
    while (port->ready.head != SLOT_NONE && done < budget && port->moved_bytes < PORT_SERVE_BYTES) {
        if (port->reply_retry_ns && clock_now_ns(port->fabric->clock) < port->reply_retry_ns)
            break;
        port->reply_retry_ns = 0;
        uint16_t index = port->ready.head;
        uint16_t next = port->slots[index].next;
        if (!complete(port, &port->slots[index]))
            break;
        port->ready.head = next;
        if (next == SLOT_NONE)
            port->ready.tail = SLOT_NONE;
        done++;
    }
    return done;
}

// At Probation a request that came to the backend at Standard goes no further before its records,
// and its payload, are on the disk.
static unsigned resume_pending(struct port *port, unsigned budget)
{
    bool strict;
    bool blocked = false;
    unsigned progressed = 0;
    port_look(port, &strict);
    uint16_t previous = SLOT_NONE;
    uint16_t index = port->pending.head;
    while (index != SLOT_NONE && progressed < budget && port->moved_bytes < PORT_SERVE_BYTES) {
        struct slot *slot = &port->slots[index];
        uint16_t next = slot->next;
        // Also behind one that has to wait: all of them together wait for the disk once.
        if (strict && !port_request_is_durable(port, slot))
            blocked = true;
        if (blocked) {
            previous = index;
            index = next;
            continue;
        }
        port->backend_touched = true;
        if (port->backend->resume(port->backend_state, &slot->request) == PORT_DONE) {
            port_list_remove(port, &port->pending, previous, index);
            finish(port, slot);
            progressed++;
        } else {
            previous = index;
        }
        index = next;
    }
    return progressed;
}

static bool retry_throttled(struct port *port)
{
    uint64_t now_ns = clock_now_ns(port->fabric->clock);
    if (now_ns < port->retry_ns)
        return false;
    struct slot *slot = &port->slots[port->throttled];
    uint16_t index = port->throttled;
    port->throttled = SLOT_NONE;
    if (mediate(port, slot, now_ns))
        return true;
    port->throttled = index;
    return false;
}

// Reserves room for a request's records. Where the budget is scarce ports take turns: without them
// the first one in a pass would get whatever there is.
static bool reserve_records(struct port *port, uint64_t now_ns)
{
    struct audit_stream *stream = port->fabric->audit;
    if (stream->turn && stream->turn != port) {
        port->audit_retry_ns = stream->retry_ns ? stream->retry_ns : now_ns;
        return false;
    }
    if (audit_stream_reserve(stream, RECORDS_PER_REQUEST, now_ns)) {
        stream->turn = NULL;
        port->had_turn = true;
        return true;
    }
    port->audit_retry_ns = stream->retry_ns;
    if (stream->retry_ns && !port->had_turn)
        stream->turn = port;
    return false;
}

// Takes one chain from one queue through the path. Returns true if there was one.
static bool serve_queue(struct port *port, uint16_t number)
{
    struct port_queue *queue = &port->queues[number];
    if (port->free_slots == SLOT_NONE || !virtqueue_has_work(&queue->queue))
        return false;
    uint64_t now_ns = clock_now_ns(port->fabric->clock);
    if (!reserve_records(port, now_ns))
        return false;

    struct slot *slot = port_take_slot(port);
    slot->queue = number;
    slot->start_ns = now_ns;
    struct queue_anomaly anomaly;
    enum virtqueue_result result = virtqueue_pop(&queue->queue, &slot->chain, &anomaly);
    if (result == VIRTQUEUE_CHAIN) {
        anomaly = (struct queue_anomaly){copy_request(port, slot), slot->chain.head};
        if (anomaly.rule != QUEUE_RULE_NONE)
            result = VIRTQUEUE_ANOMALY;
    }
    if (result != VIRTQUEUE_CHAIN) {
        uint64_t unused = RECORDS_PER_REQUEST * sizeof(struct audit_record);
        port_free_slot(port, slot);
        if (result == VIRTQUEUE_ANOMALY) {
            close_on_anomaly(port, number, &anomaly);
            unused -= sizeof(struct audit_record);
        }
        audit_stream_release(port->fabric->audit, unused);
        return false;
    }
    port_count(&port->counters.requests, 1);
    port_count(&port->counters.bytes_in, slot->chain.readable_bytes);
    port->moved_bytes += slot->chain.readable_bytes;
    atomic_store_explicit(&port->counters.in_flight,
                          atomic_load_explicit(&port->counters.in_flight, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (!mediate(port, slot, now_ns)) {
        slot->state = SLOT_THROTTLED;
        port->throttled = port_slot_index(port, slot);
    }
    return true;
}

static unsigned serve_queues(struct port *port, unsigned budget)
{
    unsigned served = 0;
    for (unsigned idle = 0; served < budget && idle < port->queue_count;) {
        // A throttled request holds back everything behind it: order within a port is kept.
        if (port->throttled != SLOT_NONE || port->state != PORT_OPEN ||
            port->moved_bytes >= PORT_SERVE_BYTES)
            break;
        bool progressed = serve_queue(port, port->next_queue);
        port->next_queue =
            (uint16_t)(port->next_queue + 1u < port->queue_count ? port->next_queue + 1u : 0);
        served += progressed;
        idle = progressed ? 0 : idle + 1;
    }
    return served;
}

static void tell_drivers(struct port *port)
{
    for (unsigned i = 0; i < port->queue_count; i++) {
        struct port_queue *queue = &port->queues[i];
        if (!queue->pushed)
            continue;
        queue->pushed = false;
        if (virtqueue_wants_event(&queue->queue))
            port->fabric->host.raise_event(port->fabric->host.context, queue->target);
    }
}

// What Probation adds: its limits, and lists of what waits for the disk.
static unsigned serve_strict(struct port *port, unsigned budget)
{
    unsigned served = 0;
    bool strict;
    if (port_look(port, &strict) == LEVEL_GATE_OPEN && strict != port->strict)
        port_set_limits(port, strict, clock_now_ns(port->fabric->clock));
    if (port->sealed.head != SLOT_NONE)
        served += deliver_sealed(port, budget);
    if (port->recorded.head != SLOT_NONE)
        served += submit_recorded(port, budget - served);
    return served;
}

unsigned port_serve(struct port *port, unsigned budget)
{
    unsigned served = 0;
    port->moved_bytes = 0;
    port->audit_retry_ns = port->request_room = port->reply_room = port->record_room = 0;
    port->had_turn = port->waits_for_disk = false;
    bool open = port_settle_state(port);
    if (atomic_load_explicit(&port->news, memory_order_relaxed))
        port_take_engine(port, clock_now_ns(port->fabric->clock));
    if (port->backend->poll)
        port->backend->poll(port->backend_state);
    if (open) {
        served += serve_strict(port, budget);
        if ((port->may_hold || port->held.head != SLOT_NONE) && served < budget)
            served += serve_held(port, budget - served);
        served += complete_ready(port, budget - served);
        if (served < budget && port->pending.head != SLOT_NONE)
            served += resume_pending(port, budget - served);
        if (served < budget && port->throttled != SLOT_NONE && retry_throttled(port))
            served++;
        if (served < budget)
            served += serve_queues(port, budget - served);
    }
    // Who was not refused needs no turn.
    if (port->fabric->audit->turn == port && !port->audit_retry_ns)
        port->fabric->audit->turn = NULL;
    // The record goes before the effect.
    audit_stream_flush(port->fabric->audit);
    if (port->sealed.head != SLOT_NONE || port->recorded.head != SLOT_NONE || port->waits_for_disk)
        audit_stream_notify(port->fabric->audit); // a model waits: not at the next tick only
    if (port->backend_touched) {
        port->backend_touched = false;
        port->backend->flush(port->backend_state);
    }
    tell_drivers(port);
    return served;
}

static void wake_no_later(uint64_t *wake_ns, uint64_t when)
{
    if (when < *wake_ns)
        *wake_ns = when;
}

// What waits for the reader of the log: asks it for a wake-up. Returns false if there is work now.
static bool prepare_audit_sleep(struct port *port)
{
    struct audit_stream *stream = port->fabric->audit;
    bool strict;
    // Another level since the last pass: other limits, other reasons to wait.
    if (port_look(port, &strict) != LEVEL_GATE_OPEN || strict != port->strict)
        return false;
    if (port->waits_for_disk && !audit_stream_wait_taken(stream, port->disk_position))
        return false;
    if (port->sealed.head != SLOT_NONE &&
        !audit_stream_wait_taken(stream, port->slots[port->sealed.head].durable_at))
        return false;
    if (port->recorded.head != SLOT_NONE && !port->record_room) {
        const struct slot *slot = &port->slots[port->recorded.head];
        if (!strict || !slot->strict || !audit_stream_wait_taken(stream, slot->durable_at))
            return false;
    }
    if (port->request_room && !audit_stream_wait_bytes(stream, port->request_room))
        return false;
    if (port->record_room && !audit_stream_wait_bytes(stream, port->record_room))
        return false;
    return !port->reply_room || audit_stream_wait_bytes(stream, port->reply_room);
}

bool port_prepare_sleep(struct port *port, bool doorbells, uint64_t *wake_ns)
{
    bool idle;
    // Whoever opens the port, or the gate, wakes the thread.
    if (!port_may_serve(port, &idle))
        return idle;
    for (unsigned i = 0; i < port->queue_count; i++)
        virtqueue_set_doorbell(&port->queues[i].queue, doorbells);
    if (!prepare_audit_sleep(port))
        return false;
    if (port->throttled != SLOT_NONE && !port->request_room)
        wake_no_later(wake_ns, port->retry_ns);
    if (atomic_load_explicit(&port->news, memory_order_relaxed) ||
        !port_hold_prepare_sleep(port, wake_ns))
        return false;
    if (port->ready.head != SLOT_NONE && !port->reply_room)
        wake_no_later(wake_ns, port->reply_retry_ns);
    if (port->pending.head != SLOT_NONE &&
        port->backend->prepare_sleep(port->backend_state, wake_ns))
        return false;
    if (port->throttled != SLOT_NONE || port->free_slots == SLOT_NONE)
        return true; // new requests have to wait anyway
    if (port->audit_retry_ns) {
        wake_no_later(wake_ns, port->audit_retry_ns);
        return true;
    }
    for (unsigned i = 0; i < port->queue_count; i++) {
        // Without room for its records a request waits; the reader of the ring wakes us then.
        if (virtqueue_has_work(&port->queues[i].queue))
            return audit_stream_wait_bytes(port->fabric->audit,
                                           RECORDS_PER_REQUEST * sizeof(struct audit_record));
    }
    return true;
}

void port_wake(struct port *port)
{
    for (unsigned i = 0; i < port->queue_count; i++)
        virtqueue_set_doorbell(&port->queues[i].queue, false);
}
