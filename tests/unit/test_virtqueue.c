// SPDX-License-Identifier: Apache-2.0
// The split virtqueue case by case: each rule alone, and the notifications. test_virtqueue_model.c
// has the random drivers, test_virtqueue_lessons.c what other devices got wrong.
#include <criterion/criterion.h>
#include <sys/mman.h>

#include "virtqueue_cases.h"

Test(virtqueue, every_rule_names_its_descriptor)
{
    struct world *world = world_create(8, 0);
    // Each case makes 2 -> 5 -> 7 and breaks something at 5 or 7.
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
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
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
    struct world *world = world_create(64, 0);
    for (unsigned count = 15; count <= 17; count++) {
        for (unsigned i = 0; i < count; i++)
            put_descriptor(world, 3 * i, BUFFER + i, 1, i + 1 < count ? NEXT : 0, 3 * i + 3);
        if (count <= VIRTQUEUE_MAX_SEGMENTS) {
            expect_chain(world, 0, count, count, 0);
        } else {
            make_available(world, 0);
            expect_anomaly(world, QUEUE_RULE_SEGMENTS, 48);
        }
    }
    world_destroy(world);
}

// A chain of `count` readable bytes in the table at `table`, in order.
static void put_table(struct world *world, uint64_t table, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put_entry(world, table, i, BUFFER + i, 1, i + 1 < count ? NEXT : 0, i + 1);
}

Test(virtqueue, indirect_needs_its_feature)
{
    for (unsigned features = 0; features < 4; features++) {
        struct world *world = world_create(8, features);
        put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
        put_descriptor(world, 5, TABLE, 16, INDIRECT, 0);
        put_table(world, TABLE, 1);
        if (features & PORT_FEATURE_INDIRECT) {
            expect_chain(world, 2, 2, 9, 0);
        } else {
            make_available(world, 2);
            expect_anomaly(world, QUEUE_RULE_FLAGS, 5);
        }
        world_destroy(world);
    }
}

// 2.7.5.3.2: "zero or more normal chained descriptors followed by a single descriptor with
// INDIRECT", whose WRITE flag is ignored.
Test(virtqueue, indirect_behind_normal_descriptors)
{
    struct world *world = world_create(16, PORT_FEATURE_INDIRECT);
    for (unsigned normal = 0; normal <= 15; normal++) {
        for (uint16_t ignored = 0; ignored <= WRITE; ignored += WRITE) {
            for (unsigned i = 0; i < normal; i++)
                put_descriptor(world, i, BUFFER + i, 1, NEXT, i + 1);
            put_descriptor(world, normal, TABLE, 16, INDIRECT | ignored, 0xffff);
            put_entry(world, TABLE, 0, BUFFER + 0x100, 7, WRITE, 0xffff);
            expect_chain(world, 0, normal + 1, normal, 7);
            // Readable: then everything is.
            for (unsigned i = 0; i < normal; i++)
                put_descriptor(world, i, BUFFER + i, 1, NEXT, i + 1);
            put_descriptor(world, normal, TABLE, 16, INDIRECT | ignored, 0);
            put_entry(world, TABLE, 0, BUFFER + 0x100, 7, 0, 0);
            expect_chain(world, 0, normal + 1, normal + 7, 0);
        }
    }
    world_destroy(world);
}

// 2.7.5.3: both directions in one table, in any order of its entries, some of them unused, at any
// address and in memory that the device may only read.
Test(virtqueue, indirect_tables_that_are_legal)
{
    struct world *world = world_create(8, PORT_FEATURE_INDIRECT);
    static const uint64_t places[] = {TABLE,       TABLE + 1,         TABLE + 8,
                                      TABLE + 15,  RO_BASE,           RO_BASE + RO_SIZE - 128,
                                      DESCRIPTORS, RO_BASE - 128 - 1, RO_BASE - 128};
    for (size_t i = 0; i < COUNT(places); i++) {
        put_descriptor(world, 7, places[i], 128, INDIRECT, 0);
        put_entry(world, places[i], 0, BUFFER, 3, NEXT, 6);
        put_entry(world, places[i], 6, BUFFER + 10, 4, NEXT, 2);
        put_entry(world, places[i], 2, BUFFER + 20, 5, NEXT | WRITE, 5);
        put_entry(world, places[i], 5, BUFFER + 30, 6, WRITE, 0);
        expect_chain(world, 7, 4, 7, 11);
    }
    // A table that is a buffer of its own chain.
    put_descriptor(world, 7, TABLE, 16, INDIRECT, 0);
    put_entry(world, TABLE, 0, TABLE, 16, WRITE, 0);
    expect_chain(world, 7, 1, 0, 16);
    world_destroy(world);
}

