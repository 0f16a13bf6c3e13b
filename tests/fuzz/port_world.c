// SPDX-License-Identifier: Apache-2.0
// The world around a port, and what must be true of it.
#include "port_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTAINER(pointer, type, member)                                                           \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct policy_decision __real_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns);
struct policy_decision __wrap_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns);
enum virtqueue_result __real_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly);
enum virtqueue_result __wrap_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly);
bool __real_virtqueue_write(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                            uint32_t offset, const void *source, uint32_t length);
bool __wrap_virtqueue_write(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                            uint32_t offset, const void *source, uint32_t length);

// The wrappers know nothing else.
static struct world *current;

static uint8_t ring_memory[SHARED_RING_DATA_OFFSET + WORLD_AUDIT_BYTES]
    __attribute__((aligned(4096)));

_Noreturn void world_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    abort();
}

uint8_t world_byte(struct world_input *input)
{
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

static uint64_t hash(uint32_t operation, uint32_t length, const uint8_t *payload)
{
    uint64_t value = 0xcbf29ce484222325ull ^ operation ^ (uint64_t)length << 32;
    for (uint32_t i = 0; payload && i < length; i++)
        value = (value ^ payload[i]) * 0x100000001b3ull;
    return value;
}

static enum level_gate gate_of(const struct world *world)
{
    return level_gate_up_to(&world->level_supervisor, &world->level_own, world->port->highest);
}

static enum port_state wanted(const struct world *world)
{
    return (enum port_state)atomic_load((_Atomic uint32_t *)(uintptr_t)&world->port->wanted);
}

static struct world_request *request_of(struct world *world, uint64_t number)
{
    world_require(number < WORLD_REQUESTS);
    if (number > world->last_number)
        world->last_number = number;
    return &world->requests[number];
}

static void store(struct world *world, uint32_t offset, const void *value, size_t length)
{
    offset %= world->settings.bytes;
    if (length > world->settings.bytes - offset)
        length = world->settings.bytes - offset;
    memcpy(world->region + offset, value, length);
    // In the middle of a call: not the fabric's doing.
    memcpy(world->before + offset, value, length);
    memcpy(world->at_shut + offset, value, length);
}

static void scribble(struct world *world, uint8_t a, uint8_t b)
{
    for (unsigned i = 0; i < 64; i++) {
        uint32_t offset = (a * 80u + i) % world->settings.bytes;
        uint8_t value = (uint8_t)(world->region[offset] ^ (b | 1));
        store(world, offset, &value, 1);
    }
}

static void fire(struct world *world, enum world_event kind, uint8_t a, uint8_t b)
{
    struct level_page *page = a & 1 ? &world->level_own : &world->level_supervisor;
    switch (kind) {
    case WORLD_SCRIBBLE:
        scribble(world, a, b);
        break;
    case WORLD_CLOSE:
        port_close(world->port);
        break;
    case WORLD_OPEN:
        port_open(world->port);
        break;
    case WORLD_LEVEL:
        atomic_store(&page->level, b % 8);
        break;
    case WORLD_HOLD:
        atomic_store(&page->hold, b & 1);
        break;
    case WORLD_STEP:
        world->now += (uint64_t)b << (a % 32);
        break;
    case WORLD_NOTHING:
    case WORLD_EVENTS:
    default:
        break;
    }
}

void world_turn(struct world *world)
{
    if (!world->in_call || world->event.kind == WORLD_NOTHING || world->event.countdown--)
        return;
    world->fired = true;
    bool open = wanted(world) == PORT_OPEN && gate_of(world) == LEVEL_GATE_OPEN;
    fire(world, world->event.kind, world->event.a, world->event.b);
    world->event.kind = WORLD_NOTHING;
    if (open && (wanted(world) != PORT_OPEN || gate_of(world) != LEVEL_GATE_OPEN)) {
        world->shut = true;
        memcpy(world->at_shut, world->region, world->settings.bytes);
    }
}

static uint64_t now_ns(const struct clock *clock)
{
    struct world *world = clock->context;
    world_turn(world);
    return world->now;
}

static void raise_event(void *context, unsigned target)
{
    struct world *world = context;
    world_require(target < world->settings.queues);
    world_turn(world);
}

enum virtqueue_result __wrap_virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                           struct queue_anomaly *anomaly)
{
    struct world *world = current;
    unsigned number = (unsigned)(CONTAINER(queue, struct port_queue, queue) - world->port->queues);
    // What was published before an anomaly is passed over when the port opens.
    world_require(!world->distrusted || world->fired || number != world->port->broken);
    enum virtqueue_result result = __real_virtqueue_pop(queue, chain, anomaly);
    if (result != VIRTQUEUE_CHAIN)
        return result;
    world_require(world->chain_count < COUNT(world->chains));
    world->chains[world->chain_count].queue = number;
    world->chains[world->chain_count++].chain = *chain;
    return result;
}

