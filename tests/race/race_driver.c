// SPDX-License-Identifier: Apache-2.0
// The hostile driver: good requests, and one at the end of each batch that is wrong in one way, or
// whose memory the mutator toggles between right and wrong.
#include <string.h>
#include <unistd.h>

#include "race.h"

const struct race_class_rule race_classes[CLASS_COUNT] = {
    [CLASS_INDEX_JUMP] = {"index_jump", QUEUE_RULE_INDEX_JUMP},
    [CLASS_HEAD_RANGE] = {"head_range", QUEUE_RULE_HEAD_RANGE},
    [CLASS_HEAD_IN_FLIGHT] = {"head_in_flight", QUEUE_RULE_HEAD_IN_FLIGHT},
    [CLASS_NEXT_RANGE] = {"next_range", QUEUE_RULE_NEXT_RANGE},
    [CLASS_LOOP] = {"loop", QUEUE_RULE_CHAIN_LENGTH},
    [CLASS_FLAGS] = {"flags", QUEUE_RULE_FLAGS},
    [CLASS_ORDER] = {"order", QUEUE_RULE_ORDER},
    [CLASS_EMPTY] = {"empty", QUEUE_RULE_EMPTY},
    [CLASS_ADDRESS] = {"address", QUEUE_RULE_ADDRESS},
    [CLASS_WRAP] = {"wrap", QUEUE_RULE_ADDRESS},
    [CLASS_TOTAL_LENGTH] = {"total_length", QUEUE_RULE_TOTAL_LENGTH},
    [CLASS_SHORT_HEADER] = {"short_header", QUEUE_RULE_REQUEST_HEADER},
    [CLASS_HEADER_LENGTH] = {"header_length", QUEUE_RULE_REQUEST_HEADER},
    [CLASS_REPLY_HEADER] = {"reply_header", QUEUE_RULE_REPLY_HEADER},
    [CLASS_RESERVED] = {"reserved", QUEUE_RULE_RESERVED},
    [CLASS_SEGMENTS] = {"segments", QUEUE_RULE_SEGMENTS},
    [CLASS_INDIRECT_EMPTY] = {"indirect_empty", QUEUE_RULE_INDIRECT_LENGTH},
    [CLASS_INDIRECT_RAGGED] = {"indirect_ragged", QUEUE_RULE_INDIRECT_LENGTH},
    [CLASS_INDIRECT_LONG] = {"indirect_long", QUEUE_RULE_INDIRECT_LENGTH},
    [CLASS_INDIRECT_NEXT] = {"indirect_next", QUEUE_RULE_INDIRECT_CHAIN},
    [CLASS_INDIRECT_NESTED] = {"indirect_nested", QUEUE_RULE_INDIRECT_CHAIN},
    [CLASS_INDIRECT_TABLE] = {"indirect_table", QUEUE_RULE_INDIRECT_TABLE},
    [CLASS_NOT_GRANTED] = {"not_granted", QUEUE_RULE_NONE},
    [CLASS_TOO_LARGE] = {"too_large", QUEUE_RULE_NONE},
    [CLASS_MUTATED_DESCRIPTOR] = {"mutated_descriptor", QUEUE_RULE_NONE},
    [CLASS_MUTATED_HEADER] = {"mutated_header", QUEUE_RULE_NONE},
    [CLASS_MUTATED_PAYLOAD] = {"mutated_payload", QUEUE_RULE_NONE},
};

#define NEXT     VIRTQ_DESCRIPTOR_NEXT
#define WRITE    VIRTQ_DESCRIPTOR_WRITE
#define INDIRECT VIRTQ_DESCRIPTOR_INDIRECT

#define HEADER_BYTES sizeof(struct port_request_header)
#define REPLY_BYTES  sizeof(struct port_reply_header)

// The driver's view of one port.
struct guest {
    unsigned port;
    uint64_t base; // of its part of the I/O region
    uint16_t size;
    unsigned features;
    uint16_t index; // published so far
    int class;      // of the batch, or -1
    bool reopening;
    uint32_t anomalies; // judged
    uint64_t pass;      // when the batch was published
};

// A request in the making. Offsets are into the I/O region.
struct draft {
    const struct guest *guest;
    bool indirect;
    unsigned parts;
    uint16_t head;
    uint16_t first;               // index of the first part in its table
    uint64_t entries[SLOT_PARTS]; // descriptors: of the queue's table, or of an indirect one
    uint64_t table;
    uint64_t request, reply;
    uint32_t operation, flags, length, declared, argument, room;
};

