// SPDX-License-Identifier: Apache-2.0
// The split virtqueue against a reference model, written from the text of virtio 1.2, section 2.7,
// and from nothing else; and against a driver that changes descriptors while they are taken.
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "support.h"
#include "virtqueue.h"

__extension__ typedef unsigned __int128 wide;

// Guest memory: a read-write region with the queue and most buffers, a read-only one that touches
// it, a gap, a write-only one.
#define RW_BASE 0x10000ull
#define RW_SIZE 0x8000u
#define RO_BASE (RW_BASE + RW_SIZE)
#define RO_SIZE 0x1000u
#define WO_BASE (RO_BASE + RO_SIZE + 0x1000)
#define WO_SIZE 0x1000u
#define ALL     (RW_SIZE + RO_SIZE + WO_SIZE)

#define DESCRIPTORS RW_BASE
#define AVAILABLE   (RW_BASE + 0x1000)
#define USED        (RW_BASE + 0x2000)

static const struct {
    uint64_t base, size;
    unsigned rights;
    size_t host;
} regions[] = {
    {RW_BASE, RW_SIZE, GUEST_READ | GUEST_WRITE, 0},
    {RO_BASE, RO_SIZE, GUEST_READ, RW_SIZE},
    {WO_BASE, WO_SIZE, GUEST_WRITE, RW_SIZE + RO_SIZE},
};

struct world {
    struct guest_memory memory;
    uint8_t *host[COUNT(regions)]; // what the device works on
    uint8_t shadow[ALL];           // what the model says it contains
    struct virtqueue queue;
    uint16_t size;
    // The driver's and the model's state.
    uint16_t available_index;
    uint16_t taken;
    uint16_t used_index;
    bool in_flight[VIRTQ_MAX_SIZE];
};

static uint8_t *host_of(struct world *world, uint64_t address)
{
    for (size_t i = 0; i < COUNT(regions); i++) {
        if (address >= regions[i].base && address - regions[i].base < regions[i].size)
            return world->host[i] + (address - regions[i].base);
    }
    return NULL;
}

static uint8_t *shadow_of(struct world *world, uint64_t address)
{
    for (size_t i = 0; i < COUNT(regions); i++) {
        if (address >= regions[i].base && address - regions[i].base < regions[i].size)
            return world->shadow + regions[i].host + (address - regions[i].base);
    }
    return NULL;
}

// The driver writes: into guest memory and, since the driver may, into the model's view of it.
static void driver_write(struct world *world, uint64_t address, const void *data, size_t length)
{
    memcpy(host_of(world, address), data, length);
    memcpy(shadow_of(world, address), data, length);
}

static void driver_write16(struct world *world, uint64_t address, uint16_t value)
{
    driver_write(world, address, &value, sizeof(value));
}

static void world_start(struct world *world, uint16_t size)
{
    struct error err;
    world->size = size;
    world->available_index = world->taken = world->used_index = 0;
    memset(world->in_flight, 0, sizeof(world->in_flight));
    memset(world->shadow, 0, sizeof(world->shadow));
    for (size_t i = 0; i < COUNT(regions); i++)
        memset(world->host[i], 0, regions[i].size);
    cr_assert_eq(virtqueue_init(&world->queue, &world->memory, size, (struct gpa){DESCRIPTORS},
                                (struct gpa){AVAILABLE}, (struct gpa){USED}, &err),
                 0, "%s", err.text);
}

static struct world *world_create(uint16_t size)
{
    struct world *world = (struct world *)calloc(1, sizeof(*world));
    struct error err;
    for (size_t i = 0; i < COUNT(regions); i++) {
        // Each from the heap, page-aligned: the sanitizer guards both ends.
        world->host[i] = (uint8_t *)aligned_alloc(4096, regions[i].size);
        cr_assert_eq(guest_memory_add(&world->memory, (struct gpa){regions[i].base},
                                      regions[i].size, world->host[i], regions[i].rights, &err),
                     0);
    }
    world_start(world, size);
    return world;
}

static void world_destroy(struct world *world)
{
    for (size_t i = 0; i < COUNT(regions); i++)
        free(world->host[i]);
    free(world);
}

static void put_descriptor(struct world *world, unsigned index, uint64_t address, uint32_t length,
                           uint16_t flags, uint16_t next)
{
    struct virtq_descriptor descriptor = {address, length, flags, next};
    driver_write(world, DESCRIPTORS + index * 16, &descriptor, 16);
}

static void make_available(struct world *world, uint16_t head)
{
    driver_write16(world, AVAILABLE + 4 + (world->available_index % world->size) * 2, head);
    driver_write16(world, AVAILABLE + 2, ++world->available_index);
}

// The model's answer: a chain, or the descriptor at which rules are broken and which ones are
// (a descriptor can break several; the specification does not order them).
struct verdict {
    enum virtqueue_result result;
    unsigned rules; // bit per enum queue_rule
    uint16_t descriptor;
    struct virtqueue_chain chain;
};