// Between two pieces of a reply: the next one must not come if the gate has shut. Its header counts
// as part of the first piece.
bool __wrap_virtqueue_write(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                            uint32_t offset, const void *source, uint32_t length)
{
    world_require(length <= 4096);
    bool written = __real_virtqueue_write(queue, chain, offset, source, length);
    if (offset)
        world_turn(current);
    return written;
}

struct policy_decision __wrap_port_policy_decide(struct port_policy *policy,
                                                 struct policy_request *question, uint64_t time_ns)
{
    struct world *world = current;
    const struct slot *slot = CONTAINER(question, struct slot, question);
    struct world_request *request = request_of(world, slot->request.number);
    uint64_t value = hash(question->operation, question->length, question->payload);
    world_require(question->operation == slot->header.operation &&
                  question->length == slot->header.length && !slot->header.flags);
    // Every chain gives exactly one request.
    world_require(slot->header.length == slot->chain.readable_bytes - sizeof(slot->header));
    if (!request->decided)
        *request = (struct world_request){.decided = true, .header = slot->header, .hash = value};
    world_require(request->hash == value && !request->submitted &&
                  memcmp(&request->header, &slot->header, sizeof(slot->header)) == 0);
    world_turn(world);
    struct policy_decision decision = __real_port_policy_decide(policy, question, time_ns);
    world_turn(world);
    return decision;
}

void world_unchanged(struct world *world, const struct port_request *request)
{
    const struct world_request *known = request_of(world, request->number);
    world_require(known->decided && known->submitted && request->clearance &&
                  request->operation == known->header.operation &&
                  request->argument == known->header.argument &&
                  hash(request->operation, request->length, request->payload) == known->hash);
}

void world_submitted(struct world *world, const struct port_request *request)
{
    struct world_request *known = request_of(world, request->number);
    world_require(!known->submitted);
    known->submitted = true;
    world_unchanged(world, request);
    world_require(WORLD_GRANTED >> request->operation & 1);
    world_require(request->length <= world->settings.max_request &&
                  request->reply_capacity <= world->settings.max_reply);
    if (request->operation == WORLD_TIGHT)
        world_require(request->length <= WORLD_TIGHT_BYTES && !request->reply_capacity);
}

static void answer(struct world *world, struct port_request *request)
{
    world_unchanged(world, request);
    uint32_t length = request->operation == WORLD_READ ? request->argument : world->reply_length;
    request->reply_length = length < request->reply_capacity ? length : request->reply_capacity;
    memset(request->reply, 'r', request->reply_length);
    request->status = world->status;
}

static enum port_progress submit(void *state, struct port_request *request)
{
    struct world *world = state;
    world_submitted(world, request);
    world_turn(world);
    if (!world->pend) {
        answer(world, request);
        return PORT_DONE;
    }
    world_require(world->pending_count < world->settings.in_flight);
    world->pending[world->pending_count++] = request;
    return PORT_PENDING;
}

