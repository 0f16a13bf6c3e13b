// SPDX-License-Identifier: Apache-2.0
// The device side of a split virtqueue whose driver is hostile.
#include "virtqueue.h"

#include <stddef.h>

const char *queue_rule_name(unsigned rule)
{
    static const char *const names[] = {
        "none",         "index-jump",     "head-range",   "head-in-flight", "next-range",
        "chain-length", "flags",          "order",        "empty",          "address",
        "total-length", "request-header", "reply-header", "reserved",       "segments",
    };
    return rule < sizeof(names) / sizeof(names[0]) ? names[rule] : "unknown";
}

int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory, uint16_t size,
                   struct gpa descriptors, struct gpa available, struct gpa used, struct error *err)
{
    if (!size || size > VIRTQ_MAX_SIZE || (size & (size - 1)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "queue size %u is not a power of two up to %u", size, VIRTQ_MAX_SIZE);
    *queue = (struct virtqueue){
        .memory = memory,
        .size = size,
        .descriptors = guest_memory_shared(memory, descriptors,
                                           size * sizeof(struct virtq_descriptor), 16, GUEST_READ),
        .available =
            guest_memory_shared(memory, available, VIRTQ_RING_ENTRIES + size * 2ull, 2, GUEST_READ),
        .used = guest_memory_shared(memory, used,
                                    VIRTQ_RING_ENTRIES + size * sizeof(struct virtq_used_element),
                                    4, GUEST_WRITE),
    };
    if (!queue->descriptors || !queue->available || !queue->used)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "queue areas lie outside the I/O region");
    return 0;
}

// Ring fields are 16-bit and naturally aligned, so these compile to single accesses.
static uint16_t load16(const uint8_t *address)
{
    return __atomic_load_n((const uint16_t *)(const void *)address, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *address, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)address, value, __ATOMIC_RELEASE);
}

bool virtqueue_has_work(const struct virtqueue *queue)
{
    return load16(queue->available + VIRTQ_RING_INDEX) != queue->next_available;
}

static bool in_flight(const struct virtqueue *queue, uint16_t head)
{
    return queue->in_flight[head / 64] >> (head % 64) & 1;
}

static enum virtqueue_result broken(struct queue_anomaly *anomaly, enum queue_rule rule,
                                    uint16_t descriptor)
{
    *anomaly = (struct queue_anomaly){rule, descriptor};
    return VIRTQUEUE_ANOMALY;
}

// Copies one descriptor field by field: the compiler must not read any of them twice.
static struct virtq_descriptor copy_descriptor(const struct virtq_descriptor *shared)
{
    return (struct virtq_descriptor){
        .address = __atomic_load_n(&shared->address, __ATOMIC_RELAXED),
        .length = __atomic_load_n(&shared->length, __ATOMIC_RELAXED),
        .flags = __atomic_load_n(&shared->flags, __ATOMIC_RELAXED),
        .next = __atomic_load_n(&shared->next, __ATOMIC_RELAXED),
    };
}

// Checks one copied descriptor against the rules and adds it to the chain.
static enum queue_rule add_descriptor(const struct virtqueue *queue, struct virtqueue_chain *chain,
                                      const struct virtq_descriptor *descriptor)
{
    if (descriptor->flags & ~(VIRTQ_DESCRIPTOR_NEXT | VIRTQ_DESCRIPTOR_WRITE))
        return QUEUE_RULE_FLAGS;
    if (!descriptor->length)
        return QUEUE_RULE_EMPTY;
    bool writable = descriptor->flags & VIRTQ_DESCRIPTOR_WRITE;
    if (!writable && chain->count > chain->readable_count)
        return QUEUE_RULE_ORDER;
    if (chain->count == VIRTQUEUE_MAX_SEGMENTS)
        return QUEUE_RULE_SEGMENTS;
    struct gpa address = {descriptor->address};
    if (!guest_memory_allows(queue->memory, address, descriptor->length,
                             writable ? GUEST_WRITE : GUEST_READ))
        return QUEUE_RULE_ADDRESS;
    uint32_t *total = writable ? &chain->writable_bytes : &chain->readable_bytes;
    uint32_t both;
    if (__builtin_add_overflow(*total, descriptor->length, total) ||
        __builtin_add_overflow(chain->readable_bytes, chain->writable_bytes, &both))
        return QUEUE_RULE_TOTAL_LENGTH;
    chain->segments[chain->count++] = (struct virtqueue_segment){address, descriptor->length};
    if (!writable)
        chain->readable_count = chain->count;
    return QUEUE_RULE_NONE;
}