static bool model_allows(uint64_t address, uint32_t length, unsigned right)
{
    for (size_t i = 0; i < COUNT(regions); i++) {
        if (address >= regions[i].base &&
            (wide)address + length <= (wide)regions[i].base + regions[i].size)
            return regions[i].rights & right;
    }
    return false;
}

static uint16_t shadow16(struct world *world, uint64_t address)
{
    uint16_t value;
    memcpy(&value, shadow_of(world, address), sizeof(value));
    return value;
}

static struct verdict model_pop(struct world *world)
{
    struct verdict verdict = {.result = VIRTQUEUE_ANOMALY};
    uint16_t index = shadow16(world, AVAILABLE + 2);
    // 2.7.6: idx says where the driver would put the next entry, modulo the queue size; it only
    // goes forward and never past what is outstanding.
    uint16_t outstanding = (uint16_t)(index - world->taken);
    if (!outstanding) {
        verdict.result = VIRTQUEUE_EMPTY;
        return verdict;
    }
    if (outstanding > world->size) {
        verdict.rules = 1u << QUEUE_RULE_INDEX_JUMP;
        return verdict;
    }
    uint16_t head = shadow16(world, AVAILABLE + 4 + (world->taken % world->size) * 2);
    verdict.descriptor = head;
    if (head >= world->size) {
        verdict.rules = 1u << QUEUE_RULE_HEAD_RANGE;
        return verdict;
    }
    if (world->in_flight[head]) {
        verdict.rules = 1u << QUEUE_RULE_HEAD_IN_FLIGHT;
        return verdict;
    }
    struct virtqueue_chain *chain = &verdict.chain;
    chain->head = head;
    uint64_t total = 0;
    bool writing = false;
    uint16_t at = head;
    for (unsigned n = 0;; n++) {
        struct virtq_descriptor d;
        memcpy(&d, shadow_of(world, DESCRIPTORS + at * 16), sizeof(d));
        unsigned rules = 0;
        bool writable = d.flags & VIRTQ_DESCRIPTOR_WRITE;
        // 2.7.5.1: a chain is not longer than the queue.
        if (n == world->size)
            rules |= 1u << QUEUE_RULE_CHAIN_LENGTH;
        if (n >= VIRTQUEUE_MAX_SEGMENTS)
            rules |= 1u << QUEUE_RULE_SEGMENTS;
        // 2.7.5: NEXT 1, WRITE 2, INDIRECT 4; 2.7.5.3.1: INDIRECT needs its feature.
        if (d.flags & ~3u)
            rules |= 1u << QUEUE_RULE_FLAGS;
        if (!d.length)
            rules |= 1u << QUEUE_RULE_EMPTY;
        // 2.7.4.2: device-writable elements come after all readable ones.
        if (writing && !writable)
            rules |= 1u << QUEUE_RULE_ORDER;
        if (!model_allows(d.address, d.length, writable ? GUEST_WRITE : GUEST_READ))
            rules |= 1u << QUEUE_RULE_ADDRESS;
        total += d.length;
        if (total > 1ull << 32)
            rules |= 1u << QUEUE_RULE_TOTAL_LENGTH;
        if (rules) {
            verdict.rules = rules;
            verdict.descriptor = at;
            return verdict;
        }
        writing = writable;
        chain->segments[n] = (struct virtqueue_segment){{d.address}, d.length};
        chain->count = n + 1;
        if (writable) {
            chain->writable_bytes += d.length;
        } else {
            chain->readable_bytes += d.length;
            chain->readable_count = n + 1;
        }
        if (!(d.flags & VIRTQ_DESCRIPTOR_NEXT))
            break;
        if (d.next >= world->size) {
            verdict.rules = 1u << QUEUE_RULE_NEXT_RANGE;
            verdict.descriptor = at;
            return verdict;
        }
        at = d.next;
    }
    verdict.result = VIRTQUEUE_CHAIN;
    world->in_flight[head] = true;
    world->taken++;
    return verdict;
}

// The device touched nothing but what the model touched.
static void check_memory(struct world *world)
{
    for (size_t i = 0; i < COUNT(regions); i++)
        cr_assert_eq(memcmp(world->host[i], world->shadow + regions[i].host, regions[i].size), 0,
                     "region %zu differs", i);
}