static enum port_progress resume(void *state, struct port_request *request)
{
    struct world *world = state;
    unsigned at = 0;
    while (at < world->pending_count && world->pending[at] != request)
        at++;
    world_require(at < world->pending_count && request->number > world->last_resumed);
    world->last_resumed = request->number;
    world_turn(world);
    if (!world->finish || (world->odd_only && request->number % 2 == 0))
        return PORT_PENDING;
    world->finish--;
    memmove(world->pending + at, world->pending + at + 1,
            (world->pending_count - at - 1) * sizeof(world->pending[0]));
    world->pending_count--;
    answer(world, request);
    return PORT_DONE;
}

static void look(void *state)
{
    world_turn(state);
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    struct world *world = state;
    (void)wake_ns;
    world_require(world->pending_count);
    return world->finish != 0;
}

static void forget(void *state)
{
    struct world *world = state;
    world->pending_count = 0;
}

const struct port_operation world_operations[4] = {
    {WORLD_ECHO, PORT_MAX_BYTES, PORT_MAX_BYTES, "echo"},
    {WORLD_READ, PORT_MAX_BYTES, 6000, "read"},
    {WORLD_TIGHT, WORLD_TIGHT_BYTES, 0, "tight"},
    {WORLD_SECRET, 16, 16, "secret"},
};

static const struct port_backend backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "fuzz",
    .operations = world_operations,
    .operation_count = COUNT(world_operations),
    .submit = submit,
    .resume = resume,
    .poll = look,
    .flush = look,
    .notify = look,
    .prepare_sleep = prepare_sleep,
    .forget = forget,
};

static void start_audit(struct world *world)
{
    memset(ring_memory, 0, sizeof(struct shared_ring_header));
    world->audit.ring = (struct shared_ring){
        .header = (struct shared_ring_header *)(void *)ring_memory,
        .data = ring_memory + SHARED_RING_DATA_OFFSET,
        .size = world->settings.audit_bytes,
    };
    world->audit.wake_fd = -1;
    world->reader = world->audit.ring;
    token_bucket_init(&world->audit.budget, world->settings.audit_per_s, 0, world->now);
}

void world_start(struct world *world, const struct world_settings *settings)
{
    struct error err;
    // Not all of it: that would take longer than most inputs do.
    memset(world->requests, 0, (world->last_number + 1) * sizeof(world->requests[0]));
    world->last_number = 0;
    memset(world, 0, offsetof(struct world, chains));
    current = world;
    world->settings = *settings;
    world->now = 1000000000;
    // From the heap, of just its size: the sanitizer guards both ends.
    world->region = aligned_alloc(16, settings->bytes);
    memset(world->region, 0, settings->bytes);
    world_require(guest_memory_add(&world->memory, (struct gpa){settings->base}, settings->bytes,
                                   world->region, GUEST_READ | GUEST_WRITE, &err) == 0);
    start_audit(world);
    world->clock = (struct clock){now_ns, now_ns, world};
    world->fabric = (struct port_fabric){
        &world->level_supervisor,
        &world->level_own,
        &world->audit,
        &world->clock,
        {.raise_event = raise_event, .context = world},
    };
    const struct port_settings port = {
        .name = "fuzz",
        .index = 3,
        .backend = settings->backend ? settings->backend : &backend,
        .backend_state = settings->backend ? settings->backend_state : world,
        .operations = WORLD_GRANTED,
        .max_request_bytes = settings->max_request,
        .max_reply_bytes = settings->max_reply,
        .in_flight = settings->in_flight,
        .closed_at_probation = settings->closed_at_probation,
        .limits = settings->limits,
    };
    world->port = port_create(&world->fabric, &port, &err);
    world_require(world->port);
    for (unsigned i = 0; i < settings->queues; i++) {
        struct virtqueue queue;
        const struct gpa base = {settings->base};
        world_require(virtqueue_init(&queue, &world->memory, settings->queue_size,
                                     settings->features, gpa_add(base, settings->at[i].descriptors),
                                     gpa_add(base, settings->at[i].available),
                                     gpa_add(base, settings->at[i].used), &err) == 0);
        world_require(port_add_queue(world->port, &queue, i, &err) == 0);
    }
}