static struct guest guests[RACE_PORTS];
static uint64_t rng;

static uint64_t any(uint64_t bound)
{
    return race_random(&rng) % bound;
}

static void store(uint64_t offset, unsigned width, uint64_t value)
{
    race_store(world->io, offset, width, value);
}

static void put_descriptor(uint64_t at, uint64_t address, uint32_t length, uint16_t flags,
                           uint16_t next)
{
    store(at, 8, address);
    store(at + 8, 4, length);
    store(at + 12, 2, flags);
    store(at + 14, 2, next);
}

static uint64_t descriptor_at(const struct guest *guest, unsigned index)
{
    return guest->base + index * sizeof(struct virtq_descriptor);
}

static void publish(struct guest *guest, uint16_t head)
{
    uint64_t ring = guest->base + AVAILABLE_AT;
    store(ring + VIRTQ_RING_ENTRIES + guest->index % guest->size * 2u, 2, head);
    guest->index++;
    __atomic_store_n((uint16_t *)(void *)(world->io + ring + VIRTQ_RING_INDEX), guest->index,
                     __ATOMIC_RELEASE);
}

static void draft_start(struct draft *draft, const struct guest *guest, unsigned slot)
{
    static const uint32_t operations[] = {OPERATION_ECHO, OPERATION_ECHO, OPERATION_PEND,
                                          OPERATION_READ, OPERATION_TIGHT};
    *draft = (struct draft){
        .guest = guest,
        .indirect = (guest->features & PORT_FEATURE_INDIRECT) && any(2),
        .parts = any(3) ? 2 : 3,
        .head = (uint16_t)(slot * SLOT_PARTS),
        .table = guest->base + TABLES_AT + slot * TABLE_BYTES,
        .request = guest->base + BUFFERS_AT + slot * SLOT_BYTES,
        .operation = operations[any(COUNT(operations))],
        .length = (uint32_t)any(any(16) ? 128 : MAX_REQUEST + 1),
        .argument = (uint32_t)any(MAX_REPLY + 100),
        .room = (uint32_t)any(any(4) ? 64 : MAX_REPLY + 100),
    };
    draft->reply = draft->request + REPLY_AT;
}

static void write_header(const struct draft *draft, uint64_t at)
{
    store(at, 4, draft->operation);
    store(at + 4, 4, draft->flags);
    store(at + 8, 8, race_random(&rng));
    store(at + 16, 4, draft->declared);
    store(at + 20, 4, draft->argument);
}

static void write_payload(const struct draft *draft, uint64_t at)
{
    uint64_t pattern = race_random(&rng);
    for (uint32_t done = 0; done < draft->length; done += 8)
        store(at + done, 8, pattern + done);
}

static void write_descriptors(struct draft *draft)
{
    unsigned last = draft->parts - 1;
    draft->first = draft->indirect ? 0 : draft->head;
    for (unsigned i = 0; i < draft->parts; i++)
        draft->entries[i] = draft->indirect ? draft->table + i * sizeof(struct virtq_descriptor)
                                            : descriptor_at(draft->guest, draft->head + i);
    uint32_t readable = (uint32_t)HEADER_BYTES + (draft->parts == 2 ? draft->length : 0);
    put_descriptor(draft->entries[0], IO_BASE + draft->request, readable, NEXT,
                   (uint16_t)(draft->first + 1));
    if (draft->parts == 3)
        put_descriptor(draft->entries[1], IO_BASE + draft->request + HEADER_BYTES, draft->length,
                       NEXT, (uint16_t)(draft->first + 2));
    put_descriptor(draft->entries[last], IO_BASE + draft->reply,
                   (uint32_t)REPLY_BYTES + draft->room, WRITE, 0);
    if (draft->indirect)
        put_descriptor(descriptor_at(draft->guest, draft->head), IO_BASE + draft->table,
                       (uint32_t)(draft->parts * sizeof(struct virtq_descriptor)), INDIRECT, 0);
}

// Makes all of it, right in every way.
static void draft_write(struct draft *draft)
{
    if (!draft->length)
        draft->parts = 2;
    draft->declared = draft->length;
    write_header(draft, draft->request);
    write_payload(draft, draft->request + HEADER_BYTES);
    write_descriptors(draft);
}