Test(virtqueue, indirect_copies_across_segments)
{
    struct world *world = world_create(4, PORT_FEATURE_INDIRECT);
    struct virtqueue_chain chain;
    char text[9] = "";
    driver_write(world, BUFFER, "abcd", 4);
    driver_write(world, BUFFER + 100, "efgh", 4);
    put_descriptor(world, 3, BUFFER, 4, NEXT, 0);
    put_descriptor(world, 0, TABLE + 3, 32, INDIRECT, 0);
    put_entry(world, TABLE + 3, 0, BUFFER + 100, 4, NEXT, 1);
    put_entry(world, TABLE + 3, 1, BUFFER + 200, 8, WRITE, 0);
    make_available(world, 3);
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
    cr_expect(virtqueue_read(&world->queue, &chain, 0, text, 8));
    cr_expect_str_eq(text, "abcdefgh");
    cr_expect(virtqueue_write(&world->queue, &chain, 2, "xyz", 3));
    memcpy(shadow_of(world, BUFFER + 202), "xyz", 3);
    push_used(world, 3, 5);
    check_memory(world);
    world_destroy(world);
}

// Each case makes 2 -> 5 -> a table and breaks something at 5, or in the table.
Test(virtqueue, indirect_rules_of_the_reference)
{
    struct world *world = world_create(8, PORT_FEATURE_INDIRECT);
    static const struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        enum queue_rule rule;
    } references[] = {
        {TABLE, 0, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 1, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 15, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 17, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 31, INDIRECT | WRITE, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 129, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 144, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 0x80000010, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, UINT32_MAX - 15, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, UINT32_MAX, INDIRECT, QUEUE_RULE_INDIRECT_LENGTH},
        {TABLE, 16, INDIRECT | NEXT, QUEUE_RULE_INDIRECT_CHAIN},
        {TABLE, 16, INDIRECT | NEXT | WRITE, QUEUE_RULE_INDIRECT_CHAIN},
        {TABLE, 16, INDIRECT | 8, QUEUE_RULE_FLAGS},
        {TABLE, 16, INDIRECT | 0x8000, QUEUE_RULE_FLAGS},
        {0, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {RW_BASE - 1, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {RO_BASE - 16, 32, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {RO_BASE + RO_SIZE - 15, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {RO_BASE + RO_SIZE - 112, 128, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {WO_BASE, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {UINT64_MAX - 15, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {UINT64_MAX - 7, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
        {TABLE | 1ull << 63, 16, INDIRECT, QUEUE_RULE_INDIRECT_TABLE},
    };
    for (size_t i = 0; i < COUNT(references); i++) {
        put_table(world, TABLE, 8);
        put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
        put_descriptor(world, 5, references[i].address, references[i].length, references[i].flags,
                       0);
        make_available(world, 2);
        expect_anomaly(world, references[i].rule, 5);
    }
    world_destroy(world);
}

Test(virtqueue, indirect_rules_of_the_table)
{
    struct world *world = world_create(8, PORT_FEATURE_INDIRECT);
    static const struct {
        struct virtq_descriptor entry; // 1 of a table of 4
        enum queue_rule rule;
        uint16_t descriptor;
    } entries[] = {
        {{TABLE, 16, INDIRECT, 0}, QUEUE_RULE_INDIRECT_CHAIN, 1},
        {{TABLE + 64, 16, INDIRECT, 0}, QUEUE_RULE_INDIRECT_CHAIN, 1},
        {{TABLE, 64, INDIRECT | NEXT, 0}, QUEUE_RULE_INDIRECT_CHAIN, 1},
        {{BUFFER, 8, NEXT, 4}, QUEUE_RULE_NEXT_RANGE, 1}, // 4 is one of the queue's
        {{BUFFER, 8, NEXT, 0xffff}, QUEUE_RULE_NEXT_RANGE, 1},
        {{BUFFER, 8, NEXT, 1}, QUEUE_RULE_CHAIN_LENGTH, 1}, // 0 1 1 1 | 1
        {{BUFFER, 8, NEXT, 0}, QUEUE_RULE_CHAIN_LENGTH, 0}, // 0 1 0 1 | 0
        {{BUFFER, 8, 8, 0}, QUEUE_RULE_FLAGS, 1},
        {{BUFFER, 0, 0, 0}, QUEUE_RULE_EMPTY, 1},
        {{RO_BASE, 8, WRITE, 0}, QUEUE_RULE_ADDRESS, 1},
        {{WO_BASE, 8, 0, 0}, QUEUE_RULE_ADDRESS, 1},
        {{UINT64_MAX, 8, 0, 0}, QUEUE_RULE_ADDRESS, 1},
        {{BUFFER, UINT32_MAX, 0, 0}, QUEUE_RULE_ADDRESS, 1},
        {{BUFFER, 8, WRITE | NEXT, 0}, QUEUE_RULE_ORDER, 0},
    };
    for (size_t i = 0; i < COUNT(entries); i++) {
        const struct virtq_descriptor *d = &entries[i].entry;
        put_descriptor(world, 2, BUFFER, 8, NEXT, 5);
        put_descriptor(world, 5, TABLE, 64, INDIRECT, 0);
        put_table(world, TABLE, 4);
        put_entry(world, TABLE, 1, d->address, d->length, d->flags, d->next);
        make_available(world, 2);
        expect_anomaly(world, entries[i].rule, entries[i].descriptor);
    }
    // A readable table behind a writable descriptor.
    put_descriptor(world, 2, BUFFER, 8, NEXT | WRITE, 5);
    put_descriptor(world, 5, TABLE, 16, INDIRECT | WRITE, 0);
    put_table(world, TABLE, 1);
    make_available(world, 2);
    expect_anomaly(world, QUEUE_RULE_ORDER, 0);
    world_destroy(world);
}

// 2.7.5.3.1: "MUST NOT create a descriptor chain longer than the Queue Size", in both tables
// together; and not more of them than the fabric takes.
Test(virtqueue, indirect_chain_length)
{
    static const uint16_t sizes[] = {1, 2, 8, 16, 64};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        uint16_t size = sizes[s];
        struct world *world = world_create(size, PORT_FEATURE_INDIRECT);
        unsigned most = size < VIRTQUEUE_MAX_SEGMENTS ? size : VIRTQUEUE_MAX_SEGMENTS;
        for (unsigned normal = 0; normal < size && normal <= most; normal++)
            for (unsigned inside = 1; inside <= size && inside <= most + 1; inside++) {
                for (unsigned i = 0; i < normal; i++)
                    put_descriptor(world, i, BUFFER, 1, NEXT, i + 1);
                put_descriptor(world, normal, TABLE, inside * 16, INDIRECT, 0);
                put_table(world, TABLE, inside);
                if (normal + inside <= most) {
                    expect_chain(world, 0, normal + inside, normal + inside, 0);
                    continue;
                }
                make_available(world, 0);
                expect_anomaly(world, most == size ? QUEUE_RULE_CHAIN_LENGTH : QUEUE_RULE_SEGMENTS,
                               (uint16_t)(most - normal));
            }
        world_destroy(world);
    }
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

static void huge_start(struct huge *huge, uint16_t size)
{
    struct error err;
    *huge = (struct huge){0};
    huge->host = (uint8_t *)mmap(NULL, GIB, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(huge->host, MAP_FAILED);
    cr_assert_eq(guest_memory_add(&huge->memory, (struct gpa){0}, GIB, huge->host,
                                  GUEST_READ | GUEST_WRITE, &err),
                 0);
    cr_assert_eq(virtqueue_init(&huge->queue, &huge->memory, size, PORT_FEATURE_INDIRECT,
                                (struct gpa){0}, (struct gpa){0x4000}, (struct gpa){0x5000}, &err),
                 0);
    huge->descriptors = (struct virtq_descriptor *)(void *)huge->host;
    huge->available = (uint16_t *)(void *)(huge->host + 0x4000);
    huge->available[1] = 1;
}

// `readable` and `writable` descriptors of 1 GiB, then one of `rest` bytes.
static enum virtqueue_result huge_pop(unsigned readable, unsigned writable, uint32_t rest,
                                      struct queue_anomaly *anomaly)
{
    struct huge huge;
    struct virtqueue_chain chain;
    huge_start(&huge, 16);
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
    // 2^32 itself is refused too: lengths are 32 bits wide.
    cr_expect_eq(huge_pop(4, 0, 0, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
    cr_expect_eq(anomaly.descriptor, 3);
    cr_expect_eq(huge_pop(4, 0, 1, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
    cr_expect_eq(huge_pop(0, 4, 1, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
}

// 2.7.5.2: "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in total": both
// directions.
Test(virtqueue, total_length_of_both_directions)
{
    struct queue_anomaly anomaly = {0};
    cr_expect_eq(huge_pop(3, 3, 0, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_TOTAL_LENGTH);
}

// In a table of the largest queue: every index of it, once.
Test(virtqueue, largest_indirect_table)
{
    struct huge huge;
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly = {0};
    huge_start(&huge, VIRTQ_MAX_SIZE);
    struct virtq_descriptor *table = (struct virtq_descriptor *)(void *)(huge.host + 0x10000);
    huge.descriptors[0] =
        (struct virtq_descriptor){0x10000, VIRTQ_MAX_SIZE * 16, (uint16_t)INDIRECT, 0};
    table[0] = (struct virtq_descriptor){0, 1, (uint16_t)NEXT, VIRTQ_MAX_SIZE - 1};
    table[VIRTQ_MAX_SIZE - 1] = (struct virtq_descriptor){1, 1, 0, 0};
    cr_expect_eq(virtqueue_pop(&huge.queue, &chain, &anomaly), VIRTQUEUE_CHAIN);
    cr_expect_eq(chain.count, 2);
    huge.descriptors[1] = huge.descriptors[0];
    huge.descriptors[1].length += 16;
    huge.available[3] = 1;
    huge.available[1] = 2;
    cr_expect_eq(virtqueue_pop(&huge.queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_INDIRECT_LENGTH);
    munmap(huge.host, GIB);
}

Test(virtqueue, head_can_be_used_again_after_it_was_used)
{
    struct world *world = world_create(4, 0);
    for (int i = 0; i < 20; i++) {
        put_descriptor(world, 3, BUFFER, 8, 0, 0);
        take(world, 3);
        cr_assert_eq(world->queue.in_flight_count, 1);
        push_used(world, 3, 0);
        cr_assert_eq(world->queue.in_flight_count, 0);
    }
    check_memory(world);
    world_destroy(world);
}

// More than 65536 requests: indices wrap, ring slots do not notice.
Test(virtqueue, indices_wrap)
{
    struct world *world = world_create(8, 0);
    struct random random = random_start(31);
    struct virtqueue_chain chain;
    for (unsigned i = 0; i < 8; i++)
        put_descriptor(world, i, BUFFER + i, 4, i & 1 ? WRITE : 0, 0);
    for (uint32_t done = 0; done < 140000;) {
        unsigned batch = 1 + random_below(&random, 8);
        for (unsigned i = 0; i < batch; i++)
            make_available(world, (uint16_t)i);
        for (unsigned i = 0; i < batch; i++) {
            cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
            cr_assert_eq(chain.head, i);
        }
        cr_assert_eq(pop(world, &chain), VIRTQUEUE_EMPTY);
        for (unsigned i = 0; i < batch; i++, done++)
            push_used(world, (uint16_t)(batch - 1 - i), done);
        if (done % 1000 < 8)
            check_memory(world);
    }
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, doorbell_flag)
{
    struct world *world = world_create(4, PORT_FEATURE_INDIRECT);
    virtqueue_set_doorbell(&world->queue, false);
    shadow_write16(world, USED, VIRTQ_USED_NO_NOTIFY);
    check_memory(world);
    virtqueue_set_doorbell(&world->queue, true);
    shadow_write16(world, USED, 0);
    check_memory(world);
    world_destroy(world);
}

// 2.7.10.2: flags stay 0; avail_event is the entry whose publication is to ring.
Test(virtqueue, doorbell_event_index)
{
    struct world *world = world_create(4, PORT_FEATURE_EVENT_INDEX);
    put_descriptor(world, 1, BUFFER, 8, 0, 0);
    for (uint32_t taken = 0; taken < 70000; taken++) {
        bool wanted = taken % 3 == 0;
        virtqueue_set_doorbell(&world->queue, wanted);
        if (wanted)
            shadow_write16(world, AVAIL_EVENT(4), (uint16_t)taken);
        if (taken % 1000 < 6)
            check_memory(world);
        take(world, 1);
        push_used(world, 1, 0);
    }
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, wants_event_by_flag)
{
    struct world *world = world_create(4, PORT_FEATURE_INDIRECT);
    put_descriptor(world, 1, BUFFER, 8, 0, 0);
    // used_event means nothing: it is where it would say yes for the flag 1, and no for 0.
    for (uint16_t flag = 0; flag <= VIRTQ_AVAILABLE_NO_INTERRUPT; flag++) {
        driver_write16(world, AVAILABLE, flag);
        for (unsigned i = 0; i < 10; i++) {
            driver_write16(world, USED_EVENT(4), (uint16_t)(world->used_index + (flag ? 0 : 9)));
            take(world, 1);
            cr_expect_not(virtqueue_wants_event(&world->queue), "nothing was pushed");
            push_used(world, 1, 0);
            cr_expect_eq(virtqueue_wants_event(&world->queue), !flag);
            cr_expect_not(virtqueue_wants_event(&world->queue), "nothing was pushed since");
        }
    }
    check_memory(world);
    world_destroy(world);
}

// 2.7.7.2 at every position of the index, several times round: after 1 to 4 pushes, an event is
// wanted exactly if one of their entries was placed at used_event, whatever the flag says.
Test(virtqueue, wants_event_by_event_index, .timeout = 30)
{
    struct world *world = world_create(4, PORT_FEATURE_EVENT_INDEX);
    struct random random = random_start(35);
    unsigned asked[2] = {0};
    for (uint16_t i = 0; i < 4; i++)
        put_descriptor(world, i, BUFFER, 8, 0, 0);
    for (uint32_t position = 0; position < 8 * 65536u;) {
        unsigned count = 1 + random_below(&random, 4);
        for (uint16_t i = 0; i < count; i++)
            take(world, i);
        cr_expect_not(virtqueue_wants_event(&world->queue), "nothing was pushed");
        uint16_t event = (uint16_t)(position + random_below(&random, 8) - 2);
        if (random_chance(&random, 10))
            event = (uint16_t)random_next(&random);
        driver_write16(world, USED_EVENT(4), event);
        driver_write16(world, AVAILABLE, (uint16_t)random_below(&random, 2));
        bool wanted = false;
        for (uint16_t i = 0; i < count; i++, position++) {
            wanted |= world->used_index == event;
            push_used(world, i, 0);
        }
        cr_assert_eq(virtqueue_wants_event(&world->queue), wanted, "%u pushed before %u, event %u",
                     count, world->used_index, event);
        cr_assert_not(virtqueue_wants_event(&world->queue), "nothing was pushed since");
        asked[wanted]++;
    }
    cr_expect(asked[false] > 10000 && asked[true] > 10000);
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, return_held_in_ascending_order)
{
    struct world *world = world_create(64, PORT_FEATURE_EVENT_INDEX);
    static const uint16_t heads[] = {63, 5, 0, 31, 32, 62};
    for (uint16_t i = 0; i < 64; i++)
        put_descriptor(world, i, BUFFER, 8, WRITE, 0);
    cr_expect_eq(virtqueue_return_held(&world->queue), 0);
    check_memory(world);
    for (size_t i = 0; i < COUNT(heads); i++)
        take(world, heads[i]);
    push_used(world, 31, 4);
    cr_expect_eq(virtqueue_return_held(&world->queue), 5);
    static const uint16_t returned[] = {0, 5, 32, 62, 63};
    for (size_t i = 0; i < COUNT(returned); i++)
        shadow_push(world, returned[i], 0);
    check_memory(world);
    cr_expect_eq(world->queue.in_flight_count, 0);
    // The driver is told of them like of all others: used_event is 0, where head 31 went.
    cr_expect(virtqueue_wants_event(&world->queue));
    cr_expect_eq(virtqueue_return_held(&world->queue), 0);
    take(world, 63);
    check_memory(world);
    world_destroy(world);
}

// Every head at once, and the used index wraps meanwhile.
Test(virtqueue, return_held_of_the_largest_queue)
{
    struct huge huge;
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly;
    huge_start(&huge, VIRTQ_MAX_SIZE);
    huge.queue.next_used = huge.queue.last_signalled = 0xff00;
    for (uint16_t i = 0; i < VIRTQ_MAX_SIZE; i++) {
        huge.descriptors[i] = (struct virtq_descriptor){0, 1, 0, 0};
        huge.available[2 + i] = (uint16_t)(VIRTQ_MAX_SIZE - 1 - i);
    }
    huge.available[1] = VIRTQ_MAX_SIZE;
    for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++)
        cr_assert_eq(virtqueue_pop(&huge.queue, &chain, &anomaly), VIRTQUEUE_CHAIN);
    cr_expect_eq(virtqueue_return_held(&huge.queue), VIRTQ_MAX_SIZE);
    cr_expect_eq(huge.queue.in_flight_count, 0);
    const uint16_t *index = (const uint16_t *)(const void *)(huge.host + 0x5002);
    const struct virtq_used_element *used =
        (const struct virtq_used_element *)(const void *)(huge.host + 0x5004);
    cr_expect_eq(*index, (uint16_t)(0xff00 + VIRTQ_MAX_SIZE));
    for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++) {
        const struct virtq_used_element *element = &used[(0xff00 + i) % VIRTQ_MAX_SIZE];
        cr_expect(element->id == i && element->length == 0, "%u: %u", i, element->id);
    }
    cr_expect_eq(virtqueue_return_held(&huge.queue), 0);
    munmap(huge.host, GIB);
}

Test(virtqueue, skip_published_after_an_anomaly)
{
    struct world *world = world_create(8, PORT_FEATURE_INDIRECT);
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly;
    put_descriptor(world, 1, BUFFER, 8, 0, 0);
    put_descriptor(world, 2, 0, 8, 0, 0);
    virtqueue_skip_published(&world->queue); // nothing: changes nothing
    take(world, 1);
    make_available(world, 2);
    make_available(world, 1);
    cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect(virtqueue_has_work(&world->queue));
    virtqueue_skip_published(&world->queue);
    cr_expect_not(virtqueue_has_work(&world->queue));
    cr_expect_eq(pop(world, &chain), VIRTQUEUE_EMPTY);
    // What was taken before is still held, and only that is handed back.
    make_available(world, 1);
    cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_HEAD_IN_FLIGHT);
    virtqueue_skip_published(&world->queue);
    cr_expect_eq(virtqueue_return_held(&world->queue), 1);
    shadow_push(world, 1, 0);
    take(world, 1);
    push_used(world, 1, 0);
    check_memory(world);
    world_destroy(world);
}

// After a jump the index is the driver's word: everything goes on from there.
Test(virtqueue, skip_published_after_a_jump)
{
    struct world *world = world_create(4, 0);
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly;
    static const uint16_t jumps[] = {5, 0x8000, 0xffff, 0, 0xfffe};
    for (size_t i = 0; i < COUNT(jumps); i++) {
        put_descriptor(world, 3, BUFFER, 8, 0, 0);
        driver_write16(world, AVAILABLE + 2, world->available_index += jumps[i]);
        if (jumps[i])
            cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
        virtqueue_skip_published(&world->queue);
        cr_expect_eq(pop(world, &chain), VIRTQUEUE_EMPTY);
        take(world, 3);
        push_used(world, 3, 0);
    }
    check_memory(world);
    world_destroy(world);
}

Test(virtqueue, init_checks_its_areas)
{
    struct world *world = world_create(4, 0);
    struct virtqueue queue;
    struct error err;
    const struct gpa d = {DESCRIPTORS}, a = {AVAILABLE}, u = {USED};
    static const uint16_t bad_sizes[] = {0, 3, 5, 6, 7, 1023, 1025, 2048, 0x8000, 0xffff};
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, bad_sizes[i], 0, d, a, u, &err), -1,
                     "%u", bad_sizes[i]);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 1, 0, d, a, u, &err), 0);
    for (unsigned i = 1; i < 16; i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, gpa_add(d, i), a, u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, d, gpa_add(a, 1), u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, d, gpa_add(a, 2), u, &err), 0);
    for (unsigned i = 1; i < 4; i++)
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, d, a, gpa_add(u, i), &err), -1);
    const struct gpa outside[] = {{0},
                                  {RW_BASE - 16},
                                  {RO_BASE - 16},
                                  {RO_BASE + RO_SIZE - 16},
                                  {RO_BASE + RO_SIZE},
                                  {UINT64_MAX - 15}};
    for (size_t i = 0; i < COUNT(outside); i++) {
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, 0, outside[i], a, u, &err), -1);
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, 0, d, outside[i], u, &err), -1);
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 64, 0, d, a, outside[i], &err), -1);
    }
    // Rights: the used ring is written, the others are read.
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, d, a, (struct gpa){RO_BASE}, &err),
                 -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, (struct gpa){WO_BASE}, a, u, &err),
                 -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, d, (struct gpa){WO_BASE}, u, &err),
                 -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 0, (struct gpa){RO_BASE},
                                (struct gpa){RO_BASE + 0x100}, (struct gpa){WO_BASE}, &err),
                 0);
    world_destroy(world);
}