void world_begin(struct world *world)
{
    memcpy(world->before, world->region, world->settings.bytes);
    world->quiet = wanted(world) != PORT_OPEN || gate_of(world) != LEVEL_GATE_OPEN;
    world->in_call = true;
    world->fired = world->shut = false;
    world->last_resumed = 0;
}

static bool is_held(const struct world *world, unsigned queue, uint16_t head)
{
    return world->port->queues[queue].queue.in_flight[head / 64] >> (head % 64) & 1;
}

// A loop over so much would be most of what the fuzzer sees of an input.
#define UNSEEN __attribute__((noinline, no_sanitize("coverage")))

// Nothing is written but used rings and the writable parts of chains that the fabric was given.
UNSEEN static void check_writes(struct world *world)
{
    const struct world_settings *settings = &world->settings;
    if (memcmp(world->region, world->before, settings->bytes) == 0)
        return;
    world_require(!world->quiet || world->fired || world->doorbells);
    memset(world->writable, 0, settings->bytes);
    for (unsigned i = 0; i < world->chain_count; i++) {
        const struct virtqueue_chain *chain = &world->chains[i].chain;
        for (unsigned k = chain->readable_count; k < chain->count; k++)
            memset(world->writable + (chain->segments[k].address.value - settings->base), 1,
                   chain->segments[k].length);
    }
    for (unsigned i = 0; i < settings->queues; i++)
        memset(world->writable + settings->at[i].used, 2, VIRTQ_USED_BYTES(settings->queue_size));
    const uint8_t *buffers = world->shut ? world->at_shut : world->before;
    bool rings_only = world->shut || world->doorbells;
    for (uint32_t i = 0; i < settings->bytes; i++) {
        if (i % 64 == 0 && memcmp(world->region + i, world->before + i, 64) == 0 &&
            memcmp(world->region + i, buffers + i, 64) == 0) {
            i += 63;
            continue;
        }
        world_require(world->region[i] == world->before[i] || world->writable[i]);
        world_require(!rings_only || world->region[i] == buffers[i] || world->writable[i] == 2);
    }
}

// Every chain that was taken stands for a request in flight, or waits to be handed back.
UNSEEN static void check_chains(struct world *world)
{
    unsigned left = 0, held = 0;
    for (unsigned i = 0; i < world->chain_count; i++) {
        bool last = true;
        for (unsigned k = i + 1; k < world->chain_count; k++)
            last &= world->chains[k].queue != world->chains[i].queue ||
                    world->chains[k].chain.head != world->chains[i].chain.head;
        if (last && is_held(world, world->chains[i].queue, world->chains[i].chain.head))
            world->chains[left++] = world->chains[i];
    }
    world->chain_count = left;
    for (unsigned i = 0; i < world->settings.queues; i++) {
        const struct virtqueue *queue = &world->port->queues[i].queue;
        unsigned bits = 0;
        for (size_t k = 0; k < COUNT(queue->in_flight); k++)
            bits += (unsigned)__builtin_popcountll(queue->in_flight[k]);
        world_require(bits == queue->in_flight_count);
        held += bits;
    }
    world_require(held == left);
    const struct port *port = world->port;
    if (port->state == PORT_OPEN && wanted(world) == PORT_OPEN && !port->dropped &&
        !port->shut_seen && !port->stopped)
        world_require(held == atomic_load(&port->counters.in_flight));
}

// Counters, slots and the room reserved for records agree.
UNSEEN static void check_counters(const struct world *world)
{
    const struct port *port = world->port;
    const struct port_counters *counters = &port->counters;
    uint64_t reserved = 0;
    unsigned in_flight = 0;
    for (unsigned i = 0; i < world->settings.in_flight; i++) {
        if (port->slots[i].state == SLOT_FREE)
            continue;
        in_flight++;
        reserved += (port->slots[i].state == SLOT_THROTTLED ? 2 : 1) * sizeof(struct audit_record);
    }
    world_require(in_flight == atomic_load(&counters->in_flight));
    world_require(atomic_load(&counters->requests) ==
                  atomic_load(&counters->completions) + in_flight);
    world_require(world->audit.reserved == reserved);
    world_require(atomic_load(&counters->state) == (uint32_t)port->state);
    uint64_t free = world->audit.ring.size -
                    (world->audit.ring.own - atomic_load(&world->audit.ring.header->tail));
    world_require(free <= world->audit.ring.size && free >= reserved);
    world_require(!world->audit.broken && world->audit.space <= free);
}

