// SPDX-License-Identifier: Apache-2.0
// Fuzzes the split virtqueue: the input is the whole I/O region, then stores that the driver makes
// between two looks of the device.
#include <stdlib.h>
#include <string.h>

#include "virtqueue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE        0x8000000ull
#define REGION      1024u
#define DESCRIPTORS 0u   // up to 16 * 16 bytes
#define AVAILABLE   256u // up to 4 + 32 bytes
#define USED        320u // up to 4 + 128 bytes
#define STEPS       64u

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void check_chain(const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    uint64_t readable = 0, writable = 0;
    require_that(chain->head < queue->size);
    require_that(chain->count >= 1 && chain->count <= VIRTQUEUE_MAX_SEGMENTS);
    require_that(chain->count <= queue->size && chain->readable_count <= chain->count);
    for (unsigned i = 0; i < chain->count; i++) {
        uint64_t address = chain->segments[i].address.value, length = chain->segments[i].length;
        require_that(length && address >= BASE && address - BASE < REGION &&
                     length <= REGION - (address - BASE));
        *(i < chain->readable_count ? &readable : &writable) += length;
    }
    require_that(readable == chain->readable_bytes && writable == chain->writable_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[VIRTQUEUE_MAX_SEGMENTS * REGION];
    struct guest_memory memory = {0};
    struct virtqueue queue;
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly;
    struct error err;
    if (size < 1)
        return 0;
    uint16_t entries = (uint16_t)(1u << (*data++ % 5));
    size--;
    // From the heap, of just its size: the sanitizer guards both ends.
    uint8_t *host = aligned_alloc(16, REGION);
    size_t filled = size < REGION ? size : REGION;
    memset(host, 0, REGION);
    memcpy(host, data, filled);
    data += filled;
    size -= filled;
    require_that(guest_memory_add(&memory, (struct gpa){BASE}, REGION, host,
                                  GUEST_READ | GUEST_WRITE, &err) == 0);
    require_that(virtqueue_init(&queue, &memory, entries, (struct gpa){BASE + DESCRIPTORS},
                                (struct gpa){BASE + AVAILABLE}, (struct gpa){BASE + USED},
                                &err) == 0);
    uint16_t held[STEPS];
    unsigned held_count = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        enum virtqueue_result result = virtqueue_pop(&queue, &chain, &anomaly);
        if (result == VIRTQUEUE_ANOMALY) {
            require_that(anomaly.rule > QUEUE_RULE_NONE && anomaly.rule <= QUEUE_RULE_SEGMENTS);
            require_that(strcmp(queue_rule_name(anomaly.rule), "unknown") != 0);
            break;
        }
        if (result == VIRTQUEUE_CHAIN) {
            check_chain(&queue, &chain);
            for (unsigned i = 0; i < held_count; i++)
                require_that(held[i] != chain.head);
            held[held_count++] = chain.head;
            require_that(queue.in_flight_count == held_count);
            require_that(virtqueue_read(&queue, &chain, 0, copy, chain.readable_bytes));
            require_that(!virtqueue_read(&queue, &chain, chain.readable_bytes, copy, 1));
            // May change the queue itself: buffers are where the driver says.
            require_that(virtqueue_write(&queue, &chain, 0, copy, chain.writable_bytes));
            require_that(!virtqueue_write(&queue, &chain, chain.writable_bytes, copy, 1));
        }
        if (size < 3) {
            if (result == VIRTQUEUE_EMPTY)
                break;
            continue;
        }
        // What the driver does next: a store, or nothing while the device completes one.
        if ((data[0] & 0x80) && held_count) {
            unsigned which = data[1] % held_count;
            virtqueue_push(&queue, held[which], data[2]);
            held[which] = held[--held_count];
        } else {
            host[((data[0] & 0x7fu) << 8 | data[1]) % REGION] = data[2];
        }
        data += 3;
        size -= 3;
    }
    free(host);
    return 0;
}
