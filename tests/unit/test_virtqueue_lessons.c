// SPDX-License-Identifier: Apache-2.0
// What other devices got wrong with virtqueues.
#include "virtqueue_cases.h"

// CVE-2019-18960 (Firecracker's vsock): a descriptor that begins inside memory and ends outside was
// used up to its length.
Test(virtqueue_lessons, cve_2019_18960_descriptor_longer_than_memory)
{
    struct world *world = world_create(4, PORT_FEATURE_INDIRECT);
    static const uint64_t starts[] = {RW_BASE, BUFFER,  RO_BASE - 4,
                                      RO_BASE, WO_BASE, WO_BASE + WO_SIZE - 1};
    static const uint32_t beyond[] = {1, 4, 4096, 0x10000, 0x7fffffff};
    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(beyond); k++)
            for (unsigned inside = 0; inside < 2; inside++) {
                uint64_t end = starts[i] < RO_BASE   ? RO_BASE
                               : starts[i] < WO_BASE ? RO_BASE + RO_SIZE
                                                     : WO_BASE + WO_SIZE;
                uint16_t flags = starts[i] < WO_BASE ? 0 : WRITE;
                uint32_t length = (uint32_t)(end - starts[i]);
                // Up to the last byte it is legal; the lengths add up, the rights hold.
                put_descriptor(world, 0, TABLE, 16, INDIRECT, 0);
                put_entry(world, inside ? TABLE : DESCRIPTORS, 0, starts[i], length, flags, 0);
                expect_chain(world, 0, 1, flags ? 0 : length, flags ? length : 0);
                put_descriptor(world, 0, TABLE, 16, INDIRECT, 0);
                put_entry(world, inside ? TABLE : DESCRIPTORS, 0, starts[i], length + beyond[k],
                          flags, 0);
                make_available(world, 0);
                expect_anomaly(world, QUEUE_RULE_ADDRESS, 0);
            }
    world_destroy(world);
}

// A head that is made available again while the device has it, so that one request is answered
// twice, or its buffers are used after they were given back.
Test(virtqueue_lessons, head_made_available_twice_is_not_processed_again)
{
    struct world *world = world_create(4, 0);
    struct virtqueue_chain chain;
    put_descriptor(world, 1, BUFFER, 8, NEXT, 2);
    put_descriptor(world, 2, BUFFER + 8, 8, WRITE, 0);
    make_available(world, 1);
    make_available(world, 1);
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
    const struct virtqueue before = world->queue;
    struct queue_anomaly anomaly;
    for (int i = 0; i < 3; i++) { // a refusal changes nothing, so it stays one
        cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
        cr_expect_eq(anomaly.rule, QUEUE_RULE_HEAD_IN_FLIGHT);
        cr_expect_eq(memcmp(&before, &world->queue, sizeof(before)), 0);
    }
    check_memory(world);
    // Once it was used it is the driver's again.
    push_used(world, 1, 8);
    cr_expect_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
    check_memory(world);
    world_destroy(world);
}

// CVE-2019-14835 (vhost): descriptors of an indirect table filled a log of fixed size, since those
// of no length were not counted.
Test(virtqueue_lessons, cve_2019_14835_indirect_table_fills_nothing)
{
    struct world *world = world_create(64, PORT_FEATURE_INDIRECT);
    for (uint32_t length = 0; length <= 1; length++)
        for (uint16_t flags = NEXT; flags <= (NEXT | WRITE); flags += WRITE) {
            // All of the table, and round again.
            put_descriptor(world, 0, TABLE, 64 * 16, INDIRECT, 0);
            for (unsigned i = 0; i < 64; i++)
                put_entry(world, TABLE, i, BUFFER, length, flags, (i + 1) % 64);
            make_available(world, 0);
            expect_anomaly(world, length ? QUEUE_RULE_SEGMENTS : QUEUE_RULE_EMPTY,
                           length ? VIRTQUEUE_MAX_SEGMENTS : 0);
            // A loop of one.
            put_descriptor(world, 0, TABLE, 16, INDIRECT, 0);
            put_entry(world, TABLE, 0, BUFFER, length, flags, 0);
            make_available(world, 0);
            expect_anomaly(world, length ? QUEUE_RULE_CHAIN_LENGTH : QUEUE_RULE_EMPTY, 0);
        }
    // A table that says that it is longer than it can be.
    put_descriptor(world, 0, TABLE, 65 * 16, INDIRECT, 0);
    make_available(world, 0);
    expect_anomaly(world, QUEUE_RULE_INDIRECT_LENGTH, 0);
    world_destroy(world);
}

// The used index goes from 65535 to 0, and so does what is compared with it.
Test(virtqueue_lessons, used_index_wraps_at_65535)
{
    for (unsigned features = 0; features < 4; features += 2) {
        struct world *world = world_create(4, features);
        put_descriptor(world, 1, BUFFER, 8, WRITE, 0);
        put_descriptor(world, 2, BUFFER, 8, WRITE, 0);
        world->queue.next_used = world->queue.last_signalled = world->used_index = 0xffff;
        take(world, 1);
        take(world, 2);
        driver_write16(world, USED_EVENT(4), 0);
        push_used(world, 2, 7); // at 65535
        cr_expect_eq(shadow16(world, USED + 2), 0);
        cr_expect_eq(virtqueue_wants_event(&world->queue), !features);
        push_used(world, 1, 8); // at 0
        cr_expect(virtqueue_wants_event(&world->queue));
        check_memory(world);
        // Both at once: the batch spans the wrap.
        world->queue.next_used = world->queue.last_signalled = world->used_index = 0xffff;
        take(world, 1);
        take(world, 2);
        driver_write16(world, USED_EVENT(4), 0xffff);
        push_used(world, 1, 0);
        push_used(world, 2, 0);
        cr_expect(virtqueue_wants_event(&world->queue));
        check_memory(world);
        world_destroy(world);
    }
}
