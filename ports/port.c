// SPDX-License-Identifier: Apache-2.0
// The one mediation path: validate, gate, policy, audit, backend, gate, completion.
//
// A request exists only as a slot of this file: backends have no other way to receive one, and
// nothing here reads guest memory a second time.
#include "port.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Bytes of a reply that are copied between two looks at the gate (DESIGN: at least every 4 KiB).
#define GATE_CHECK_BYTES 4096u

// Denials that a port answers at once: enough for an honest mistake, too few to flood the audit
// log.
#define REFUSALS_PER_S 100u
#define REFUSALS_BURST 1000u

// Records reserved when a request is taken: one for the request, one for its completion.
#define RECORDS_PER_REQUEST 2u

enum slot_state {
    SLOT_FREE,
    SLOT_THROTTLED, // copied and validated; policy said wait
    SLOT_PENDING,   // at the backend
};

// One request in flight: the private copy that policy, audit and backend all look at.
struct slot {
    enum slot_state state;
    uint16_t queue;
    uint16_t next; // of the pending list or the free list; SLOT_NONE ends it
    uint64_t number;
    struct port_request_header header;
    struct virtqueue_chain chain;
    struct port_request request;
};

#define SLOT_NONE 0xffffu

struct port_queue {
    struct virtqueue queue;
    unsigned vcpu;
    bool raised; // completions since the last event
};

struct port {
    const struct port_fabric *fabric;
    const struct port_backend *backend;
    void *backend_state;
    struct port_policy policy;
    uint16_t index;
    uint16_t queue_count;
    uint16_t free_slots;   // list
    uint16_t pending_head; // list in arrival order
    uint16_t pending_tail;
    uint16_t throttled;  // slot that waits for its rate, or SLOT_NONE
    uint16_t next_queue; // round robin
    bool closed;
    bool backend_touched; // flush is due
    uint64_t retry_ns;    // when to try the throttled slot again
    uint64_t request_number;
    struct port_counters counters;
    char name[PORT_NAME_SIZE];
    uint16_t slot_count;
    struct slot *slots;
    uint8_t *buffers; // slot_count * (payload + reply)
    struct port_queue queues[PORT_MAX_QUEUES];
};