enum virtqueue_result virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                    struct queue_anomaly *anomaly)
{
    uint16_t published =
        (uint16_t)(load16(queue->available + VIRTQ_RING_INDEX) - queue->next_available);
    if (!published)
        return VIRTQUEUE_EMPTY;
    if (published > queue->size)
        return broken(anomaly, QUEUE_RULE_INDEX_JUMP, 0);

    uint16_t slot = queue->next_available & (uint16_t)(queue->size - 1);
    uint16_t head = load16(queue->available + VIRTQ_RING_ENTRIES + slot * 2u);
    if (head >= queue->size)
        return broken(anomaly, QUEUE_RULE_HEAD_RANGE, head);
    if (in_flight(queue, head))
        return broken(anomaly, QUEUE_RULE_HEAD_IN_FLIGHT, head);

    chain->head = head;
    chain->readable_count = 0;
    chain->count = 0;
    chain->readable_bytes = 0;
    chain->writable_bytes = 0;
    uint16_t index = head;
    for (unsigned steps = 0;; steps++) {
        if (steps == queue->size)
            return broken(anomaly, QUEUE_RULE_CHAIN_LENGTH, index);
        struct virtq_descriptor descriptor = copy_descriptor(&queue->descriptors[index]);
        enum queue_rule rule = add_descriptor(queue, chain, &descriptor);
        if (rule != QUEUE_RULE_NONE)
            return broken(anomaly, rule, index);
        if (!(descriptor.flags & VIRTQ_DESCRIPTOR_NEXT))
            break;
        if (descriptor.next >= queue->size)
            return broken(anomaly, QUEUE_RULE_NEXT_RANGE, index);
        index = descriptor.next;
    }
    queue->in_flight[head / 64] |= 1ull << (head % 64);
    queue->in_flight_count++;
    queue->next_available++;
    return VIRTQUEUE_CHAIN;
}

// Walks [offset, offset + length) of a run of segments and copies in one direction.
static bool copy_segments(const struct virtqueue *queue, const struct virtqueue_segment *segments,
                          unsigned count, uint32_t offset, uint8_t *host, uint32_t length,
                          bool to_guest)
{
    for (unsigned i = 0; i < count && length; i++) {
        if (offset >= segments[i].length) {
            offset -= segments[i].length;
            continue;
        }
        uint32_t part = segments[i].length - offset < length ? segments[i].length - offset : length;
        struct gpa address = gpa_add(segments[i].address, offset);
        bool copied = to_guest ? guest_memory_write(queue->memory, address, host, part)
                               : guest_memory_read(queue->memory, address, host, part);
        if (!copied)
            return false;
        host += part;
        length -= part;
        offset = 0;
    }
    return length == 0;
}

bool virtqueue_read(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                    uint32_t offset, void *target, uint32_t length)
{
    return copy_segments(queue, chain->segments, chain->readable_count, offset, target, length,
                         false);
}

bool virtqueue_write(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                     uint32_t offset, const void *source, uint32_t length)
{
    // The cast drops const only for the shared walker, which reads `host` in this direction.
    return copy_segments(queue, chain->segments + chain->readable_count,
                         chain->count - chain->readable_count, offset, (uint8_t *)(uintptr_t)source,
                         length, true);
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    uint16_t slot = queue->next_used & (uint16_t)(queue->size - 1);
    struct virtq_used_element *element =
        (struct virtq_used_element *)(void *)(queue->used + VIRTQ_RING_ENTRIES) + slot;
    __atomic_store_n(&element->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&element->length, written, __ATOMIC_RELAXED);
    queue->in_flight[head / 64] &= ~(1ull << (head % 64));
    queue->in_flight_count--;
    queue->next_used++;
    store16(queue->used + VIRTQ_RING_INDEX, queue->next_used);
}

void virtqueue_set_doorbell(struct virtqueue *queue, bool wanted)
{
    store16(queue->used + VIRTQ_RING_FLAGS, (uint16_t)(wanted ? 0 : VIRTQ_USED_NO_NOTIFY));
    if (wanted)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