static bool applies(enum race_class class, const struct guest *guest)
{
    switch ((int)class) {
    case CLASS_LOOP: // through a longer table, it is too many segments first
        return guest->size <= VIRTQUEUE_MAX_SEGMENTS || (guest->features & PORT_FEATURE_INDIRECT);
    case CLASS_SEGMENTS:
        return guest->size > VIRTQUEUE_MAX_SEGMENTS;
    case CLASS_INDIRECT_EMPTY:
    case CLASS_INDIRECT_RAGGED:
    case CLASS_INDIRECT_LONG:
    case CLASS_INDIRECT_NEXT:
    case CLASS_INDIRECT_NESTED:
    case CLASS_INDIRECT_TABLE:
        return guest->features & PORT_FEATURE_INDIRECT;
    default:
        return true;
    }
}

// One that applies, preferably one that was seldom hit.
static enum race_class choose(const struct guest *guest)
{
    enum race_class chosen = CLASS_INDEX_JUMP;
    for (unsigned i = 0; i < 3; i++) {
        enum race_class class = (enum race_class)any(CLASS_CLOSING);
        if (applies(class, guest) &&
            (i == 0 || tally_of(&tallies.hits[class]) < tally_of(&tallies.hits[chosen])))
            chosen = class;
    }
    return chosen;
}

// What a class asks of the request before it is written.
static void prepare_class(struct draft *draft, enum race_class class)
{
    bool indirect = draft->guest->features & PORT_FEATURE_INDIRECT;
    switch ((int)class) {
    case CLASS_SHORT_HEADER:
        draft->length = 0;
        break;
    case CLASS_NEXT_RANGE:
    case CLASS_TOTAL_LENGTH:
    case CLASS_SEGMENTS:
        draft->indirect = false;
        break;
    case CLASS_LOOP:
        draft->indirect = draft->guest->size > VIRTQUEUE_MAX_SEGMENTS || (indirect && any(2));
        break;
    case CLASS_INDIRECT_EMPTY:
    case CLASS_INDIRECT_RAGGED:
    case CLASS_INDIRECT_LONG:
    case CLASS_INDIRECT_NEXT:
    case CLASS_INDIRECT_NESTED:
    case CLASS_INDIRECT_TABLE:
        draft->indirect = true;
        break;
    case CLASS_HEAD_IN_FLIGHT:
        draft->operation = OPERATION_PEND;
        draft->argument |= 3; // long enough
        break;
    case CLASS_NOT_GRANTED:
        draft->operation = any(2) ? OPERATION_SECRET : (uint32_t)(6 + any(1u << any(32)));
        break;
    case CLASS_TOO_LARGE:
        draft->length = MAX_REQUEST + 1 + (uint32_t)any(1024);
        break;
    default:
        break;
    }
}

static uint64_t outside(void)
{
    static const uint64_t addresses[] = {
        0,
        IO_BASE - 1,
        IO_BASE + IO_BYTES - 15,
        IO_BASE + IO_BYTES,
        HUGE_BASE - 8,
        HUGE_BASE + HUGE_BYTES - 15,
        HUGE_BASE + HUGE_BYTES,
        1ull << 63,
    };
    return addresses[any(COUNT(addresses))];
}

// Seventeen parts that are right one by one.
static void write_segments(const struct draft *draft)
{
    uint16_t at = RACE_SLOTS * SLOT_PARTS;
    store(draft->entries[0] + 14, 2, at);
    for (unsigned i = 0; i < VIRTQUEUE_MAX_SEGMENTS; i++, at++)
        put_descriptor(descriptor_at(draft->guest, at), IO_BASE + draft->request + i, 8, NEXT,
                       (uint16_t)(at + 1));
}