static enum virtqueue_result pop_and_compare(struct world *world, struct virtqueue_chain *chain,
                                             unsigned *tally)
{
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0xeeee};
    bool expected_work = shadow16(world, AVAILABLE + 2) != world->taken;
    cr_assert_eq(virtqueue_has_work(&world->queue), expected_work);
    struct verdict verdict = model_pop(world);
    enum virtqueue_result result = virtqueue_pop(&world->queue, chain, &anomaly);
    cr_assert_eq(result, verdict.result, "result %d, model %d (rule %s, model %#x)", result,
                 verdict.result, queue_rule_name(anomaly.rule), verdict.rules);
    if (result == VIRTQUEUE_ANOMALY) {
        cr_assert(verdict.rules >> anomaly.rule & 1, "rule %s, model %#x",
                  queue_rule_name(anomaly.rule), verdict.rules);
        cr_assert_eq(anomaly.descriptor, verdict.descriptor, "rule %s",
                     queue_rule_name(anomaly.rule));
        if (tally)
            tally[anomaly.rule]++;
    } else if (result == VIRTQUEUE_CHAIN) {
        const struct virtqueue_chain *wanted = &verdict.chain;
        cr_assert_eq(chain->head, wanted->head);
        cr_assert_eq(chain->count, wanted->count);
        cr_assert_eq(chain->readable_count, wanted->readable_count);
        cr_assert_eq(chain->readable_bytes, wanted->readable_bytes);
        cr_assert_eq(chain->writable_bytes, wanted->writable_bytes);
        for (unsigned i = 0; i < chain->count; i++) {
            cr_assert_eq(chain->segments[i].address.value, wanted->segments[i].address.value);
            cr_assert_eq(chain->segments[i].length, wanted->segments[i].length);
        }
    }
    return result;
}

static void push_and_model(struct world *world, uint16_t head, uint32_t written)
{
    virtqueue_push(&world->queue, head, written);
    struct virtq_used_element element = {head, written};
    uint16_t slot = world->used_index % world->size;
    memcpy(shadow_of(world, USED + 4 + slot * 8), &element, 8);
    world->used_index++;
    memcpy(shadow_of(world, USED + 2), &world->used_index, 2);
    world->in_flight[head] = false;
}

// Reads and writes of a chain against a byte-by-byte walk of its segments.
static void copy_and_compare(struct world *world, struct random *random,
                             const struct virtqueue_chain *chain)
{
    static uint8_t data[4096], wanted[4096];
    uint32_t offset = random_below(random, chain->readable_bytes + 20);
    uint32_t length = random_below(random, sizeof(data));
    if (random_chance(random, 50) && offset < chain->readable_bytes &&
        length > chain->readable_bytes - offset)
        length = chain->readable_bytes - offset;
    bool inside = (uint64_t)offset + length <= chain->readable_bytes;
    bool done = virtqueue_read(&world->queue, chain, offset, data, length);
    if (length)
        cr_assert_eq(done, inside, "read %u+%u of %u", offset, length, chain->readable_bytes);
    if (inside && length) {
        uint64_t position = 0;
        for (unsigned i = 0; i < chain->readable_count; i++)
            for (uint32_t k = 0; k < chain->segments[i].length; k++, position++) {
                if (position >= offset && position < (uint64_t)offset + length)
                    wanted[position - offset] =
                        *shadow_of(world, chain->segments[i].address.value + k);
            }
        cr_assert_eq(memcmp(data, wanted, length), 0);
    }

    offset = random_below(random, chain->writable_bytes + 20);
    length = random_below(random, 600);
    if (length > sizeof(data))
        length = sizeof(data);
    if ((uint64_t)offset + length > chain->writable_bytes) {
        // Out of range: false. Checked at the very end, so that nothing is changed that the model
        // would have to know.
        if (length)
            cr_assert_not(virtqueue_write(&world->queue, chain, chain->writable_bytes, data, 1));
        return;
    }
    random_fill(random, data, length);
    cr_assert(virtqueue_write(&world->queue, chain, offset, data, length) || !length);
    uint64_t position = 0;
    for (unsigned i = chain->readable_count; i < chain->count; i++)
        for (uint32_t k = 0; k < chain->segments[i].length; k++, position++) {
            if (position >= offset && position < (uint64_t)offset + length)
                *shadow_of(world, chain->segments[i].address.value + k) = data[position - offset];
        }
}

// Addresses at which something can go wrong, and lengths.
static uint64_t random_address(struct random *random, uint32_t *length, bool writable, bool valid)
{
    if (valid) {
        // Buffers of the read-write region lie behind the queue, so that a reply does not destroy
        // it.
        uint64_t base = RW_BASE + 0x4000, size = RW_SIZE - 0x4000;
        if (random_chance(random, 20)) {
            base = writable ? WO_BASE : RO_BASE;
            size = 0x1000;
        }
        *length = random_chance(random, 10) ? size : 1 + random_below(random, 100);
        if (*length > 512 && !random_chance(random, 10))
            *length = 512;
        uint64_t room = size - *length;
        return base + (random_chance(random, 20) ? room : random_below(random, room + 1));
    }
    static const uint64_t bad[] = {0,
                                   1,
                                   RW_BASE - 1,
                                   RW_BASE - 8,
                                   RO_BASE - 1,
                                   RO_BASE - 8,
                                   RO_BASE + RO_SIZE - 1,
                                   RO_BASE + RO_SIZE,
                                   WO_BASE - 1,
                                   WO_BASE,
                                   RO_BASE,
                                   WO_BASE + WO_SIZE - 1,
                                   WO_BASE + WO_SIZE,
                                   1ull << 32,
                                   1ull << 63,
                                   UINT64_MAX,
                                   UINT64_MAX - 15};
    static const uint32_t lengths[] = {1, 2, 8, 16, 17, RW_SIZE, RW_SIZE + 1, 1u << 31, UINT32_MAX};
    *length = lengths[random_below(random, COUNT(lengths))];
    return bad[random_below(random, COUNT(bad))];
}