void world_end(struct world *world)
{
    uint32_t anomalies = atomic_load(&world->port->counters.anomalies);
    world->in_call = false;
    if (anomalies != world->seen_anomalies)
        world->distrusted = true;
    else if (world->port->state == PORT_OPEN)
        world->distrusted = false;
    world->seen_anomalies = anomalies;
    check_writes(world);
    world->doorbells = false;
    check_chains(world);
    check_counters(world);
}

unsigned world_serve(struct world *world, unsigned budget)
{
    world_begin(world);
    unsigned served = port_serve(world->port, budget);
    audit_stream_flush(&world->audit);
    world_end(world);
    // A little more than the budget: the throttled one and what is ready count too.
    world_require(served <= budget + 1);
    return served;
}

static void check_record(struct world *world, const struct audit_record *record)
{
    bool is_piece = record->type == AUDIT_PAYLOAD;
    world_require(record->size == audit_record_bytes(is_piece ? record->length : 0) &&
                  record->port == 3 && record->sequence == world->sequence++);
    if (record->type == AUDIT_ANOMALY) {
        world->anomalies++;
        world_require(record->detail > QUEUE_RULE_NONE &&
                      record->detail <= QUEUE_RULE_INDIRECT_TABLE);
        return;
    }
    struct world_request *request = request_of(world, record->request);
    if (is_piece) {
        world_require(request->recorded && (!request->completed || request->sealed) &&
                      record->length <= AUDIT_PIECE_BYTES &&
                      record->argument + record->length <= record->status);
        world->extra++;
        return;
    }
    world_require(record->type == AUDIT_REQUEST || record->type == AUDIT_COMPLETION);
    if (request->decided)
        world_require(record->cookie == request->header.cookie &&
                      record->operation == request->header.operation &&
                      record->argument == request->header.argument);
    if (record->type == AUDIT_REQUEST) {
        world_require(!request->recorded && !request->completed);
        request->recorded = true;
        if (request->decided)
            world_require(record->length == request->header.length);
        // At Probation it is recorded first, and submitted when the reader has taken that.
        world_require(!request->submitted || record->decision == AUDIT_DECISION_ALLOW);
        return;
    }
    if (request->sealed) {
        world_require(record->decision == AUDIT_DECISION_GATE);
        request->sealed = false;
        world->extra++;
        return;
    }
    world_require(request->recorded && !request->completed);
    request->completed = true;
    request->sealed = record->level >= LEVEL_PROBATION && record->decision != AUDIT_DECISION_GATE;
    world->completions++;
    if (record->decision == AUDIT_DECISION_GATE)
        world_require(record->status == PORT_STATUS_CLOSED && !record->length);
}

void world_drain(struct world *world, unsigned records)
{
    struct audit_record record;
    uint64_t available = shared_ring_available(&world->reader);
    world_require(available <= world->reader.size && available % 8 == 0);
    for (; available && records; available -= record.size, records--) {
        world_require(available >= sizeof(record));
        shared_ring_peek(&world->reader, 0, &record, sizeof(record));
        check_record(world, &record);
        world_require(record.size <= available);
        shared_ring_consume(&world->reader, record.size);
    }
}

static void put(struct world *world, uint32_t offset, uint64_t value, size_t length)
{
    store(world, offset, &value, length);
}

static void put_descriptor(struct world *world, uint32_t at, uint32_t offset, uint32_t length,
                           uint16_t flags, uint16_t next)
{
    put(world, at, world->settings.base + offset, 8);
    put(world, at + 8, length, 4);
    put(world, at + 12, flags, 2);
    put(world, at + 14, next, 2);
}