// Makes one descriptor of the chain wrong.
static void malform_chain(const struct draft *draft, enum race_class class)
{
    uint64_t entry = draft->entries[any(draft->parts)];
    uint64_t last = draft->entries[draft->parts - 1];
    uint64_t first = draft->entries[0];
    switch ((int)class) {
    case CLASS_NEXT_RANGE:
        store(first + 14, 2, draft->guest->size + any(0x8000));
        break;
    case CLASS_LOOP:
        put_descriptor(first, IO_BASE + draft->request, 24, NEXT, draft->first);
        break;
    case CLASS_FLAGS:
        if (!(draft->guest->features & PORT_FEATURE_INDIRECT) && any(2))
            store(last + 12, 2, WRITE | INDIRECT);
        else
            store(entry + 12, 2, (entry == last ? WRITE : NEXT) | 8u << any(13));
        break;
    case CLASS_ORDER:
        store(first + 12, 2, NEXT | WRITE);
        store(draft->entries[1] + 12, 2, 0);
        break;
    case CLASS_EMPTY:
        store(entry + 8, 4, 0);
        break;
    case CLASS_ADDRESS:
        store(entry, 8, outside());
        break;
    case CLASS_WRAP:
        store(entry, 8, UINT64_MAX - any(15));
        break;
    case CLASS_TOTAL_LENGTH: // a loop, too long before it is too often
        put_descriptor(first, HUGE_BASE, (uint32_t)HUGE_BYTES, NEXT, draft->first);
        break;
    case CLASS_SEGMENTS:
        write_segments(draft);
        break;
    default:
        break;
    }
}

// Makes the request wrong where it is not the chain.
static void malform_request(const struct draft *draft, enum race_class class)
{
    uint64_t head = descriptor_at(draft->guest, draft->head);
    uint64_t last = draft->entries[draft->parts - 1];
    const uint32_t whole = sizeof(struct virtq_descriptor);
    switch ((int)class) {
    case CLASS_SHORT_HEADER:
        store(draft->entries[0] + 8, 4, 1 + any(HEADER_BYTES - 1));
        break;
    case CLASS_HEADER_LENGTH:
        store(draft->request + 16, 4, draft->length + 1 + any(any(2) ? 16 : UINT32_MAX - 5000));
        break;
    case CLASS_REPLY_HEADER:
        if (any(2))
            store(last + 8, 4, 1 + any(REPLY_BYTES - 1));
        else
            store(draft->entries[draft->parts - 2] + 12, 2, 0);
        break;
    case CLASS_RESERVED:
        store(draft->request + 4, 4, 1u << any(32));
        break;
    case CLASS_INDIRECT_EMPTY:
        store(head + 8, 4, 0);
        break;
    case CLASS_INDIRECT_RAGGED:
        store(head + 8, 4, whole * any(3) + 1 + any(whole - 1));
        break;
    case CLASS_INDIRECT_LONG:
        store(head + 8, 4, whole * (draft->guest->size + 1u + any(1u << 20)));
        break;
    case CLASS_INDIRECT_NEXT:
        store(head + 12, 2, INDIRECT | NEXT);
        break;
    case CLASS_INDIRECT_NESTED:
        put_descriptor(draft->entries[any(draft->parts)], IO_BASE + draft->table, whole, INDIRECT,
                       0);
        break;
    case CLASS_INDIRECT_TABLE:
        store(head, 8, outside());
        break;
    default:
        malform_chain(draft, class);
        break;
    }
}

static void set_toggle(struct guest *guest, unsigned which, uint64_t offset, unsigned width,
                       uint64_t one, uint64_t other)
{
    struct race_plan *plan = &world->plans[guest->port];
    struct race_toggle *toggle = &plan->toggles[which];
    atomic_store_explicit(&toggle->offset, (uint32_t)offset, memory_order_relaxed);
    atomic_store_explicit(&toggle->width, width, memory_order_relaxed);
    atomic_store_explicit(&toggle->values[0], one, memory_order_relaxed);
    atomic_store_explicit(&toggle->values[1], other, memory_order_relaxed);
    atomic_store_explicit(&plan->count, which + 1, memory_order_release);
}

static void toggle_header(struct guest *guest, const struct draft *draft, unsigned which)
{
    switch (any(5)) {
    case 0:
        set_toggle(guest, which, draft->request, 4, draft->operation, OPERATION_SECRET);
        break;
    case 1:
        set_toggle(guest, which, draft->request, 4, OPERATION_ECHO, OPERATION_PEND);
        break;
    case 2:
        set_toggle(guest, which, draft->request + 4, 4, 0, 1);
        break;
    case 3:
        set_toggle(guest, which, draft->request + 16, 4, draft->length, draft->length + 1);
        break;
    default:
        set_toggle(guest, which, draft->request + 20, 4, draft->argument, any(4096));
        break;
    }
}

