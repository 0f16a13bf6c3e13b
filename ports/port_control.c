// SPDX-License-Identifier: Apache-2.0
// A port's life: made, closed, opened again, measured.
#include <stdlib.h>
#include <string.h>

#include "policy_engine.h"
#include "port_internal.h"

static bool has_operation(const struct port_backend *backend, uint32_t number)
{
    for (unsigned i = 0; i < backend->operation_count; i++) {
        if (backend->operations[i].number == number)
            return true;
    }
    return false;
}

static int check_settings(const struct port_settings *settings, struct error *err)
{
    for (unsigned number = 0; number < 64; number++) {
        if ((settings->operations >> number & 1) && !has_operation(settings->backend, number))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "port %s: a %s has no operation %u",
                             settings->name, settings->backend->name, number);
    }
    if (!settings->in_flight || settings->in_flight > PORT_MAX_IN_FLIGHT ||
        settings->max_request_bytes > PORT_MAX_BYTES ||
        settings->max_reply_bytes > PORT_MAX_BYTES ||
        settings->tight_request_bytes > settings->max_request_bytes ||
        settings->tight_reply_bytes > settings->max_reply_bytes)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "port %s: settings out of range",
                         settings->name);
    return 0;
}

// More than all of a total cannot be used: what is left must not wrap.
static uint64_t used_up(uint64_t used, uint64_t total)
{
    return used < total ? used : total;
}

static void init_policies(struct port *port, const struct port_settings *settings)
{
    uint64_t now_ns = clock_now_ns(port->fabric->clock);
    port_policy_init(&port->policies[0], settings->operations, settings->max_request_bytes,
                     settings->limits, now_ns);
    port->policies[1] = port->policies[0];
    port->tight_reply_bytes = settings->max_reply_bytes;
    if (settings->tight_limits) {
        port_policy_init(&port->policies[1], settings->operations, settings->tight_request_bytes,
                         settings->tight_limits, now_ns);
        port->tight_reply_bytes = settings->tight_reply_bytes;
    }
    for (unsigned i = 0; i < port->backend->operation_count; i++) {
        const struct port_operation *operation = &port->backend->operations[i];
        for (unsigned set = 0; set < 2; set++)
            port_policy_bound(&port->policies[set], operation->number,
                              operation->max_request_bytes);
    }
    port->policies[0].engine = port->policies[1].engine = port->engine;
    port->policies[1].probation = true;
    port->policy = &port->policies[0];
    struct limits *limits = &port->policy->limits;
    limits->requests_used = used_up(settings->requests_used, limits->requests_total);
    limits->bytes_used = used_up(settings->bytes_used, limits->bytes_total);
    limits->reply_bytes_used = used_up(settings->reply_bytes_used, limits->reply_bytes_total);
}

void port_set_limits(struct port *port, bool strict, uint64_t now_ns)
{
    struct port_policy *policy = &port->policies[strict];
    port_policy_follow(policy, port->policy, strict, now_ns);
    port->policy = policy;
    port->strict = strict;
    port->retry_ns = port->reply_retry_ns = 0;
}