// Writes a chain into free descriptors; with `damage`, one thing about it is wrong (or happens to
// be right after all: the model knows). Returns its head.
static uint16_t random_chain(struct world *world, struct random *random, bool damage)
{
    unsigned order[64];
    unsigned count = 0;
    for (unsigned i = 0; i < world->size; i++)
        order[i] = i;
    for (unsigned i = world->size - 1; i; i--) {
        unsigned k = random_below(random, i + 1), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    // The head must not be in flight; the rest of the table is the driver's to reuse or not.
    for (unsigned i = 0; i < world->size; i++) {
        if (!world->in_flight[order[i]]) {
            unsigned swap = order[0];
            order[0] = order[i];
            order[i] = swap;
            break;
        }
    }
    unsigned limit = world->size < VIRTQUEUE_MAX_SEGMENTS ? world->size : VIRTQUEUE_MAX_SEGMENTS;
    count = 1 + random_below(random, limit);
    if (damage && random_chance(random, 10))
        count = world->size;
    unsigned readable = random_below(random, count + 1);
    for (unsigned i = 0; i < count; i++) {
        uint32_t length;
        bool writable = i >= readable;
        uint64_t address = random_address(random, &length, writable, true);
        put_descriptor(world, order[i], address, length,
                       (uint16_t)((writable ? VIRTQ_DESCRIPTOR_WRITE : 0) |
                                  (i + 1 < count ? VIRTQ_DESCRIPTOR_NEXT : 0)),
                       (uint16_t)(i + 1 < count ? order[i + 1] : random_next(random)));
    }
    if (!damage)
        return (uint16_t)order[0];

    unsigned victim = order[random_below(random, count)];
    struct virtq_descriptor d;
    memcpy(&d, shadow_of(world, DESCRIPTORS + victim * 16), sizeof(d));
    uint16_t head = (uint16_t)order[0];
    switch (random_below(random, 9)) {
    case 0:
        d.flags ^= (uint16_t)(1u << random_below(random, 16));
        break;
    case 1:
        d.length = 0;
        break;
    case 2:
        d.address = random_address(random, &d.length, false, false);
        break;
    case 3:
        d.next = (uint16_t)(random_chance(random, 50) ? world->size : random_next(random));
        d.flags |= VIRTQ_DESCRIPTOR_NEXT;
        break;
    case 4: // a loop, or a jump
        d.next = (uint16_t)order[random_below(random, count)];
        d.flags |= VIRTQ_DESCRIPTOR_NEXT;
        break;
    case 5:
        d.flags ^= VIRTQ_DESCRIPTOR_WRITE;
        break;
    case 6:
        head = (uint16_t)(random_chance(random, 50) ? world->size : random_next(random));
        break;
    case 7: // anything
        random_fill(random, &d, sizeof(d));
        break;
    default: // a head that may be in flight
        head = (uint16_t)random_below(random, world->size);
        break;
    }
    put_descriptor(world, victim, d.address, d.length, d.flags, d.next);
    return head;
}

static unsigned in_flight_count(const struct world *world)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world->size; i++)
        count += world->in_flight[i];
    return count;
}

Test(virtqueue, random_driver_against_the_model, .timeout = 55)
{
    static const uint16_t sizes[] = {1, 2, 4, 8, 16, 32, 64};
    unsigned tally[32] = {0};
    unsigned long chains = 0;
    struct world *world = world_create(1);
    struct random random = random_start(30);
    for (int round = 0; round < 6000; round++) {
        world_start(world, sizes[random_below(&random, COUNT(sizes))]);
        random_fill(&random, world->host[0] + 0x4000, 64);
        memcpy(world->shadow, world->host[0], RW_SIZE);
        // Start anywhere: both sides agree on free-running indices.
        uint16_t start = (uint16_t)random_next(&random);
        world->available_index = world->taken = start;
        world->queue.next_available = start;
        driver_write16(world, AVAILABLE + 2, start);
        struct virtqueue_chain held[64];
        unsigned held_count = 0;
        for (int step = 0; step < 60; step++) {
            if (held_count &&
                (random_chance(&random, 45) || in_flight_count(world) == world->size)) {
                unsigned which = random_below(&random, held_count);
                push_and_model(world, held[which].head, (uint32_t)random_next(&random));
                held[which] = held[--held_count];
                continue;
            }
            if (random_chance(&random, 2)) {
                uint16_t jump = (uint16_t)(world->available_index + random_next(&random));
                driver_write16(world, AVAILABLE + 2, jump);
            } else {
                make_available(world, random_chain(world, &random, random_chance(&random, 20)));
            }
            struct virtqueue_chain chain;
            memset(&chain, 0xa5, sizeof(chain));
            enum virtqueue_result result = pop_and_compare(world, &chain, tally);
            if (result == VIRTQUEUE_ANOMALY)
                break;
            if (result == VIRTQUEUE_EMPTY)
                continue;
            chains++;
            copy_and_compare(world, &random, &chain);
            // A write may have hit the queue only if the model let it: buffers lie behind it.
            held[held_count++] = chain;
        }
        check_memory(world);
    }
    world_destroy(world);
    static const unsigned reached[] = {QUEUE_RULE_INDEX_JUMP,     QUEUE_RULE_HEAD_RANGE,
                                       QUEUE_RULE_HEAD_IN_FLIGHT, QUEUE_RULE_NEXT_RANGE,
                                       QUEUE_RULE_CHAIN_LENGTH,   QUEUE_RULE_FLAGS,
                                       QUEUE_RULE_ORDER,          QUEUE_RULE_EMPTY,
                                       QUEUE_RULE_ADDRESS,        QUEUE_RULE_SEGMENTS};
    for (size_t i = 0; i < COUNT(reached); i++)
        cr_expect_gt(tally[reached[i]], 5u, "rule %s was hardly reached",
                     queue_rule_name(reached[i]));
    cr_expect_gt(chains, 10000u, "%lu chains", chains);
}