static void toggle_descriptor(struct guest *guest, struct draft *draft, unsigned which)
{
    uint64_t first = draft->entries[0], last = draft->entries[draft->parts - 1];
    switch (any(6)) {
    case 0:
    case 1: { // between two requests, both of them good
        uint64_t twin = draft->request + REPLY_AT / 2;
        write_header(draft, twin);
        write_payload(draft, twin + HEADER_BYTES);
        set_toggle(guest, which, first, 8, IO_BASE + draft->request, IO_BASE + twin);
        break;
    }
    case 2:
        set_toggle(guest, which, last, 8, IO_BASE + draft->reply, IO_BASE + draft->reply + 8);
        break;
    case 3:
        set_toggle(guest, which, last + 8, 4, REPLY_BYTES + draft->room, any(64));
        break;
    case 4:
        set_toggle(guest, which, first + 12, 2, NEXT, any(16));
        break;
    default:
        set_toggle(guest, which, first + 14, 2, draft->first + 1u, any(32));
        break;
    }
}

static void toggle_ring(struct guest *guest, const struct draft *draft, unsigned which)
{
    uint64_t head = descriptor_at(guest, draft->head);
    uint64_t ring = guest->base + AVAILABLE_AT;
    switch (any(draft->indirect ? 5 : 2)) {
    case 0: // once it is published
        set_toggle(guest, which, ring + VIRTQ_RING_INDEX, 2, guest->index + 1u,
                   guest->index + any(guest->size + 2u));
        break;
    case 1:
        set_toggle(guest, which, ring + VIRTQ_RING_ENTRIES + guest->index % guest->size * 2u, 2,
                   draft->head, any(guest->size + 1u));
        break;
    case 2:
        set_toggle(guest, which, head, 8, IO_BASE + draft->table, IO_BASE + draft->table + 1);
        break;
    case 3:
        set_toggle(guest, which, head + 8, 4, draft->parts * 16u, any(5) * 16);
        break;
    default:
        set_toggle(guest, which, head + 12, 2, INDIRECT, NEXT);
        break;
    }
}

static void publish_toggled(struct guest *guest, struct draft *draft)
{
    draft_write(draft);
    for (unsigned which = 0; which < 1 + any(RACE_TOGGLES); which++) {
        switch (any(5)) {
        case 0:
        case 1:
            toggle_header(guest, draft, which);
            break;
        case 2:
        case 3:
            toggle_descriptor(guest, draft, which);
            break;
        default:
            toggle_ring(guest, draft, which);
            break;
        }
    }
    publish(guest, draft->head);
}

static void publish_malformed(struct guest *guest, struct draft *draft, enum race_class class)
{
    guest->class = (int)class;
    prepare_class(draft, class);
    draft_write(draft);
    malform_request(draft, class);
    if (class == CLASS_INDEX_JUMP)
        guest->index = (uint16_t)(guest->index + guest->size + any(0xff00u - guest->size));
    publish(guest, class == CLASS_HEAD_RANGE ? (uint16_t)(guest->size + any(0x8000)) : draft->head);
    if (class == CLASS_HEAD_IN_FLIGHT)
        publish(guest, draft->head);
}

static void publish_batch(struct guest *guest, const struct race_goal *goal)
{
    struct draft draft;
    unsigned slot = 0;
    guest->class = -1;
    atomic_store_explicit(&world->plans[guest->port].count, 0, memory_order_relaxed);
    for (unsigned good = (unsigned)any(3); slot < good; slot++) {
        draft_start(&draft, guest, slot);
        draft_write(&draft);
        publish(guest, draft.head);
    }
    draft_start(&draft, guest, slot);
    unsigned kind = (unsigned)any(100);
    if (kind < goal->closing_percent)
        publish_malformed(guest, &draft, choose(guest));
    else if (kind < goal->closing_percent + 8)
        publish_malformed(guest, &draft, any(2) ? CLASS_NOT_GRANTED : CLASS_TOO_LARGE);
    else
        publish_toggled(guest, &draft);
    guest->pass = race_pass();
}

// The fabric found something malformed: was it for what is wrong with the batch?
static void judge(struct guest *guest, const struct port_counters *counters)
{
    uint32_t anomalies = atomic_load_explicit(&counters->anomalies, memory_order_relaxed);
    uint32_t rule = atomic_load_explicit(&counters->anomaly_rule, memory_order_relaxed);
    if (anomalies == guest->anomalies)
        return;
    guest->anomalies = anomalies;
    guest->reopening = false; // if it was open, it has been closed again
    if (guest->class >= 0 && guest->class < CLASS_CLOSING &&
        race_classes[guest->class].rule == rule)
        tally(&tallies.hits[guest->class]);
    guest->class = -1;
}