struct port *port_create(const struct port_fabric *fabric, const struct port_settings *settings,
                         struct error *err)
{
    if (check_settings(settings, err) < 0)
        return NULL;
    struct port *port = calloc(1, sizeof(*port));
    size_t buffer = (size_t)settings->max_request_bytes + settings->max_reply_bytes;
    if (port) {
        port->slots = calloc(settings->in_flight, sizeof(*port->slots));
        port->buffers = calloc(settings->in_flight, buffer ? buffer : 1);
    }
    if (!port || !port->slots || !port->buffers) {
        port_destroy(port);
        error_set(err, EXIT_STATUS_RESOURCES, 0, "port %s: out of memory", settings->name);
        return NULL;
    }
    if (settings->document) {
        port->engine = policy_engine_create(settings->document, settings->name, fabric->clock,
                                            settings->document_memory, err);
        if (!port->engine) {
            port_destroy(port);
            return NULL;
        }
        port->has_approvers = settings->has_approvers;
        port->decides_inward = settings->decides_inward;
        port->may_hold = port->has_approvers && policy_engine_holds(port->engine);
    }
    port->fabric = fabric;
    port->backend = settings->backend;
    port->backend_state = settings->backend_state;
    port->index = settings->index;
    port->max_reply_bytes = settings->max_reply_bytes;
    port->highest = settings->closed_at_probation ? LEVEL_STANDARD : LEVEL_PROBATION;
    memcpy(port->name, settings->name, strnlen(settings->name, sizeof(port->name) - 1));
    for (uint16_t i = 0; i < settings->in_flight; i++) {
        port->slots[i].next = i + 1u < settings->in_flight ? (uint16_t)(i + 1) : SLOT_NONE;
        port->slots[i].request.payload = port->buffers + i * buffer;
        port->slots[i].request.reply = port->buffers + i * buffer + settings->max_request_bytes;
    }
    port->throttled = SLOT_NONE;
    port->held = port->recorded = port->pending = port->ready = port->sealed =
        (struct slot_list){SLOT_NONE, SLOT_NONE};
    port->logs_payloads = settings->logs_payloads;
    port->digests_only = settings->digests_only;
    init_policies(port, settings);
    return port;
}

