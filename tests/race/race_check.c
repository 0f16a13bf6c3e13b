// SPDX-License-Identifier: Apache-2.0
// What policy, backend and audit saw of each request, and that it was the same.
//
// port.c is linked so that its calls of port_policy_decide and virtqueue_pop come here first.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "race.h"

#define CONTAINER(pointer, type, member)                                                           \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define AUDIT_BYTES (1u << 18)

// Bytes of a payload that are fetched a second time.
#define PEEK_BYTES 160u

struct policy_decision __real_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns);
struct policy_decision __wrap_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns);
enum virtqueue_result __real_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly);
enum virtqueue_result __wrap_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly);

void race_mismatch(const char *what, unsigned port, uint64_t number)
{
    if (tally_of(&tallies.mismatches) < 20)
        fprintf(stderr, "race: MISMATCH: %s, port %u, request %llu\n", what, port,
                (unsigned long long)number);
    tally(&tallies.mismatches);
}

// FNV-1a by words; the tail counts with zeros, and so does the length.
static uint64_t hash(uint32_t operation, uint32_t length, const uint8_t *payload)
{
    uint64_t value = 0xcbf29ce484222325ull;
    value = (value ^ operation) * 0x100000001b3ull;
    value = (value ^ length) * 0x100000001b3ull;
    for (uint32_t done = 0; payload && done < length; done += 8) {
        uint64_t word = 0;
        memcpy(&word, payload + done, length - done < 8 ? length - done : 8);
        value = (value ^ word) * 0x100000001b3ull;
    }
    return value;
}

// Waits, not long, until the mutator has been here: otherwise it would change next to nothing
// between two steps of the fabric, which are a few nanoseconds apart.
static void linger(unsigned port)
{
    uint64_t before = tally_of(&tallies.mutations);
    bool planned = port < world->port_count &&
                   atomic_load_explicit(&world->plans[port].count, memory_order_relaxed);
    for (unsigned i = planned ? 100 : 5; i && tally_of(&tallies.mutations) - before < 2; i--)
        __builtin_ia32_pause();
}

static unsigned port_of_queue(const struct virtqueue *queue)
{
    for (unsigned i = 0; i < world->port_count; i++) {
        if (queue == &world->ports[i]->queues[0].queue)
            return i;
    }
    return world->port_count; // of a backend process
}

static bool same_chain(const struct virtqueue_chain *one, const struct virtqueue_chain *other)
{
    if (one->head != other->head || one->count != other->count ||
        one->readable_count != other->readable_count)
        return false;
    for (unsigned i = 0; i < one->count; i++) {
        if (one->segments[i].address.value != other->segments[i].address.value ||
            one->segments[i].length != other->segments[i].length)
            return false;
    }
    return true;
}

enum virtqueue_result __wrap_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly)
{
    unsigned port = port_of_queue(queue);
    struct virtqueue again = *queue;
    struct virtqueue_chain second;
    struct queue_anomaly ignored;
    if (port < world->port_count)
        atomic_store_explicit(&world->focus, port, memory_order_relaxed);
    enum virtqueue_result result = __real_virtqueue_pop(queue, chain, anomaly);
    if (result != VIRTQUEUE_CHAIN || port >= world->port_count)
        return result;
    linger(port);
    // What a host would get that reads twice.
    if (__real_virtqueue_pop(&again, &second, &ignored) != VIRTQUEUE_CHAIN ||
        !same_chain(chain, &second))
        tally(&tallies.mutated_descriptor);
    return result;
}

// Fetches header and payload once more, and counts what is not any more what policy gets.
static void look_again(const struct port *port, const struct slot *slot)
{
    const struct virtqueue *queue = &port->queues[slot->queue].queue;
    struct port_request_header header;
    uint8_t payload[PEEK_BYTES];
    uint32_t length = slot->header.length < PEEK_BYTES ? slot->header.length : PEEK_BYTES;
    virtqueue_read(queue, &slot->chain, 0, &header, sizeof(header));
    if (memcmp(&header, &slot->header, sizeof(header)) != 0)
        tally(&tallies.mutated_header);
    if (!slot->question.payload || !length)
        return;
    virtqueue_read(queue, &slot->chain, sizeof(header), payload, length);
    if (memcmp(payload, slot->question.payload, length) != 0)
        tally(&tallies.mutated_payload);
}