static void publish(struct world *world, unsigned queue, uint16_t head)
{
    uint32_t ring = world->settings.at[queue].available;
    uint16_t index;
    memcpy(&index, world->region + ring + VIRTQ_RING_INDEX, sizeof(index));
    put(world, ring + VIRTQ_RING_ENTRIES + index % world->settings.queue_size * 2u, head, 2);
    put(world, ring + VIRTQ_RING_INDEX, index + 1u, 2);
}

// Bits of the first byte of a request that is posted, over its place; the highest four give the
// room for the reply, all of them the largest.
#define POST_QUEUE    4u
#define POST_INDIRECT 8u
#define POST_LARGE    15u
// And of the second one, over the operation.
#define POST_SPLIT 0x40u // header and payload in descriptors of their own
#define POST_LONG  0x80u

struct part {
    uint32_t offset, length;
    uint16_t flags;
};

static unsigned divide(const struct world *world, uint8_t how, uint8_t what, uint32_t request,
                       uint32_t length, struct part parts[4])
{
    const struct world_settings *settings = &world->settings;
    const uint32_t header = sizeof(struct port_request_header);
    unsigned count = 0;
    if (what & POST_SPLIT && length) {
        parts[count++] = (struct part){request, header, 0};
        parts[count++] = (struct part){request + header, length, 0};
    } else {
        parts[count++] = (struct part){request, header + length, 0};
    }
    if (how >> 4 == POST_LARGE) { // all of the memory that is not a queue, and that again
        const struct part all = {settings->buffers, settings->bytes - settings->buffers,
                                 VIRTQ_DESCRIPTOR_WRITE};
        parts[count++] = all;
        parts[count++] = all;
    } else {
        parts[count++] =
            (struct part){request + 0x100, 16u + (how >> 4) * 8u, VIRTQ_DESCRIPTOR_WRITE};
    }
    return count;
}

// A request without fault, in one of four places.
static void post(struct world *world, uint8_t how, uint8_t what, uint8_t size)
{
    const struct world_settings *settings = &world->settings;
    unsigned queue = how & POST_QUEUE ? settings->queues - 1 : 0;
    uint16_t head = (uint16_t)((how & 3) * 2 % settings->queue_size), next = head;
    bool indirect = (how & POST_INDIRECT) && (settings->features & PORT_FEATURE_INDIRECT);
    uint32_t table = settings->at[queue].descriptors;
    uint32_t request = settings->buffers + (how & 3) * 0x180;
    uint32_t length = what & POST_LONG ? size : size % 32;
    if (indirect && length > 0x80)
        length = 0x80; // the table follows
    struct part parts[4];
    unsigned count = divide(world, how, what, request, length, parts);
    if (indirect) {
        put_descriptor(world, table + head * 16u, request + 0xc0, count * 16,
                       VIRTQ_DESCRIPTOR_INDIRECT, 0);
        table = request + 0xc0;
        next = 0;
    }
    for (unsigned i = 0; i < count; i++, next++) {
        bool last = i + 1 == count;
        put_descriptor(world, table + next * 16u, parts[i].offset, parts[i].length,
                       parts[i].flags | (last ? 0 : VIRTQ_DESCRIPTOR_NEXT), (uint16_t)(next + 1));
    }
    put(world, request, what & 7, 4);
    put(world, request + 4, 0, 4);
    put(world, request + 8, (uint64_t)what << 32 | size, 8);
    put(world, request + 16, length, 4);
    put(world, request + 20, how >> 4 == POST_LARGE ? size * 32u : size, 4);
    publish(world, queue, head);
}

// A thread that is told that there is nothing to do must not find anything.
static void sleep_and_wake(struct world *world, bool doorbells)
{
    uint64_t wake_ns = UINT64_MAX;
    world_begin(world);
    world->doorbells = true;
    bool idle = port_prepare_sleep(world->port, doorbells, &wake_ns);
    audit_stream_flush(&world->audit);
    bool fired = world->fired;
    world_end(world);
    if (idle && wake_ns > world->now && !fired && world->event.kind == WORLD_NOTHING)
        world_require(world_serve(world, 32) == 0);
    world_begin(world);
    world->doorbells = true;
    port_wake(world->port);
    world_end(world);
}