// Each rule on its own, with the descriptor that is to be named.
static void expect_anomaly(struct world *world, enum queue_rule rule, uint16_t descriptor)
{
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0xeeee};
    cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, rule, "%s, not %s", queue_rule_name(anomaly.rule),
                 queue_rule_name(rule));
    cr_expect_eq(anomaly.descriptor, descriptor, "%s: descriptor %u", queue_rule_name(rule),
                 anomaly.descriptor);
    world_start(world, world->size);
}

#define BUFFER (RW_BASE + 0x4000)
#define NEXT   VIRTQ_DESCRIPTOR_NEXT
#define WRITE  VIRTQ_DESCRIPTOR_WRITE

Test(virtqueue, every_rule_names_its_descriptor)
{
    struct world *world = world_create(8);
    // 0 jumps nowhere; each case makes 2 -> 5 -> 7 and breaks something at 5 or 7.
    driver_write16(world, AVAILABLE + 2, 9);
    expect_anomaly(world, QUEUE_RULE_INDEX_JUMP, 0);
    driver_write16(world, AVAILABLE + 2, 0xffff);
    expect_anomaly(world, QUEUE_RULE_INDEX_JUMP, 0);

    make_available(world, 8);
    expect_anomaly(world, QUEUE_RULE_HEAD_RANGE, 8);
    make_available(world, 0xffff);
    expect_anomaly(world, QUEUE_RULE_HEAD_RANGE, 0xffff);

    put_descriptor(world, 2, BUFFER, 8, 0, 0);
    make_available(world, 2);
    make_available(world, 2);
    struct virtqueue_chain chain;
    cr_assert_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_CHAIN);
    expect_anomaly(world, QUEUE_RULE_HEAD_IN_FLIGHT, 2);

    put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
    put_descriptor(world, 5, BUFFER, 8, NEXT, 8);
    make_available(world, 2);
    expect_anomaly(world, QUEUE_RULE_NEXT_RANGE, 5);

    put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
    put_descriptor(world, 5, BUFFER, 8, NEXT, 2);
    make_available(world, 2);
    expect_anomaly(world, QUEUE_RULE_CHAIN_LENGTH, 2); // 2 5 2 5 2 5 2 5 | 2
    put_descriptor(world, 3, BUFFER, 8, NEXT, 3);
    make_available(world, 3);
    expect_anomaly(world, QUEUE_RULE_CHAIN_LENGTH, 3);

    static const uint16_t flags[] = {4, 8, 0x8000, 0xfffc};
    for (size_t i = 0; i < COUNT(flags); i++) {
        put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
        put_descriptor(world, 5, BUFFER, 8, flags[i], 0);
        make_available(world, 2);
        expect_anomaly(world, QUEUE_RULE_FLAGS, 5);
    }

    put_descriptor(world, 2, BUFFER, 8, NEXT | WRITE, 5);
    put_descriptor(world, 5, BUFFER, 8, NEXT, 7);
    put_descriptor(world, 7, BUFFER, 8, WRITE, 0);
    make_available(world, 2);
    expect_anomaly(world, QUEUE_RULE_ORDER, 5);

    put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
    put_descriptor(world, 5, BUFFER, 0, 0, 0);
    make_available(world, 2);
    expect_anomaly(world, QUEUE_RULE_EMPTY, 5);

    static const struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
    } bad[] = {
        {RW_BASE - 1, 1, 0},
        {RW_BASE - 1, 2, 0},
        {RO_BASE - 1, 2, 0},
        {RO_BASE, 1, WRITE},
        {WO_BASE, 1, 0},
        {RO_BASE + RO_SIZE, 1, 0},
        {RO_BASE, RO_SIZE + 1, 0},
        {UINT64_MAX, 1, 0},
        {UINT64_MAX, 2, 0},
        {0 - 8ull, UINT32_MAX, 0},
        {BUFFER, UINT32_MAX, WRITE},
        {0, 1, 0},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
        put_descriptor(world, 5, bad[i].address, bad[i].length, bad[i].flags, 0);
        make_available(world, 2);
        expect_anomaly(world, QUEUE_RULE_ADDRESS, 5);
    }
    world_destroy(world);
}