struct policy_decision __wrap_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns)
{
    const struct slot *slot = CONTAINER(request, struct slot, question);
    // The harness stays at Standard.
    const struct port *port = CONTAINER(policy, struct port, policies[0]);
    struct race_watch *watch = &world->watches[port->index];
    uint64_t number = slot->request.number;
    uint64_t value = hash(request->operation, request->length, request->payload);
    struct race_sight *sight = &watch->sights[number % RACE_SIGHTS];
    if (!request->capacity_taken) {
        if (number <= watch->last_decided)
            race_mismatch("decided twice", port->index, number);
        watch->last_decided = number;
        *sight = (struct race_sight){.number = number, .hash = value, .header = slot->header};
        linger(port->index);
        if (port->index < RACE_PORTS) {
            tally(&tallies.policy);
            look_again(port, slot);
        }
    }
    struct policy_decision decision = __real_port_policy_decide(policy, request, now_ns);
    if (sight->number != number || sight->hash != value ||
        sight->hash != hash(request->operation, request->length, request->payload) ||
        memcmp(&sight->header, &slot->header, sizeof(sight->header)) != 0 ||
        request->operation != slot->header.operation || request->length != slot->header.length)
        race_mismatch("policy was asked about something else", port->index, number);
    sight->outcome = decision.outcome;
    sight->rule = decision.rule;
    if (decision.outcome == POLICY_ALLOW && port->index < RACE_PORTS)
        tally(&tallies.allowed);
    return decision;
}

static struct race_sight *check_request(const struct race_watch *watch,
                                        const struct port_request *request, const char *when)
{
    struct race_sight *sight = &watch->sights[request->number % RACE_SIGHTS];
    if (!request->clearance || sight->number != request->number || sight->outcome != POLICY_ALLOW ||
        sight->header.argument != request->argument ||
        sight->hash != hash(request->operation, request->length, request->payload))
        race_mismatch(when, watch->index, request->number);
    return sight;
}

void race_check_finish(struct race_watch *watch, const struct port_request *request)
{
    struct race_sight *sight = check_request(watch, request, "changed while it was pending");
    if (!sight->submitted || sight->done)
        race_mismatch("finished twice", watch->index, request->number);
    sight->done = true;
    sight->status = request->status;
    sight->reply_length = request->reply_length;
}

static enum port_progress finish(struct race_watch *watch, struct port_request *request)
{
    uint32_t wanted = 0;
    if (request->operation == OPERATION_ECHO)
        wanted = request->length;
    else if (request->operation == OPERATION_READ)
        wanted = request->argument;
    request->reply_length = wanted < request->reply_capacity ? wanted : request->reply_capacity;
    if (request->operation == OPERATION_ECHO)
        memcpy(request->reply, request->payload, request->reply_length);
    else
        memset(request->reply, 'r', request->reply_length);
    request->status = request->operation == OPERATION_TIGHT ? PORT_STATUS_INVALID : PORT_STATUS_OK;
    race_check_finish(watch, request);
    return PORT_DONE;
}

void race_check_submit(struct race_watch *watch, const struct port_request *request)
{
    struct race_sight *sight = check_request(watch, request, "the backend got something else");
    if (request->number <= watch->last_submitted || sight->submitted)
        race_mismatch("submitted twice", watch->index, request->number);
    watch->last_submitted = request->number;
    sight->submitted = true;
    if (watch->index < RACE_PORTS)
        tally(&tallies.submitted);
}

static enum port_progress submit(void *state, struct port_request *request)
{
    struct race_watch *watch = state;
    race_check_submit(watch, request);
    if (request->operation != OPERATION_PEND)
        return finish(watch, request);
    request->tag = watch->next_tag++ % PORT_MAX_IN_FLIGHT;
    watch->left[request->tag] = request->argument & 3;
    return PORT_PENDING;
}

