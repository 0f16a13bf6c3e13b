// SPDX-License-Identifier: Apache-2.0
// Fuzzes the split virtqueue: the input is the features, the whole I/O region, and then what driver
// and device do in turn.
#include <stdlib.h>
#include <string.h>

#include "virtqueue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE        0x8000000ull
#define REGION      1024u
#define MAX_SIZE    32u
#define DESCRIPTORS 0u   // up to 32 * 16 bytes
#define AVAILABLE   512u // up to 6 + 64 bytes
#define USED        592u // up to 6 + 256 bytes
#define STEPS       64u

// The queue and what must be true of it.
struct bench {
    struct guest_memory memory;
    struct virtqueue queue;
    uint8_t *host;
    bool held[MAX_SIZE];
    uint16_t used;  // pushes so far, as the index counts them
    uint16_t asked; // of them, when the device last asked for the driver's wish
};

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static uint16_t host16(const struct bench *bench, unsigned offset)
{
    uint16_t value;
    memcpy(&value, bench->host + offset, sizeof(value));
    return value;
}

static unsigned held_count(const struct bench *bench)
{
    unsigned count = 0;
    for (unsigned i = 0; i < bench->queue.size; i++)
        count += bench->held[i];
    return count;
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

static void check_anomaly(const struct bench *bench, const struct queue_anomaly *anomaly)
{
    require_that(anomaly->rule > QUEUE_RULE_NONE && anomaly->rule <= QUEUE_RULE_INDIRECT_TABLE);
    require_that(strcmp(queue_rule_name(anomaly->rule), "unknown") != 0);
    if (!(bench->queue.features & PORT_FEATURE_INDIRECT))
        require_that(anomaly->rule < QUEUE_RULE_INDIRECT_LENGTH);
    if (anomaly->rule != QUEUE_RULE_HEAD_RANGE)
        require_that(anomaly->descriptor < bench->queue.size);
}

// Takes a chain and uses all of it. Returns false if there was none.
static bool take(struct bench *bench)
{
    static uint8_t copy[VIRTQUEUE_MAX_SEGMENTS * REGION], before[REGION];
    struct virtqueue *queue = &bench->queue;
    struct virtqueue_chain chain;
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0};
    memcpy(before, bench->host, REGION);
    bool work = virtqueue_has_work(queue);
    require_that(work == (virtqueue_published(queue) > 0));
    require_that(virtqueue_published(queue) <= queue->size);
    enum virtqueue_result result = virtqueue_pop(queue, &chain, &anomaly);
    require_that(memcmp(before, bench->host, REGION) == 0); // it only looked
    require_that(work == (result != VIRTQUEUE_EMPTY));
    if (result == VIRTQUEUE_ANOMALY) {
        check_anomaly(bench, &anomaly);
        virtqueue_skip_published(queue); // the port is opened again
        require_that(!virtqueue_has_work(queue));
    }
    if (result != VIRTQUEUE_CHAIN)
        return result == VIRTQUEUE_ANOMALY;
    check_chain(queue, &chain);
    require_that(!bench->held[chain.head]);
    bench->held[chain.head] = true;
    require_that(queue->in_flight_count == held_count(bench));
    require_that(virtqueue_read(queue, &chain, 0, copy, chain.readable_bytes));
    require_that(!virtqueue_read(queue, &chain, chain.readable_bytes, copy, 1));
    // May change the queue itself: buffers are where the driver says.
    require_that(virtqueue_write(queue, &chain, 0, copy, chain.writable_bytes));
    require_that(!virtqueue_write(queue, &chain, chain.writable_bytes, copy, 1));
    return true;
}

static void push(struct bench *bench, unsigned which, uint32_t written)
{
    for (unsigned i = 0; i < bench->queue.size; i++) {
        uint16_t head = (uint16_t)((which + i) % bench->queue.size);
        if (!bench->held[head])
            continue;
        virtqueue_push(&bench->queue, head, written);
        bench->held[head] = false;
        bench->used++;
        require_that(host16(bench, USED + VIRTQ_RING_INDEX) == bench->used);
        return;
    }
}