Test(virtqueue, most_segments)
{
    struct world *world = world_create(64);
    for (unsigned count = 15; count <= 17; count++) {
        for (unsigned i = 0; i < count; i++)
            put_descriptor(world, 3 * i, BUFFER + i, 1, i + 1 < count ? NEXT : 0, 3 * i + 3);
        make_available(world, 0);
        if (count <= VIRTQUEUE_MAX_SEGMENTS) {
            struct virtqueue_chain chain;
            cr_expect_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_CHAIN);
            world_start(world, 64);
        } else {
            expect_anomaly(world, QUEUE_RULE_SEGMENTS, 48);
        }
    }
    world_destroy(world);
}

// Lengths that only a gigabyte region allows: one mapping that nothing touches.
struct huge {
    struct guest_memory memory;
    struct virtqueue queue;
    struct virtq_descriptor *descriptors;
    uint16_t *available;
    uint8_t *host;
};

#define GIB (1ull << 30)

static void huge_start(struct huge *huge)
{
    struct error err;
    *huge = (struct huge){0};
    huge->host = (uint8_t *)mmap(NULL, GIB, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(huge->host, MAP_FAILED);
    cr_assert_eq(guest_memory_add(&huge->memory, (struct gpa){0}, GIB, huge->host,
                                  GUEST_READ | GUEST_WRITE, &err),
                 0);
    cr_assert_eq(virtqueue_init(&huge->queue, &huge->memory, 16, (struct gpa){0},
                                (struct gpa){0x1000}, (struct gpa){0x2000}, &err),
                 0);
    huge->descriptors = (struct virtq_descriptor *)(void *)huge->host;
    huge->available = (uint16_t *)(void *)(huge->host + 0x1000);
    huge->available[1] = 1;
}

// `readable` and `writable` descriptors of 1 GiB, then one of `rest` bytes.
static enum virtqueue_result huge_pop(unsigned readable, unsigned writable, uint32_t rest,
                                      struct queue_anomaly *anomaly)
{
    struct huge huge;
    struct virtqueue_chain chain;
    huge_start(&huge);
    unsigned count = readable + writable;
    for (unsigned i = 0; i < count; i++)
        huge.descriptors[i] = (struct virtq_descriptor){
            0, GIB, (uint16_t)((i + 1 < count || rest ? NEXT : 0) | (i < readable ? 0 : WRITE)),
            i + 1};
    if (rest)
        huge.descriptors[count] =
            (struct virtq_descriptor){0, rest, (uint16_t)(writable ? WRITE : 0), 0};
    enum virtqueue_result result = virtqueue_pop(&huge.queue, &chain, anomaly);
    munmap(huge.host, GIB);
    return result;
}

Test(virtqueue, total_length)
{
    struct queue_anomaly anomaly;
    cr_expect_eq(huge_pop(3, 0, GIB - 1, &anomaly), VIRTQUEUE_CHAIN);
    cr_expect_eq(huge_pop(0, 3, GIB - 1, &anomaly), VIRTQUEUE_CHAIN);
    cr_expect_eq(huge_pop(4, 0, 1, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
    cr_expect_eq(huge_pop(0, 4, 1, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
}

// 2.7.5: "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in total": both
// directions.
Test(virtqueue, total_length_of_both_directions)
{
    struct queue_anomaly anomaly = {0};
    cr_expect_eq(huge_pop(3, 3, 0, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
}

Test(virtqueue, head_can_be_used_again_after_it_was_used)
{
    struct world *world = world_create(4);
    struct virtqueue_chain chain;
    for (int i = 0; i < 20; i++) {
        put_descriptor(world, 3, BUFFER, 8, 0, 0);
        make_available(world, 3);
        cr_assert_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_CHAIN);
        cr_assert_eq(world->queue.in_flight_count, 1);
        push_and_model(world, 3, 0);
        cr_assert_eq(world->queue.in_flight_count, 0);
    }
    check_memory(world);
    world_destroy(world);
}

// More than 65536 requests: indices wrap, ring slots do not notice.
Test(virtqueue, indices_wrap)
{
    struct world *world = world_create(8);
    struct random random = random_start(31);
    struct virtqueue_chain chain;
    for (unsigned i = 0; i < 8; i++)
        put_descriptor(world, i, BUFFER + i, 4, i & 1 ? WRITE : 0, 0);
    for (uint32_t done = 0; done < 140000;) {
        unsigned batch = 1 + random_below(&random, 8);
        for (unsigned i = 0; i < batch; i++)
            make_available(world, (uint16_t)i);
        for (unsigned i = 0; i < batch; i++) {
            cr_assert_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_CHAIN);
            cr_assert_eq(chain.head, i);
        }
        cr_assert_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_EMPTY);
        for (unsigned i = 0; i < batch; i++, done++)
            push_and_model(world, (uint16_t)(batch - 1 - i), done);
        if (done % 1000 < 8)
            check_memory(world);
    }
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, doorbell_flag)
{
    struct world *world = world_create(4);
    virtqueue_set_doorbell(&world->queue, false);
    cr_expect_eq(host_of(world, USED)[0], VIRTQ_USED_NO_NOTIFY);
    virtqueue_set_doorbell(&world->queue, true);
    cr_expect_eq(host_of(world, USED)[0], 0);
    cr_expect_eq(host_of(world, USED)[1], 0);
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, init_checks_its_areas)
{
    struct world *world = world_create(4);
    struct virtqueue queue;
    struct error err;
    const struct gpa d = {DESCRIPTORS}, a = {AVAILABLE}, u = {USED};
    static const uint16_t bad_sizes[] = {0, 3, 5, 6, 7, 1023, 1025, 2048, 0x8000, 0xffff};
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, bad_sizes[i], d, a, u, &err), -1, "%u",
                     bad_sizes[i]);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 1, d, a, u, &err), 0);
    for (unsigned i = 1; i < 16; i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, gpa_add(d, i), a, u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, d, gpa_add(a, 1), u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, d, gpa_add(a, 2), u, &err), 0);
    for (unsigned i = 1; i < 4; i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, d, a, gpa_add(u, i), &err), -1);
    const struct gpa outside[] = {{0},
                                  {RW_BASE - 16},
                                  {RO_BASE - 16},
                                  {RO_BASE + RO_SIZE - 16},
                                  {RO_BASE + RO_SIZE},
                                  {UINT64_MAX - 15}};
    for (size_t i = 0; i < COUNT(outside); i++) {
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, outside[i], a, u, &err), -1);
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, d, outside[i], u, &err), -1);
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, d, a, outside[i], &err), -1);
    }
    // Rights: the used ring is written, the others are read.
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, d, a, (struct gpa){RO_BASE}, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, (struct gpa){WO_BASE}, a, u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, d, (struct gpa){WO_BASE}, u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, (struct gpa){RO_BASE},
                                (struct gpa){RO_BASE + 0x100}, (struct gpa){WO_BASE}, &err),
                 0);
    world_destroy(world);
}

