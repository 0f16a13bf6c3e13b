// SPDX-License-Identifier: Apache-2.0
// A single-producer single-consumer byte ring between processes that do not trust each other.
#include "shared_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "copy.h"

int shared_ring_create(const char *name, uint64_t size, struct error *err)
{
    if (size < 4096 || (size & (size - 1)))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "ring size %llu", (unsigned long long)size);
    cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memfd_create %s", name);
    if (ftruncate(fd, (off_t)shared_ring_mapping_size(size)) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "size ring %s", name);
    // Neither side can pull the pages from under the other.
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "seal ring %s", name);
    return steal_fd(&fd);
}

int shared_ring_map(struct shared_ring *ring, int fd, uint64_t size, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "stat ring");
    if (status.st_size < 0 || (uint64_t)status.st_size < shared_ring_mapping_size(size))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "ring memory is too small");
    void *base =
        mmap(NULL, shared_ring_mapping_size(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map ring");
    *ring = (struct shared_ring){
        .header = base,
        .data = (uint8_t *)base + SHARED_RING_DATA_OFFSET,
        .size = size,
    };
    return 0;
}

void shared_ring_unmap(struct shared_ring *ring)
{
    if (ring->header)
        munmap(ring->header, shared_ring_mapping_size(ring->size));
    *ring = (struct shared_ring){0};
}

void shared_ring_clear(struct shared_ring *ring)
{
    // Pages that nobody ever touched stay holes.
    enum { PAGE = 4096, BATCH = 256 };
    unsigned char resident[BATCH];
    if (!ring->header)
        return;
    for (uint64_t at = 0; at < ring->size; at += BATCH * PAGE) {
        uint64_t length = ring->size - at < BATCH * PAGE ? ring->size - at : BATCH * PAGE;
        bool known = mincore(ring->data + at, length, resident) == 0;
        for (uint64_t page = 0; page < length / PAGE; page++) {
            if (!known || resident[page] & 1)
                explicit_bzero(ring->data + at + page * PAGE, PAGE);
        }
    }
}

uint64_t shared_ring_space(struct shared_ring *ring)
{
    ring->cached = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    uint64_t used = ring->own - ring->cached;
    return used > ring->size ? 0 : ring->size - used;
}

void shared_ring_append(struct shared_ring *ring, const void *data, size_t length)
{
    uint64_t at = ring->own & (ring->size - 1);
    size_t first = ring->size - at < length ? (size_t)(ring->size - at) : length;
    copy_bytes(ring->data + at, data, first);
    copy_bytes(ring->data, (const uint8_t *)data + first, length - first);
    ring->own += length;
}

// One wake-up for each time that the other side goes to sleep: the flag is taken, not just read.
static bool take_flag(_Atomic uint32_t *waiting)
{
    return atomic_load_explicit(waiting, memory_order_relaxed) &&
           atomic_exchange_explicit(waiting, 0, memory_order_relaxed);
}

void shared_ring_show(struct shared_ring *ring)
{
    atomic_store_explicit(&ring->header->head, ring->own, memory_order_release);
}

bool shared_ring_consumer_waits(struct shared_ring *ring)
{
    // Pairs with the fence in shared_ring_wait_data: either the consumer saw the new head before it
    // slept, or we see that it waits.
    atomic_thread_fence(memory_order_seq_cst);
    return take_flag(&ring->header->consumer_waiting);
}

bool shared_ring_publish(struct shared_ring *ring)
{
    shared_ring_show(ring);
    return shared_ring_consumer_waits(ring);
}

bool shared_ring_wait_space(struct shared_ring *ring, uint64_t needed)
{
    atomic_store_explicit(&ring->header->producer_waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (shared_ring_space(ring) < needed)
        return false;
    atomic_store_explicit(&ring->header->producer_waiting, 0, memory_order_relaxed);
    return true;
}

uint64_t shared_ring_available(struct shared_ring *ring)
{
    ring->cached = atomic_load_explicit(&ring->header->head, memory_order_acquire);
    uint64_t used = ring->cached - ring->own;
    return used > ring->size ? UINT64_MAX : used;
}

void shared_ring_peek(const struct shared_ring *ring, uint64_t offset, void *data, size_t length)
{
    uint64_t at = (ring->own + offset) & (ring->size - 1);
    size_t first = ring->size - at < length ? (size_t)(ring->size - at) : length;
    copy_bytes(data, ring->data + at, first);
    copy_bytes((uint8_t *)data + first, ring->data, length - first);
}

bool shared_ring_consume(struct shared_ring *ring, uint64_t length)
{
    ring->own += length;
    atomic_store_explicit(&ring->header->tail, ring->own, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return take_flag(&ring->header->producer_waiting);
}

bool shared_ring_wait_data(struct shared_ring *ring)
{
    atomic_store_explicit(&ring->header->consumer_waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (shared_ring_available(ring) == 0)
        return false;
    atomic_store_explicit(&ring->header->consumer_waiting, 0, memory_order_relaxed);
    return true;
}