// Hands everything back: in ascending order, as far as the ring still shows it.
static void return_held(struct bench *bench)
{
    unsigned count = held_count(bench), size = bench->queue.size;
    require_that(virtqueue_return_held(&bench->queue) == count);
    for (unsigned head = 0; head < size; head++) {
        if (!bench->held[head])
            continue;
        struct virtq_used_element element;
        memcpy(&element, bench->host + USED + VIRTQ_RING_ENTRIES + bench->used++ % size * 8, 8);
        require_that(element.id == head && element.length == 0);
        bench->held[head] = false;
    }
    require_that(bench->queue.in_flight_count == 0);
    require_that(!count || host16(bench, USED + VIRTQ_RING_INDEX) == bench->used);
}

// Virtio 1.2, 2.7.7.2: the entry placed at used_event sends, or every one unless the flag is set.
static void ask(struct bench *bench)
{
    bool wanted = false;
    for (; bench->asked != bench->used; bench->asked++) {
        if (bench->queue.features & PORT_FEATURE_EVENT_INDEX)
            wanted |= bench->asked == host16(bench, AVAILABLE + 4 + bench->queue.size * 2u);
        else
            wanted |= !(host16(bench, AVAILABLE) & 1);
    }
    require_that(virtqueue_wants_event(&bench->queue) == wanted);
    require_that(!virtqueue_wants_event(&bench->queue));
}

static void set_doorbell(struct bench *bench, bool wanted)
{
    uint16_t flags = host16(bench, USED);
    virtqueue_set_doorbell(&bench->queue, wanted);
    if (!(bench->queue.features & PORT_FEATURE_EVENT_INDEX)) {
        require_that(host16(bench, USED) == !wanted);
        return;
    }
    require_that(host16(bench, USED) == flags);
    if (wanted)
        require_that(host16(bench, USED + 4 + bench->queue.size * 8u) ==
                     bench->queue.next_available);
}

// The driver publishes a head. The index is where it left it, whoever wrote over it since.
static void publish(struct bench *bench, uint8_t head)
{
    uint16_t index = host16(bench, AVAILABLE + VIRTQ_RING_INDEX), entry = head;
    memcpy(bench->host + AVAILABLE + VIRTQ_RING_ENTRIES + index % bench->queue.size * 2u, &entry,
           2);
    index++;
    memcpy(bench->host + AVAILABLE + VIRTQ_RING_INDEX, &index, 2);
}

// Three bytes: a store of the driver's, or what one of both does.
static void act(struct bench *bench, const uint8_t *data)
{
    if (!(data[0] & 0x80)) {
        bench->host[((unsigned)data[0] << 8 | data[1]) % REGION] = data[2];
        return;
    }
    switch (data[0] >> 4 & 7) {
    case 0:
    case 1:
        publish(bench, data[1]);
        break;
    case 2:
        ask(bench);
        break;
    case 3:
        set_doorbell(bench, data[1] & 1);
        break;
    case 4:
        return_held(bench);
        break;
    case 5:
        virtqueue_skip_published(&bench->queue);
        require_that(!virtqueue_has_work(&bench->queue));
        break;
    default:
        push(bench, data[1], data[2]);
        break;
    }
}

static void start(struct bench *bench, uint8_t kind)
{
    struct error err;
    *bench = (struct bench){0};
    // From the heap, of just its size: the sanitizer guards both ends.
    bench->host = aligned_alloc(16, REGION);
    memset(bench->host, 0, REGION);
    require_that(guest_memory_add(&bench->memory, (struct gpa){BASE}, REGION, bench->host,
                                  GUEST_READ | GUEST_WRITE, &err) == 0);
    require_that(virtqueue_init(&bench->queue, &bench->memory, (uint16_t)(1u << (kind & 7) % 6),
                                kind >> 3 & 3, (struct gpa){BASE + DESCRIPTORS},
                                (struct gpa){BASE + AVAILABLE}, (struct gpa){BASE + USED},
                                &err) == 0);
    // The used index is 16 bits wide: half of the runs begin shortly before it wraps.
    if (kind & 0x20)
        bench->used = bench->asked = bench->queue.next_used = bench->queue.last_signalled = 0xfffd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench bench;
    if (size < 1)
        return 0;
    start(&bench, data[0]);
    data++;
    size--;
    size_t filled = size < REGION ? size : REGION;
    memcpy(bench.host, data, filled);
    data += filled;
    size -= filled;
    for (unsigned step = 0; step < STEPS; step++) {
        bool taken = take(&bench);
        if (size >= 3) {
            act(&bench, data);
            data += 3;
            size -= 3;
        } else if (!taken) {
            break;
        }
    }
    return_held(&bench);
    ask(&bench);
    free(bench.host);
    return 0;
}