// 2.7.6 and 2.7.8: the event fields are part of the rings, whether they are used or not.
Test(virtqueue, init_counts_the_event_fields)
{
    struct world *world = world_create(4, 0);
    struct virtqueue queue;
    struct error err;
    const struct gpa d = {DESCRIPTORS}, a = {AVAILABLE}, u = {USED};
    for (unsigned features = 0; features < 4; features++) {
        // 6 + 2 * 4 bytes at the end of the read-only region.
        const struct gpa last_available = {RO_BASE + RO_SIZE - 14};
        const struct gpa behind_available = {RO_BASE + RO_SIZE - 12};
        cr_expect_eq(
            virtqueue_init(&queue, &world->memory, 4, features, d, last_available, u, &err), 0);
        cr_expect_eq(
            virtqueue_init(&queue, &world->memory, 4, features, d, behind_available, u, &err), -1);
        // 6 + 8 * 4 bytes, aligned to 4, at the end of the write-only region.
        const struct gpa last_used = {WO_BASE + WO_SIZE - 40};
        const struct gpa behind_used = {WO_BASE + WO_SIZE - 36};
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, features, d, a, last_used, &err), 0);
        cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, features, d, a, behind_used, &err),
                     -1);
        cr_expect_eq(queue.features, features);
    }
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 4, d, a, u, &err), -1);
    cr_expect_eq(virtqueue_init(&queue, &world->memory, 4, 1u << 16, d, a, u, &err), -1);
    world_destroy(world);
}

Test(virtqueue, copies_across_segments)
{
    struct world *world = world_create(16, 0);
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
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
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
        "none",           "index-jump",     "head-range",   "head-in-flight",
        "next-range",     "chain-length",   "flags",        "order",
        "empty",          "address",        "total-length", "request-header",
        "reply-header",   "reserved",       "segments",     "indirect-length",
        "indirect-chain", "indirect-table", "area",         "device-header",
    };
    for (unsigned i = 0; i < COUNT(names); i++)
        cr_expect_str_eq(queue_rule_name(i), names[i]);
    cr_expect_str_eq(queue_rule_name(COUNT(names)), "unknown");
    cr_expect_str_eq(queue_rule_name(UINT32_MAX), "unknown");
}
