// SPDX-License-Identifier: Apache-2.0
// What the tests of single cases of the virtqueue share.
#ifndef TESTS_UNIT_VIRTQUEUE_CASES_H
#define TESTS_UNIT_VIRTQUEUE_CASES_H

#include <criterion/criterion.h>

#include "virtqueue_world.h"

static inline enum virtqueue_result pop(struct world *world, struct virtqueue_chain *chain)
{
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0};
    memset(chain, 0xa5, sizeof(*chain));
    enum virtqueue_result result = virtqueue_pop(&world->queue, chain, &anomaly);
    cr_expect_eq(anomaly.rule, QUEUE_RULE_NONE, "%s at %u", queue_rule_name(anomaly.rule),
                 anomaly.descriptor);
    return result;
}

// Publishes `head` and takes its chain.
static inline void take(struct world *world, uint16_t head)
{
    struct virtqueue_chain chain;
    make_available(world, head);
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
    cr_assert_eq(chain.head, head);
}

static inline void start_again(struct world *world)
{
    world_start(world, world->size, world->queue.features);
}

// Expects the next chain to break a rule, and starts again.
static inline void expect_anomaly(struct world *world, enum queue_rule rule, uint16_t descriptor)
{
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0xeeee};
    cr_expect_eq(virtqueue_pop(&world->queue, &chain, &anomaly), VIRTQUEUE_ANOMALY);
    cr_expect_eq(anomaly.rule, rule, "%s, not %s", queue_rule_name(anomaly.rule),
                 queue_rule_name(rule));
    cr_expect_eq(anomaly.descriptor, descriptor, "%s: descriptor %u", queue_rule_name(rule),
                 anomaly.descriptor);
    check_memory(world);
    start_again(world);
}

// Publishes `head` and expects a chain of `readable` and `writable` bytes in `count` segments.
static inline void expect_chain(struct world *world, uint16_t head, unsigned count,
                                uint32_t readable, uint32_t writable)
{
    struct virtqueue_chain chain;
    make_available(world, head);
    cr_assert_eq(pop(world, &chain), VIRTQUEUE_CHAIN);
    cr_expect_eq(chain.head, head);
    cr_expect_eq(chain.count, count);
    cr_expect_eq(chain.readable_bytes, readable);
    cr_expect_eq(chain.writable_bytes, writable);
    check_memory(world);
    start_again(world);
}

#endif