static void reopen(struct guest *guest)
{
    guest->reopening = true;
    // What the fabric finds there when it opens is where it goes on.
    store(guest->base + AVAILABLE_AT + VIRTQ_RING_INDEX, 2, guest->index);
    port_open(world->ports[guest->port]);
    tally(&tallies.reopened);
}

// Returns true if there was something to do.
static bool visit(struct guest *guest, const struct race_goal *goal)
{
    const struct port_counters *counters = port_counters(world->ports[guest->port]);
    uint32_t state = atomic_load_explicit(&counters->state, memory_order_acquire);
    judge(guest, counters);
    if (state != PORT_OPEN) {
        if (guest->reopening || (state == PORT_CLOSED_ANOMALY && world->reopens))
            return false;
        reopen(guest);
        return true;
    }
    guest->reopening = false;
    if (race_pass() < guest->pass + 2 ||
        atomic_load_explicit(&counters->in_flight, memory_order_relaxed))
        return false;
    publish_batch(guest, goal);
    if (any(128) == 0) {
        port_close(world->ports[guest->port]);
        if (any(2)) // perhaps the fabric sees it while it serves, and finds the port open
                    // afterwards
            port_open(world->ports[guest->port]);
        tally(&tallies.closed_by_order);
    }
    return true;
}

// Now and then the gate shuts, or is held, while requests are in flight.
static void change_level(void)
{
    static uint64_t until;
    uint64_t pass = race_pass();
    _Atomic uint32_t *level = &world->level_own.level, *hold = &world->level_supervisor.hold;
    bool raised = atomic_load(level) != LEVEL_STANDARD || atomic_load(hold);
    if (raised && pass >= until) {
        atomic_store(level, LEVEL_STANDARD);
        atomic_store(hold, 0);
    } else if (!raised && any(4096) == 0) {
        until = pass + any(4);
        if (any(2))
            atomic_store(level, LEVEL_SEVERED);
        else
            atomic_store(hold, 1);
        tally(&tallies.levels);
    }
}

uint64_t race_requests(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < world->port_count; i++) {
        const struct port_counters *counters = port_counters(world->ports[i]);
        sum += atomic_load_explicit(&counters->requests, memory_order_relaxed) +
               atomic_load_explicit(&counters->anomalies, memory_order_relaxed);
    }
    return sum;
}

uint64_t race_class_hits(enum race_class class)
{
    switch ((int)class) {
    case CLASS_NOT_GRANTED:
        return tally_of(&tallies.not_granted);
    case CLASS_TOO_LARGE:
        return tally_of(&tallies.too_large);
    case CLASS_MUTATED_DESCRIPTOR:
        return tally_of(&tallies.mutated_descriptor);
    case CLASS_MUTATED_HEADER:
        return tally_of(&tallies.mutated_header);
    case CLASS_MUTATED_PAYLOAD:
        return tally_of(&tallies.mutated_payload);
    default:
        return tally_of(&tallies.hits[class]);
    }
}

static uint64_t fewest_hits(void)
{
    uint64_t fewest = UINT64_MAX;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        uint64_t hits = race_class_hits((enum race_class)i);
        if (hits < fewest)
            fewest = hits;
    }
    return fewest;
}

static void rest(void)
{
    uint64_t one = 1;
    // The mutator may have taken away what asks for a doorbell: it always rings.
    if (world->doorbell_fd >= 0 && write(world->doorbell_fd, &one, sizeof(one)) < 0)
        return;
    race_rest();
}

void race_drive(const struct race_goal *goal)
{
    rng = world->seed;
    memset(guests, 0, sizeof(guests));
    for (unsigned i = 0; i < world->port_count; i++) {
        const struct virtqueue *queue = &world->ports[i]->queues[0].queue;
        guests[i] = (struct guest){
            .port = i,
            .base = (uint64_t)i * PORT_BYTES,
            .size = queue->size,
            .features = queue->features,
            .class = -1,
        };
    }
    for (uint64_t round = 1;; round++) {
        bool busy = false;
        for (unsigned i = 0; i < world->port_count; i++)
            busy |= visit(&guests[i], goal);
        change_level();
        if (!busy)
            rest();
        if (round % 256)
            continue;
        if (race_clock.wall_ns(&race_clock) >= goal->deadline_ns ||
            (race_requests() >= goal->requests && fewest_hits() >= goal->class_hits))
            break;
    }
}
