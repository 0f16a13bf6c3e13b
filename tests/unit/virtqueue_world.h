// SPDX-License-Identifier: Apache-2.0
// A queue, the memory that its driver may name, and what that memory must contain: the ground that
// test_virtqueue.c and test_virtqueue_model.c stand on.
#ifndef TESTS_UNIT_VIRTQUEUE_WORLD_H
#define TESTS_UNIT_VIRTQUEUE_WORLD_H

#include <criterion/criterion.h>
#include <string.h>

#include "support.h"
#include "virtqueue.h"

#define NEXT     VIRTQ_DESCRIPTOR_NEXT
#define WRITE    VIRTQ_DESCRIPTOR_WRITE
#define INDIRECT VIRTQ_DESCRIPTOR_INDIRECT

// A read-write region with the queue and most buffers, a read-only one that touches it, a gap, a
// write-only one.
#define RW_BASE 0x10000ull
#define RW_SIZE 0x2000u
#define RO_BASE (RW_BASE + RW_SIZE)
#define RO_SIZE 0x400u
#define WO_BASE (RO_BASE + RO_SIZE + 0x1000)
#define WO_SIZE 0x400u
#define ALL     (RW_SIZE + RO_SIZE + WO_SIZE)

// Room for WORLD_MAX_SIZE entries. Buffers and indirect tables lie behind the queue.
#define WORLD_MAX_SIZE 64u
#define DESCRIPTORS    RW_BASE
#define AVAILABLE      (RW_BASE + 0x400)
#define USED           (RW_BASE + 0x800)
#define BUFFER         (RW_BASE + 0x1000)
#define TABLE          (RW_BASE + 0x1800)

#define USED_EVENT(size)  (AVAILABLE + 4 + (size)*2)
#define AVAIL_EVENT(size) (USED + 4 + (size)*8)

static const struct {
    uint64_t base, size;
    unsigned rights;
    size_t shadow;
} world_regions[] = {
    {RW_BASE, RW_SIZE, GUEST_READ | GUEST_WRITE, 0},
    {RO_BASE, RO_SIZE, GUEST_READ, RW_SIZE},
    {WO_BASE, WO_SIZE, GUEST_WRITE, RW_SIZE + RO_SIZE},
};

struct world {
    struct guest_memory memory;
    uint8_t *host[COUNT(world_regions)]; // what the device works on
    uint8_t shadow[ALL];                 // what it must contain
    struct virtqueue queue;
    uint16_t size;
    uint16_t available_index; // the driver's
    uint16_t used_index;      // what the device's must be
};

static inline uint8_t *host_of(struct world *world, uint64_t address)
{
    for (size_t i = 0; i < COUNT(world_regions); i++) {
        if (address >= world_regions[i].base &&
            address - world_regions[i].base < world_regions[i].size)
            return world->host[i] + (address - world_regions[i].base);
    }
    return NULL;
}

static inline uint8_t *shadow_of(struct world *world, uint64_t address)
{
    for (size_t i = 0; i < COUNT(world_regions); i++) {
        if (address >= world_regions[i].base &&
            address - world_regions[i].base < world_regions[i].size)
            return world->shadow + world_regions[i].shadow + (address - world_regions[i].base);
    }
    return NULL;
}

static inline uint16_t shadow16(struct world *world, uint64_t address)
{
    uint16_t value;
    memcpy(&value, shadow_of(world, address), sizeof(value));
    return value;
}

static inline void shadow_write16(struct world *world, uint64_t address, uint16_t value)
{
    memcpy(shadow_of(world, address), &value, sizeof(value));
}

// The driver writes: into guest memory and, since the driver may, into what it must contain.
static inline void driver_write(struct world *world, uint64_t address, const void *data,
                                size_t length)
{
    memcpy(host_of(world, address), data, length);
    memcpy(shadow_of(world, address), data, length);
}

static inline void driver_write16(struct world *world, uint64_t address, uint16_t value)
{
    driver_write(world, address, &value, sizeof(value));
}

static inline void world_start(struct world *world, uint16_t size, unsigned features)
{
    struct error err;
    world->size = size;
    world->available_index = world->used_index = 0;
    memset(world->shadow, 0, sizeof(world->shadow));
    for (size_t i = 0; i < COUNT(world_regions); i++)
        memset(world->host[i], 0, world_regions[i].size);
    if (virtqueue_init(&world->queue, &world->memory, size, features, (struct gpa){DESCRIPTORS},
                       (struct gpa){AVAILABLE}, (struct gpa){USED}, &err) < 0)
        cr_assert_fail("%s", err.text);
}

static inline struct world *world_create(uint16_t size, unsigned features)
{
    struct world *world = (struct world *)calloc(1, sizeof(*world));
    struct error err;
    for (size_t i = 0; i < COUNT(world_regions); i++) {
        // Each from the heap, of just its size: the sanitizer guards both ends.
        world->host[i] = (uint8_t *)aligned_alloc(64, world_regions[i].size);
        cr_assert_eq(guest_memory_add(&world->memory, (struct gpa){world_regions[i].base},
                                      world_regions[i].size, world->host[i],
                                      world_regions[i].rights, &err),
                     0);
    }
    world_start(world, size, features);
    return world;
}

static inline void world_destroy(struct world *world)
{
    for (size_t i = 0; i < COUNT(world_regions); i++)
        free(world->host[i]);
    free(world);
}

// One descriptor of the table at `table`: the queue's own, or an indirect one.
static inline void put_entry(struct world *world, uint64_t table, unsigned index, uint64_t address,
                             uint32_t length, uint16_t flags, uint16_t next)
{
    struct virtq_descriptor descriptor = {address, length, flags, next};
    driver_write(world, table + index * 16, &descriptor, 16);
}

static inline void put_descriptor(struct world *world, unsigned index, uint64_t address,
                                  uint32_t length, uint16_t flags, uint16_t next)
{
    put_entry(world, DESCRIPTORS, index, address, length, flags, next);
}

static inline void make_available(struct world *world, uint16_t head)
{
    driver_write16(world, AVAILABLE + 4 + (world->available_index % world->size) * 2, head);
    driver_write16(world, AVAILABLE + 2, ++world->available_index);
}

// What a push must change, without the push.
static inline void shadow_push(struct world *world, uint16_t head, uint32_t written)
{
    struct virtq_used_element element = {head, written};
    uint16_t slot = world->used_index % world->size;
    memcpy(shadow_of(world, USED + 4 + slot * 8), &element, 8);
    shadow_write16(world, USED + 2, ++world->used_index);
}

static inline void push_used(struct world *world, uint16_t head, uint32_t written)
{
    virtqueue_push(&world->queue, head, written);
    shadow_push(world, head, written);
}

// The device touched nothing but what it must touch.
static inline void check_memory(struct world *world)
{
    for (size_t i = 0; i < COUNT(world_regions); i++)
        cr_assert_eq(
            memcmp(world->host[i], world->shadow + world_regions[i].shadow, world_regions[i].size),
            0, "region %zu differs", i);
}

#endif
