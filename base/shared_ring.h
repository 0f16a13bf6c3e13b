// SPDX-License-Identifier: Apache-2.0
// A single-producer single-consumer byte ring in memory shared by two processes that do not trust
// each other. Each side keeps its own index privately, publishes a copy, and checks the other's.
#ifndef BASE_SHARED_RING_H
#define BASE_SHARED_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Shared header. The first cache line belongs to the producer, the second to the consumer;
// `*_waiting` asks the other side, which clears it, for one wake-up through the eventfd that came
// with the ring.
struct shared_ring_header {
    _Atomic uint64_t head; // bytes ever written
    _Atomic uint32_t producer_waiting;
    _Atomic uint32_t closed; // the producer will write no more
    uint8_t pad0[48];
    _Atomic uint64_t tail; // bytes ever read
    _Atomic uint32_t consumer_waiting;
    uint8_t pad1[52];
};
_Static_assert(sizeof(struct shared_ring_header) == 128, "two cache lines");
_Static_assert(offsetof(struct shared_ring_header, tail) == 64, "consumer line");

// Offset of the data from the start of the shared memory.
#define SHARED_RING_DATA_OFFSET 4096

// One side's view of a ring.
struct shared_ring {
    struct shared_ring_header *header;
    uint8_t *data;
    uint64_t size;   // bytes of data, a power of two
    uint64_t own;    // this side's index: head for the producer, tail for the consumer
    uint64_t cached; // the other side's index when last read
};

// Bytes of shared memory that a ring with `size` bytes of data needs.
static inline size_t shared_ring_mapping_size(uint64_t size)
{
    return SHARED_RING_DATA_OFFSET + (size_t)size;
}

// Makes a sealed-size memfd for a ring with `size` data bytes (a power of two, at least 4096).
// Returns the descriptor or -1.
int shared_ring_create(const char *name, uint64_t size, struct error *err);

// Maps the ring behind `fd` whose data size the caller knows (it is never read from the shared
// memory). The descriptor may be closed afterwards. Returns 0 or -1.
int shared_ring_map(struct shared_ring *ring, int fd, uint64_t size, struct error *err);

void shared_ring_unmap(struct shared_ring *ring);

// Overwrites all data with zeros, once the other side is gone; freed pages then hold nothing. For a
// ring that is not mapped it does nothing.
void shared_ring_clear(struct shared_ring *ring);

// Producer: free bytes. Returns 0 if the consumer's index is nonsense (fail closed: a ring that
// looks full stops the port).
uint64_t shared_ring_space(struct shared_ring *ring);

// Producer: appends without publishing; the caller has checked shared_ring_space for the sum of
// what it appends before the next publish.
void shared_ring_append(struct shared_ring *ring, const void *data, size_t length);

// Producer: makes appended bytes visible. Returns true if the consumer asked to be woken.
bool shared_ring_publish(struct shared_ring *ring);

// Producer: the same in two steps, for those who wake seldom: shared_ring_show makes appended bytes
// visible, shared_ring_consumer_waits says later, and at the latest before the producer sleeps,
// whether the consumer asked to be woken.
void shared_ring_show(struct shared_ring *ring);
bool shared_ring_consumer_waits(struct shared_ring *ring);

// Producer: asks to be woken when space appears. Returns true if `needed` bytes are free already.
bool shared_ring_wait_space(struct shared_ring *ring, uint64_t needed);

// Consumer: bytes to read, or UINT64_MAX if the producer's index is nonsense.
uint64_t shared_ring_available(struct shared_ring *ring);

// Consumer: copies `length` bytes at `offset` from the tail without consuming them; the caller
// has checked shared_ring_available for their sum.
void shared_ring_peek(const struct shared_ring *ring, uint64_t offset, void *data, size_t length);

// Consumer: releases bytes. Returns true if the producer asked to be woken.
bool shared_ring_consume(struct shared_ring *ring, uint64_t length);

// Consumer: asks for a wake-up before sleeping. Returns true if bytes are there already.
bool shared_ring_wait_data(struct shared_ring *ring);

#endif