Test(virtqueue, copies_across_segments)
{
    struct world *world = world_create(16);
    // "abc" "d" "efgh" to read, 1 + 2 + 3 bytes to write.
    driver_write(world, BUFFER, "abc", 3);
    driver_write(world, BUFFER + 100, "d", 1);
    driver_write(world, BUFFER + 50, "efgh", 4);
    put_descriptor(world, 0, BUFFER, 3, NEXT, 1);
    put_descriptor(world, 1, BUFFER + 100, 1, NEXT, 2);
    put_descriptor(world, 2, BUFFER + 50, 4, NEXT, 3);
    put_descriptor(world, 3, BUFFER + 200, 1, NEXT | WRITE, 4);
    put_descriptor(world, 4, BUFFER + 210, 2, NEXT | WRITE, 5);
    put_descriptor(world, 5, BUFFER + 220, 3, WRITE, 0);
    make_available(world, 0);
    struct virtqueue_chain chain;
    cr_assert_eq(pop_and_compare(world, &chain, NULL), VIRTQUEUE_CHAIN);
    for (unsigned offset = 0; offset <= 10; offset++)
        for (unsigned length = 1; length <= 10; length++) {
            char text[16] = {0};
            bool inside = offset + length <= 8;
            cr_expect_eq(virtqueue_read(&world->queue, &chain, offset, text, length), inside);
            if (inside)
                cr_expect_eq(strncmp(text, &"abcdefgh"[offset], length), 0);
        }
    for (unsigned offset = 0; offset <= 7; offset++)
        for (unsigned length = 1; length <= 8; length++) {
            memset(host_of(world, BUFFER + 190), '.', 50);
            bool inside = offset + length <= 6;
            cr_expect_eq(virtqueue_write(&world->queue, &chain, offset, "ABCDEFGH", length),
                         inside);
            if (!inside)
                continue;
            char wanted[6] = "......", got[6];
            memcpy(wanted + offset, "ABCDEFGH", length);
            got[0] = (char)*host_of(world, BUFFER + 200);
            memcpy(got + 1, host_of(world, BUFFER + 210), 2);
            memcpy(got + 3, host_of(world, BUFFER + 220), 3);
            cr_expect_eq(memcmp(wanted, got, 6), 0);
            cr_expect_eq(*host_of(world, BUFFER + 201), '.');
            cr_expect_eq(*host_of(world, BUFFER + 209), '.');
            cr_expect_eq(*host_of(world, BUFFER + 212), '.');
            cr_expect_eq(*host_of(world, BUFFER + 223), '.');
        }
    cr_expect_not(virtqueue_read(&world->queue, &chain, UINT32_MAX, (char[4]){0}, 4));
    cr_expect_not(virtqueue_write(&world->queue, &chain, UINT32_MAX, "abcd", 4));
    world_destroy(world);
}