static enum port_progress resume(void *state, struct port_request *request)
{
    struct race_watch *watch = state;
    if (watch->left[request->tag]) {
        watch->left[request->tag]--;
        return PORT_PENDING;
    }
    return finish(watch, request);
}

static void nothing(void *state)
{
    (void)state;
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return true; // what is pending takes a few more passes, and no wake-up
}

static const struct port_operation operations[] = {
    {OPERATION_ECHO, MAX_REQUEST, MAX_REPLY, "echo"}, {OPERATION_PEND, MAX_REQUEST, 0, "pend"},
    {OPERATION_READ, MAX_REQUEST, MAX_REPLY, "read"}, {OPERATION_TIGHT, TIGHT_BYTES, 0, "tight"},
    {OPERATION_SECRET, MAX_REQUEST, 0, "secret"},
};

const struct port_backend race_backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "race",
    .operations = operations,
    .operation_count = COUNT(operations),
    .submit = submit,
    .resume = resume,
    .flush = nothing,
    .prepare_sleep = prepare_sleep,
    .forget = nothing,
};

void race_check_held(const struct port *port)
{
    unsigned held = 0;
    uint32_t in_flight = atomic_load_explicit(&port->counters.in_flight, memory_order_relaxed);
    if (port->state != PORT_OPEN || port->dropped || port->shut_seen ||
        atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)&port->wanted, memory_order_acquire) !=
            PORT_OPEN)
        return;
    for (unsigned i = 0; i < port->queue_count; i++)
        held += port->queues[i].queue.in_flight_count;
    // A chain that no request stands for is one that its driver never gets back.
    if (held != in_flight)
        tally(&tallies.lost);
}

static void check_decision(struct race_audit *audit, const struct audit_record *record,
                           const struct race_sight *sight)
{
    bool seen = sight->number == record->request;
    unsigned port = record->port;
    if (record->request <= audit->last_request[port] ||
        audit->open[port * RACE_SIGHTS + record->request % RACE_SIGHTS])
        race_mismatch("audit: request out of order", port, record->request);
    audit->last_request[port] = record->request;
    audit->open[port * RACE_SIGHTS + record->request % RACE_SIGHTS] = 1;
    audit->requested[port]++;
    if (seen &&
        (sight->header.operation != record->operation || sight->header.length != record->length ||
         sight->header.cookie != record->cookie || sight->header.argument != record->argument))
        race_mismatch("audit: not what policy saw", port, record->request);
    switch (record->decision) {
    case AUDIT_DECISION_ALLOW:
        if (!seen || sight->outcome != POLICY_ALLOW || sight->rule != record->rule)
            race_mismatch("audit: allowed, policy said otherwise", port, record->request);
        break;
    case AUDIT_DECISION_DENY:
        if (seen && sight->outcome == POLICY_ALLOW && record->operation == OPERATION_TIGHT &&
            record->length > TIGHT_BYTES && record->rule == POLICY_RULE_REQUEST_SIZE)
            break;
        if (!seen || sight->outcome != POLICY_DENY || sight->rule != record->rule)
            race_mismatch("audit: denied, policy said otherwise", port, record->request);
        if (record->rule == POLICY_RULE_DEFAULT_DENY)
            tally(&tallies.not_granted);
        else if (record->rule == POLICY_RULE_REQUEST_SIZE && record->length > MAX_REQUEST)
            tally(&tallies.too_large);
        break;
    default: // dropped before policy had decided
        if (record->decision != AUDIT_DECISION_GATE || (seen && sight->outcome != POLICY_WAIT))
            race_mismatch("audit: gate, policy said otherwise", port, record->request);
        break;
    }
}