static void count(_Atomic uint64_t *counter, uint64_t amount)
{
    // One writer: a plain load and store are enough, and cost no locked instruction.
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

static const struct port_operation *find_operation(const struct port_backend *backend,
                                                   uint32_t number)
{
    for (unsigned i = 0; i < backend->operation_count; i++) {
        if (backend->operations[i].number == number)
            return &backend->operations[i];
    }
    return NULL;
}

static uint32_t largest_reply(const struct port_backend *backend)
{
    uint32_t largest = 0;
    for (unsigned i = 0; i < backend->operation_count; i++) {
        if (backend->operations[i].max_reply_bytes > largest)
            largest = backend->operations[i].max_reply_bytes;
    }
    return largest;
}

// Slots that a port has: requests in flight at once, whatever the queues' sizes.
#define PORT_SLOTS 64u

struct port *port_create(const struct port_fabric *fabric, const struct port_settings *settings,
                         struct error *err)
{
    const struct port_backend *backend = settings->backend;
    for (unsigned number = 0; number < 64; number++) {
        if ((settings->operations >> number & 1) && !find_operation(backend, number)) {
            error_set(err, EXIT_STATUS_BAD_FILE, 0, "port %s: a %s has no operation %u",
                      settings->name, backend->name, number);
            return NULL;
        }
    }
    struct port *port = calloc(1, sizeof(*port));
    uint32_t reply_bytes = largest_reply(backend);
    size_t buffer = (size_t)settings->max_request_bytes + reply_bytes;
    if (port) {
        port->slots = calloc(PORT_SLOTS, sizeof(*port->slots));
        port->buffers = calloc(PORT_SLOTS, buffer ? buffer : 1);
    }
    if (!port || !port->slots || !port->buffers) {
        port_destroy(port);
        error_set(err, EXIT_STATUS_RESOURCES, 0, "port %s: out of memory", settings->name);
        return NULL;
    }
    port->fabric = fabric;
    port->backend = backend;
    port->backend_state = settings->backend_state;
    port->index = settings->index;
    port->slot_count = PORT_SLOTS;
    port->pending_head = port->pending_tail = port->throttled = SLOT_NONE;
    port->policy.operations = settings->operations;
    port->policy.max_request_bytes = settings->max_request_bytes;
    uint64_t now_ns = clock_now_ns(fabric->clock);
    limits_init(&port->policy.limits, settings->limits, now_ns);
    token_bucket_init(&port->policy.refusals, REFUSALS_PER_S, REFUSALS_BURST, now_ns);
    strncpy(port->name, settings->name, sizeof(port->name) - 1);
    for (uint16_t i = 0; i < PORT_SLOTS; i++) {
        struct slot *slot = &port->slots[i];
        slot->next = i + 1u < PORT_SLOTS ? (uint16_t)(i + 1) : SLOT_NONE;
        slot->request.payload = port->buffers + i * buffer;
        slot->request.reply = port->buffers + i * buffer + settings->max_request_bytes;
    }
    return port;
}

int port_add_queue(struct port *port, const struct virtqueue *queue, unsigned vcpu,
                   struct error *err)
{
    if (port->queue_count == PORT_MAX_QUEUES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "port %s: too many queues", port->name);
    port->queues[port->queue_count++] = (struct port_queue){.queue = *queue, .vcpu = vcpu};
    virtqueue_set_doorbell(&port->queues[port->queue_count - 1].queue, false);
    return 0;
}

void port_destroy(struct port *port)
{
    if (!port)
        return;
    free(port->slots);
    free(port->buffers);
    free(port);
}

static unsigned gate_level(const struct port *port)
{
    return level_effective(port->fabric->level_supervisor, port->fabric->level_own);
}

static bool gate_open(const struct port *port)
{
    return !port->closed && level_allows_ports(gate_level(port));
}

static void audit(struct port *port, const struct slot *slot, enum audit_type type,
                  enum audit_decision decision, uint32_t rule, uint32_t length)
{
    struct audit_record record = {
        .type = (uint16_t)type,
        .port = port->index,
        .now_ns = clock_now_ns(port->fabric->clock),
        .request = slot->number,
        .cookie = slot->header.cookie,
        .argument = slot->header.argument,
        .operation = slot->header.operation,
        .length = length,
        .status = type == AUDIT_COMPLETION ? slot->request.status : 0,
        .rule = rule,
        .decision = (uint16_t)decision,
        .level = (uint16_t)gate_level(port),
    };
    audit_stream_append(port->fabric->audit, &record);
}

// A rule of the transport was broken: nothing that this driver says can be trusted any more.
static void close_on_anomaly(struct port *port, const struct queue_anomaly *anomaly)
{
    atomic_store_explicit(&port->counters.anomalies, 1, memory_order_relaxed);
    atomic_store_explicit(&port->counters.anomaly_rule, anomaly->rule, memory_order_relaxed);
    atomic_store_explicit(&port->counters.anomaly_descriptor, anomaly->descriptor,
                          memory_order_relaxed);
    struct audit_record record = {
        .type = AUDIT_ANOMALY,
        .port = port->index,
        .now_ns = clock_now_ns(port->fabric->clock),
        .request = port->request_number,
        .argument = anomaly->descriptor,
        .level = (uint16_t)gate_level(port),
        .detail = anomaly->rule,
    };
    audit_stream_append(port->fabric->audit, &record);
    port_close(port);
}

static struct slot *take_slot(struct port *port)
{
    struct slot *slot = &port->slots[port->free_slots];
    port->free_slots = slot->next;
    return slot;
}

static uint16_t slot_index(const struct port *port, const struct slot *slot)
{
    return (uint16_t)(slot - port->slots);
}

static void free_slot(struct port *port, struct slot *slot)
{
    slot->state = SLOT_FREE;
    slot->next = port->free_slots;
    port->free_slots = slot_index(port, slot);
}

// Records the end of a request that will never be answered, into the room reserved for it.
static void settle(struct port *port, uint16_t index)
{
    struct slot *slot = &port->slots[index];
    if (slot->state == SLOT_THROTTLED)
        audit(port, slot, AUDIT_REQUEST, AUDIT_DECISION_GATE, POLICY_RULE_DEFAULT_DENY,
              slot->request.length);
    slot->request.status = PORT_STATUS_CLOSED;
    audit(port, slot, AUDIT_COMPLETION, AUDIT_DECISION_GATE, POLICY_RULE_DEFAULT_DENY, 0);
    count(&port->counters.completions, 1);
    free_slot(port, slot);
}

void port_close(struct port *port)
{
    if (port->closed)
        return;
    port->closed = true;
    atomic_store_explicit(&port->counters.closed, 1, memory_order_relaxed);
    while (port->pending_head != SLOT_NONE) {
        uint16_t index = port->pending_head;
        port->pending_head = port->slots[index].next;
        settle(port, index);
    }
    port->pending_tail = SLOT_NONE;
    if (port->throttled != SLOT_NONE) {
        settle(port, port->throttled);
        port->throttled = SLOT_NONE;
    }
}

// Copies header and reply to the guest, looking at the gate again on the way: a reply that was
// ready when the gate closed stays here. Returns the bytes written.
static uint32_t deliver(struct port *port, struct slot *slot)
{
    struct virtqueue *queue = &port->queues[slot->queue].queue;
    struct port_request *request = &slot->request;
    struct port_reply_header header = {
        .status = request->status,
        .length = request->reply_length,
        .cookie = slot->header.cookie,
    };
    if (!gate_open(port) || !virtqueue_write(queue, &slot->chain, 0, &header, sizeof(header)))
        return 0;
    uint32_t done = 0;
    while (done < request->reply_length) {
        uint32_t part = request->reply_length - done;
        // The header counts: no more than GATE_CHECK_BYTES pass between two looks.
        uint32_t most = done ? GATE_CHECK_BYTES : GATE_CHECK_BYTES - (uint32_t)sizeof(header);
        if (part > most)
            part = most;
        if (done && !gate_open(port))
            break;
        if (!virtqueue_write(queue, &slot->chain, (uint32_t)sizeof(header) + done,
                             request->reply + done, part))
            break;
        done += part;
    }
    return (uint32_t)sizeof(header) + done;
}

// Ends a request: second gate, reply, audit, used ring, event.
static void complete(struct port *port, struct slot *slot)
{
    struct port_queue *queue = &port->queues[slot->queue];
    uint32_t written = deliver(port, slot);
    audit(port, slot, AUDIT_COMPLETION, written ? AUDIT_DECISION_ALLOW : AUDIT_DECISION_GATE,
          POLICY_RULE_GRANT, slot->request.reply_length);
    if (gate_open(port)) {
        virtqueue_push(&queue->queue, slot->chain.head, written);
        queue->raised = true;
        count(&port->counters.bytes_out, written);
    }
    count(&port->counters.completions, 1);
    free_slot(port, slot);
}

// Answers a request that goes no further with a status.
static void refuse(struct port *port, struct slot *slot, uint32_t status)
{
    slot->request.status = status;
    slot->request.reply_length = 0;
    complete(port, slot);
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
    request->operation = header->operation;
    request->argument = header->argument;
    request->length = header->length;
    request->status = PORT_STATUS_OK;
    request->reply_length = 0;
    request->reply_capacity = room;
    const struct port_operation *operation = find_operation(port->backend, header->operation);
    if (operation && request->reply_capacity > operation->max_reply_bytes)
        request->reply_capacity = operation->max_reply_bytes;
    // A payload beyond the grant is not copied: policy refuses it by its length alone.
    uint8_t *payload = (uint8_t *)(uintptr_t)request->payload;
    if (header->length && header->length <= port->policy.max_request_bytes &&
        !virtqueue_read(queue, &slot->chain, header_bytes, payload, header->length))
        return QUEUE_RULE_ADDRESS;
    return QUEUE_RULE_NONE;
}

static void add_pending(struct port *port, struct slot *slot)
{
    uint16_t index = slot_index(port, slot);
    slot->state = SLOT_PENDING;
    slot->next = SLOT_NONE;
    if (port->pending_tail == SLOT_NONE)
        port->pending_head = index;
    else
        port->slots[port->pending_tail].next = index;
    port->pending_tail = index;
}

// Gate, policy, audit, backend. Returns false if the request has to wait for its rate.
static bool mediate(struct port *port, struct slot *slot)
{
    const struct policy_request question = {slot->request.operation, slot->request.length};
    const struct port_operation *operation = find_operation(port->backend, question.operation);

    if (!gate_open(port)) {
        audit(port, slot, AUDIT_REQUEST, AUDIT_DECISION_GATE, 0, question.length);
        refuse(port, slot, PORT_STATUS_CLOSED);
        return true;
    }
    struct policy_decision decision =
        port_policy_decide(&port->policy, &question, clock_now_ns(port->fabric->clock));
    if (decision.outcome == POLICY_WAIT) {
        port->retry_ns = decision.retry_ns;
        return false;
    }
    if (decision.outcome == POLICY_ALLOW && question.length > operation->max_request_bytes)
        decision = (struct policy_decision){POLICY_DENY, POLICY_RULE_REQUEST_SIZE, 0};
    audit(port, slot, AUDIT_REQUEST,
          decision.outcome == POLICY_ALLOW ? AUDIT_DECISION_ALLOW : AUDIT_DECISION_DENY,
          decision.rule, question.length);
    if (decision.outcome == POLICY_DENY) {
        count(&port->counters.denied, 1);
        refuse(port, slot,
               decision.rule == POLICY_RULE_REQUEST_SIZE ? PORT_STATUS_TOO_LARGE
               : decision.rule == POLICY_RULE_TOTAL      ? PORT_STATUS_EXHAUSTED
                                                         : PORT_STATUS_DENIED);
        return true;
    }
    port->backend_touched = true;
    if (port->backend->submit(port->backend_state, &slot->request) == PORT_DONE)
        complete(port, slot);
    else
        add_pending(port, slot);
    return true;
}

static unsigned resume_pending(struct port *port)
{
    unsigned progressed = 0;
    uint16_t previous = SLOT_NONE;
    uint16_t index = port->pending_head;
    while (index != SLOT_NONE) {
        struct slot *slot = &port->slots[index];
        uint16_t next = slot->next;
        port->backend_touched = true;
        if (port->backend->resume(port->backend_state, &slot->request) == PORT_DONE) {
            if (previous == SLOT_NONE)
                port->pending_head = next;
            else
                port->slots[previous].next = next;
            if (port->pending_tail == index)
                port->pending_tail = previous;
            complete(port, slot);
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
    if (clock_now_ns(port->fabric->clock) < port->retry_ns)
        return false;
    struct slot *slot = &port->slots[port->throttled];
    if (!mediate(port, slot))
        return false;
    port->throttled = SLOT_NONE;
    return true;
}

// Takes one chain from one queue through the path. Returns true if there was one.
static bool serve_queue(struct port *port, uint16_t number)
{
    struct port_queue *queue = &port->queues[number];
    if (port->free_slots == SLOT_NONE || !virtqueue_has_work(&queue->queue))
        return false;
    if (!audit_stream_reserve(port->fabric->audit, RECORDS_PER_REQUEST))
        return false;

    struct slot *slot = take_slot(port);
    slot->queue = number;
    struct queue_anomaly anomaly;
    enum virtqueue_result result = virtqueue_pop(&queue->queue, &slot->chain, &anomaly);
    if (result == VIRTQUEUE_CHAIN) {
        slot->number = ++port->request_number;
        anomaly = (struct queue_anomaly){copy_request(port, slot), slot->chain.head};
        if (anomaly.rule != QUEUE_RULE_NONE)
            result = VIRTQUEUE_ANOMALY;
    }
    if (result != VIRTQUEUE_CHAIN) {
        unsigned unused = RECORDS_PER_REQUEST;
        if (result == VIRTQUEUE_ANOMALY) {
            close_on_anomaly(port, &anomaly);
            unused--;
        }
        audit_stream_release(port->fabric->audit, unused);
        free_slot(port, slot);
        return false;
    }
    count(&port->counters.requests, 1);
    count(&port->counters.bytes_in, slot->chain.readable_bytes);
    if (!mediate(port, slot)) {
        slot->state = SLOT_THROTTLED;
        port->throttled = slot_index(port, slot);
    }
    return true;
}

bool port_has_work(const struct port *port)
{
    if (port->closed)
        return false;
    for (unsigned i = 0; i < port->queue_count; i++) {
        if (virtqueue_has_work(&port->queues[i].queue))
            return true;
    }
    return port->pending_head != SLOT_NONE || port->throttled != SLOT_NONE;
}

unsigned port_serve(struct port *port, unsigned budget)
{
    unsigned served = 0;
    if (port->closed)
        return 0;
    if (port->pending_head != SLOT_NONE)
        served += resume_pending(port);
    // A throttled request holds back everything behind it: order within a port is kept.
    if (port->throttled != SLOT_NONE && retry_throttled(port))
        served++;
    for (unsigned idle = 0; served < budget && idle < port->queue_count && !port->closed;) {
        if (port->throttled != SLOT_NONE)
            break;
        bool progressed = serve_queue(port, port->next_queue);
        port->next_queue = (uint16_t)((port->next_queue + 1) % port->queue_count);
        served += progressed;
        idle = progressed ? 0 : idle + 1;
    }
    if (port->backend_touched) {
        port->backend_touched = false;
        port->backend->flush(port->backend_state);
    }
    for (unsigned i = 0; i < port->queue_count; i++) {
        if (port->queues[i].raised) {
            port->queues[i].raised = false;
            port->fabric->host.raise_event(port->fabric->host.context, port->queues[i].vcpu);
        }
    }
    return served;
}

bool port_prepare_sleep(struct port *port, bool doorbells, uint64_t *wake_ns)
{
    if (port->closed)
        return true;
    for (unsigned i = 0; i < port->queue_count; i++)
        virtqueue_set_doorbell(&port->queues[i].queue, doorbells);
    if (port->throttled != SLOT_NONE && port->retry_ns < *wake_ns)
        *wake_ns = port->retry_ns;
    if (port->pending_head != SLOT_NONE && port->backend->prepare_sleep(port->backend_state))
        return false;
    if (port->throttled != SLOT_NONE || port->free_slots == SLOT_NONE)
        return true; // new requests have to wait anyway
    for (unsigned i = 0; i < port->queue_count; i++) {
        if (virtqueue_has_work(&port->queues[i].queue))
            return false;
    }
    return true;
}

void port_wake(struct port *port)
{
    for (unsigned i = 0; i < port->queue_count; i++)
        virtqueue_set_doorbell(&port->queues[i].queue, false);
}

const struct port_counters *port_counters(const struct port *port)
{
    return &port->counters;
}