Test(virtqueue, stable_rule_names)
{
    static const char *const names[] = {
        "none",         "index-jump",     "head-range",   "head-in-flight", "next-range",
        "chain-length", "flags",          "order",        "empty",          "address",
        "total-length", "request-header", "reply-header", "reserved",       "segments",
    };
    for (unsigned i = 0; i < COUNT(names); i++)
        cr_expect_str_eq(queue_rule_name(i), names[i]);
    cr_expect_str_eq(queue_rule_name(COUNT(names)), "unknown");
    cr_expect_str_eq(queue_rule_name(UINT32_MAX), "unknown");
}

// A driver that changes descriptors while the device takes them. It never helps it: whatever was
// copied was checked, so no chain contains an address outside memory.
struct mutator {
    struct world *world;
    _Atomic bool stop;
};

static void store_descriptor(struct virtq_descriptor *shared, const struct virtq_descriptor *value)
{
    __atomic_store_n(&shared->address, value->address, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->length, value->length, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->flags, value->flags, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->next, value->next, __ATOMIC_RELAXED);
}

static void *mutate(void *context)
{
    struct mutator *mutator = (struct mutator *)context;
    struct world *world = mutator->world;
    struct random random = random_start(32);
    struct virtq_descriptor *table = (struct virtq_descriptor *)(void *)world->host[0];
    uint16_t *available = (uint16_t *)(void *)(world->host[0] + (AVAILABLE - RW_BASE));
    while (!atomic_load_explicit(&mutator->stop, memory_order_relaxed)) {
        unsigned index = random_below(&random, world->size);
        struct virtq_descriptor d;
        bool valid = random_chance(&random, 85);
        bool writable = random_chance(&random, 50);
        d.address = random_address(&random, &d.length, writable, valid);
        d.flags = (uint16_t)((writable ? WRITE : 0) | (random_chance(&random, 60) ? NEXT : 0));
        d.next = (uint16_t)random_below(&random, world->size + (valid ? 0 : 1));
        if (random_chance(&random, 2))
            d.flags = (uint16_t)random_next(&random);
        store_descriptor(&table[index], &d);
        uint16_t head = (uint16_t)random_below(&random, world->size);
        __atomic_store_n(&available[2 + random_below(&random, world->size)], head,
                         __ATOMIC_RELAXED);
        __atomic_fetch_add(&available[1], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

Test(virtqueue, copies_once, .timeout = 55)
{
    struct world *world = world_create(32);
    struct mutator mutator = {.world = world};
    struct random random = random_start(33);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, mutate, &mutator), 0);
    const struct virtqueue fresh = world->queue;
    unsigned long chains = 0, anomalies = 0;
    static uint8_t data[RW_SIZE];
    // On a busy machine the driver may hardly run: the time bounds the number of chains.
    const time_t end = time(NULL) + 10;
    for (unsigned long taken = 0; taken < 150000 && time(NULL) < end;) {
        struct virtqueue_chain chain;
        struct queue_anomaly anomaly;
        enum virtqueue_result result = virtqueue_pop(&world->queue, &chain, &anomaly);
        if (result == VIRTQUEUE_EMPTY) {
            sched_yield();
            continue;
        }
        taken++;
        if (result == VIRTQUEUE_ANOMALY) {
            anomalies++;
            // As no real device does: start over where the driver is.
            world->queue = fresh;
            uint16_t *available = (uint16_t *)(void *)(world->host[0] + (AVAILABLE - RW_BASE));
            world->queue.next_available = __atomic_load_n(&available[1], __ATOMIC_RELAXED);
            continue;
        }
        chains++;
        uint64_t readable = 0, writable = 0;
        cr_assert(chain.count >= 1 && chain.count <= VIRTQUEUE_MAX_SEGMENTS);
        cr_assert(chain.readable_count <= chain.count && chain.head < world->size);
        for (unsigned i = 0; i < chain.count; i++) {
            bool write = i >= chain.readable_count;
            cr_assert_gt(chain.segments[i].length, 0u);
            cr_assert(model_allows(chain.segments[i].address.value, chain.segments[i].length,
                                   write ? GUEST_WRITE : GUEST_READ),
                      "address outside memory");
            *(write ? &writable : &readable) += chain.segments[i].length;
        }
        cr_assert_eq(chain.readable_bytes, readable);
        cr_assert_eq(chain.writable_bytes, writable);
        if (readable && readable <= sizeof(data))
            cr_assert(virtqueue_read(&world->queue, &chain, 0, data, (uint32_t)readable));
        virtqueue_push(&world->queue, chain.head, (uint32_t)random_next(&random));
    }
    atomic_store(&mutator.stop, true);
    pthread_join(thread, NULL);
    cr_expect_gt(chains, 200u, "%lu chains, %lu anomalies", chains, anomalies);
    cr_expect_gt(anomalies, 200u, "%lu chains, %lu anomalies", chains, anomalies);
    world_destroy(world);
}