static void arm(struct world *world, const uint8_t *code)
{
    world->event.kind = (enum world_event)(code[1] % WORLD_EVENTS);
    world->event.countdown = code[1] / WORLD_EVENTS % 16;
    world->event.a = code[2];
    world->event.b = code[3];
}

bool world_act(struct world *world, const uint8_t *code)
{
    uint32_t offset = (uint32_t)code[1] << 8 | code[2];
    switch (code[0] % 32) {
    case 0:
        put(world, offset, code[3], 1);
        break;
    case 1: { // a descriptor's or a ring's field
        uint64_t value = world->settings.base + code[3];
        put(world, offset & ~1u, code[0] & 0x80 ? value : code[3], code[0] & 0x40 ? 2 : 4);
        break;
    }
    case 2:
        publish(world, code[1] % world->settings.queues, code[2]);
        break;
    case 3:
    case 4:
        post(world, code[1], code[2], code[3]);
        break;
    case 5:
    case 6:
        world_serve(world, code[1] % 16 + 1);
        break;
    case 7:
        port_close(world->port);
        break;
    case 8:
        port_open(world->port);
        break;
    case 9:
        fire(world, WORLD_LEVEL, code[1], code[2]);
        break;
    case 10:
        fire(world, WORLD_HOLD, code[1], code[2]);
        break;
    case 11:
        fire(world, WORLD_STEP, code[1], code[2]);
        break;
    case 12:
        world->pend = code[1] & 1;
        world->odd_only = code[1] & 2;
        world->audit.turn = code[1] & 4 ? world : NULL; // some other port's
        world->finish = code[1] >> 4;
        world->status = code[2];
        world->reply_length = code[3] * 32u;
        break;
    case 13:
        sleep_and_wake(world, code[1] & 1);
        break;
    case 14:
        world_drain(world, code[1]);
        world_begin(world);
        port_notify(world->port);
        world_end(world);
        break;
    case 15:
        arm(world, code);
        break;
    default:
        return false;
    }
    return true;
}

// Whatever was in the way is gone: what the port took has to come to its end.
static void recover(struct world *world)
{
    const struct port *port = world->port;
    for (unsigned i = 0; i < 2; i++) {
        struct level_page *page = i ? &world->level_own : &world->level_supervisor;
        atomic_store(&page->level, LEVEL_STANDARD);
        atomic_store(&page->hold, 0);
    }
    port_open(world->port);
    world->audit.turn = NULL;
    unsigned idle = 0;
    for (unsigned i = 0; i < 200 && idle < 3; i++) {
        world->now += 3600 * NS_PER_S;
        world->finish = UINT32_MAX;
        world->odd_only = false;
        world_drain(world, UINT32_MAX);
        idle = world_serve(world, 32) ? 0 : idle + 1;
    }
    if (port->state != PORT_OPEN) {
        world_require(port->state == PORT_CLOSED_ANOMALY);
        return;
    }
    world_require(atomic_load(&port->counters.in_flight) == 0);
    for (unsigned i = 0; i < world->settings.queues; i++)
        world_require(!virtqueue_has_work(&port->queues[i].queue));
}

void world_finish(struct world *world, bool live)
{
    const struct port_counters *counters = port_counters(world->port);
    world->event.kind = WORLD_NOTHING;
    if (live)
        recover(world);
    world_begin(world);
    port_stop(world->port);
    audit_stream_flush(&world->audit);
    world_end(world);
    world_require(world_serve(world, 32) == 0);
    world_drain(world, UINT32_MAX);
    world_require(world->audit.reserved == 0 && atomic_load(&counters->in_flight) == 0);
    world_require(world->completions == atomic_load(&counters->completions) &&
                  world->anomalies == atomic_load(&counters->anomalies) &&
                  world->completions == atomic_load(&counters->requests));
    // Two records for each request, whatever became of it, and what Probation adds.
    world_require(world->sequence == 2 * world->completions + world->anomalies + world->extra);
    port_destroy(world->port);
    free(world->region);
}