int port_add_queue(struct port *port, const struct virtqueue *queue, unsigned target,
                   struct error *err)
{
    if (port->queue_count == PORT_MAX_QUEUES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "port %s: too many queues", port->name);
    port->queues[port->queue_count++] = (struct port_queue){.queue = *queue, .target = target};
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

struct policy_engine *port_make_engine(const struct port *port,
                                       const struct policy_arrays *document,
                                       struct policy_memory *memory, struct error *err)
{
    return policy_engine_create(document, port->name, port->fabric->clock, memory, err);
}

void port_use_engine(struct port *port, struct policy_engine *engine)
{
    atomic_store_explicit(&port->news, engine, memory_order_release);
}

void port_take_engine(struct port *port, uint64_t now_ns)
{
    struct policy_engine *engine = atomic_exchange(&port->news, NULL);
    policy_engine_follow(engine, port->engine, now_ns);
    port->engine = port->policies[0].engine = port->policies[1].engine = engine;
    port->may_hold = port->has_approvers && policy_engine_holds(engine);
    port->generation++;
    // What was accounted is a rule of another table.
    if (port->throttled != SLOT_NONE)
        port->slots[port->throttled].question.rule_taken = 0;
    for (uint16_t i = port->held.head; i != SLOT_NONE; i = port->slots[i].next)
        port->slots[i].question.rule_taken = 0;
}

void port_close(struct port *port)
{
    // An anomaly stays one: opening the port again has to pass over what its driver left.
    uint32_t open = PORT_OPEN;
    atomic_compare_exchange_strong(&port->wanted, &open, PORT_CLOSED_ORDER);
}

void port_open(struct port *port)
{
    // An anomaly that comes at this moment is not what the operator meant: it closes the port.
    uint32_t closed = atomic_load(&port->wanted);
    if (closed != PORT_OPEN)
        atomic_compare_exchange_strong(&port->wanted, &closed, PORT_OPEN);
}

static void set_state(struct port *port, enum port_state state)
{
    port->state = state;
    atomic_store_explicit(&port->counters.state, state, memory_order_relaxed);
}

// What was dropped while the port was closed goes back to its driver, without a byte.
static void return_dropped(struct port *port)
{
    for (unsigned i = 0; i < port->queue_count; i++) {
        struct port_queue *queue = &port->queues[i];
        if (port->pass_over && i == port->broken)
            virtqueue_skip_published(&queue->queue);
        if (virtqueue_return_held(&queue->queue))
            queue->pushed = true;
    }
    port->pass_over = false;
}

bool port_settle_state(struct port *port)
{
    enum port_state wanted =
        (enum port_state)atomic_load_explicit(&port->wanted, memory_order_acquire);
    enum level_gate gate =
        level_gate_up_to(port->fabric->level_supervisor, port->fabric->level_own, port->highest);
    if (port->stopped)
        return false;
    // Closed and open again, or shut and open, since the last call: what was in flight at that
    // moment is dropped all the same.
    if (port->shut_seen) {
        port_drop_in_flight(port);
        port->shut_seen = false;
        port->dropped = true;
    }
    if (wanted != port->state) {
        if (wanted != PORT_OPEN) {
            port_drop_in_flight(port);
        } else if (gate == LEVEL_GATE_OPEN) {
            return_dropped(port);
            port->dropped = false;
        } else {
            return false; // opens with the gate
        }
        set_state(port, wanted);
    }
    if (wanted != PORT_OPEN)
        return false;
    if (gate == LEVEL_GATE_SHUT && !port->dropped) {
        port_drop_in_flight(port);
        port->dropped = true;
    }
    if (gate == LEVEL_GATE_OPEN && port->dropped) {
        return_dropped(port);
        port->dropped = false;
    }
    return gate == LEVEL_GATE_OPEN;
}

bool port_may_serve(const struct port *port, bool *idle)
{
    enum port_state wanted =
        (enum port_state)atomic_load_explicit(&port->wanted, memory_order_acquire);
    enum level_gate gate =
        level_gate_up_to(port->fabric->level_supervisor, port->fabric->level_own, port->highest);
    *idle = true;
    if (port->stopped)
        return false;
    if (port->shut_seen)
        *idle = false;
    else if (wanted != port->state) // opening waits for the gate
        *idle = wanted == PORT_OPEN && gate != LEVEL_GATE_OPEN;
    else if (wanted == PORT_OPEN && gate == LEVEL_GATE_SHUT)
        *idle = port->dropped;
    return wanted == PORT_OPEN && port->state == PORT_OPEN && gate == LEVEL_GATE_OPEN &&
           !port->shut_seen;
}

void port_stop(struct port *port)
{
    if (port->stopped)
        return;
    port_drop_in_flight(port);
    port->stopped = true;
    if (port->state == PORT_OPEN)
        set_state(port, PORT_CLOSED_ORDER);
}

void port_notify(struct port *port)
{
    unsigned queued = 0;
    for (unsigned i = 0; i < port->queue_count; i++)
        queued += virtqueue_published(&port->queues[i].queue);
    atomic_store_explicit(&port->counters.queued, queued, memory_order_relaxed);
    if (port->backend->notify)
        port->backend->notify(port->backend_state);
}

const struct port_counters *port_counters(const struct port *port)
{
    return &port->counters;
}

// Upper end of a bucket of the histogram; see record_latency in port.c.
static uint64_t bucket_end_ns(unsigned bucket)
{
    if (bucket < 8)
        return bucket + 1;
    unsigned exponent = bucket / 8 + 2;
    return (9ull + bucket % 8) << (exponent - 3);
}

uint64_t port_latency_ns(const struct port_counters *counters, double fraction)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    uint64_t copy[PORT_LATENCY_BUCKETS];
    for (unsigned i = 0; i < PORT_LATENCY_BUCKETS; i++) {
        copy[i] = atomic_load_explicit(&counters->latency[i], memory_order_relaxed);
        total += copy[i];
    }
    uint64_t wanted = (uint64_t)((double)total * fraction);
    for (unsigned i = 0; i < PORT_LATENCY_BUCKETS; i++) {
        seen += copy[i];
        if (total && seen > wanted)
            return bucket_end_ns(i);
    }
    return total ? bucket_end_ns(PORT_LATENCY_BUCKETS - 1) : 0;
}