static void check_completion(struct race_audit *audit, const struct audit_record *record,
                             const struct race_sight *sight)
{
    unsigned port = record->port;
    uint8_t *open = &audit->open[port * RACE_SIGHTS + record->request % RACE_SIGHTS];
    if (!*open)
        race_mismatch("audit: completed twice", port, record->request);
    *open = 0;
    audit->completed[port]++;
    if (sight->number == record->request &&
        (sight->header.operation != record->operation || sight->header.cookie != record->cookie ||
         sight->header.argument != record->argument))
        race_mismatch("audit: not what policy saw, in the end", port, record->request);
    if (record->decision == AUDIT_DECISION_GATE) {
        if (record->status != PORT_STATUS_CLOSED || record->length)
            race_mismatch("audit: dropped with a reply", port, record->request);
        return;
    }
    if (sight->number != record->request || sight->outcome == POLICY_WAIT ||
        sight->submitted != sight->done)
        race_mismatch("audit: completed, but not decided or not done", port, record->request);
    else if (sight->done ? sight->status != record->status || sight->reply_length != record->length
                         : record->length || (record->status != PORT_STATUS_DENIED &&
                                              record->status != PORT_STATUS_TOO_LARGE))
        race_mismatch("audit: another result", port, record->request);
}

static void check_record(struct race_audit *audit, const struct audit_record *record)
{
    tally(&tallies.records);
    if (record->size != sizeof(*record) || record->sequence != audit->sequence++ ||
        record->port >= RACE_WATCHES || !audit->watches[record->port]) {
        race_mismatch("audit: not a record", record->port, record->request);
        return;
    }
    const struct race_sight *sight =
        &audit->watches[record->port]->sights[record->request % RACE_SIGHTS];
    switch (record->type) {
    case AUDIT_REQUEST:
        check_decision(audit, record, sight);
        break;
    case AUDIT_COMPLETION:
        check_completion(audit, record, sight);
        break;
    case AUDIT_ANOMALY:
        if (record->port >= RACE_PORTS) {
            tally(&tallies.process_anomalies);
            break;
        }
        tally(&tallies.anomalies);
        tally(&tallies.rules[record->detail % COUNT(tallies.rules)]);
        break;
    default:
        race_mismatch("audit: unknown record", record->port, record->request);
        break;
    }
}

void race_audit_start(struct race_audit *audit)
{
    struct error err;
    int fd = shared_ring_create("race-audit", AUDIT_BYTES, &err);
    if (fd < 0 || shared_ring_map(&audit->stream.ring, fd, AUDIT_BYTES, &err) < 0)
        race_die(err.text);
    close(fd);
    audit->reader = audit->stream.ring;
    audit->stream.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    audit->open = calloc(RACE_WATCHES, RACE_SIGHTS);
    if (audit->stream.wake_fd < 0 || !audit->open)
        race_die("audit ring");
}

void race_audit_end(struct race_audit *audit)
{
    if (audit->stream.reserved)
        race_mismatch("audit: room reserved for nothing", 0, audit->stream.reserved);
    for (unsigned i = 0; i < RACE_WATCHES; i++) {
        if (audit->requested[i] != audit->completed[i])
            race_mismatch("audit: never completed", i, audit->requested[i] - audit->completed[i]);
    }
    close(audit->stream.wake_fd);
    shared_ring_unmap(&audit->stream.ring);
    free(audit->open);
}

bool race_audit_drain(struct race_audit *audit)
{
    struct audit_record record;
    uint64_t available = shared_ring_available(&audit->reader);
    if (available == UINT64_MAX || available % sizeof(record))
        race_die("audit ring is broken");
    for (uint64_t done = 0; done < available; done += sizeof(record)) {
        shared_ring_peek(&audit->reader, done, &record, sizeof(record));
        check_record(audit, &record);
    }
    if (available)
        shared_ring_consume(&audit->reader, available);
    return available;
}

void *race_read(void *argument)
{
    struct race_audit *audit = argument;
    for (bool last = false; !last;) {
        last = atomic_load(&world->stop_reader);
        if (race_audit_drain(audit) || shared_ring_wait_data(&audit->reader) || last)
            continue;
        struct pollfd wait = {.fd = audit->stream.wake_fd, .events = POLLIN};
        uint64_t value;
        if (poll(&wait, 1, 1) > 0 && read(audit->stream.wake_fd, &value, sizeof(value)) < 0)
            race_die("read eventfd");
    }
    return NULL;
}
