// SPDX-License-Identifier: Apache-2.0
// The device side of a split virtqueue whose driver is hostile.
#include "virtqueue.h"

#include <stddef.h>

int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory, uint16_t size,
                   unsigned features, struct gpa descriptors, struct gpa available, struct gpa used,
                   struct error *err)
{
    if (!size || size > VIRTQ_MAX_SIZE || (size & (size - 1)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "queue size %u is not a power of two up to %u", size, VIRTQ_MAX_SIZE);
    if (features & ~(unsigned)(PORT_FEATURE_INDIRECT | PORT_FEATURE_EVENT_INDEX))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "queue features 0x%x are not known",
                         features);
    *queue = (struct virtqueue){
        .memory = memory,
        .size = size,
        .features = (uint16_t)features,
        .descriptors = guest_memory_shared(memory, descriptors,
                                           size * sizeof(struct virtq_descriptor), 16, GUEST_READ),
        .available =
            guest_memory_shared(memory, available, VIRTQ_AVAILABLE_BYTES(size), 2, GUEST_READ),
        .used = guest_memory_shared(memory, used, VIRTQ_USED_BYTES(size), 4, GUEST_WRITE),
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

// Checks one copied descriptor that names a buffer and adds it to the chain.
static enum queue_rule add_descriptor(const struct virtqueue *queue, struct virtqueue_chain *chain,
                                      const struct virtq_descriptor *descriptor)
{
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

// A walk along a chain: through the queue's table, and at its end perhaps through one more.
struct walk {
    bool indirect;
    struct gpa table; // of an indirect walk
    unsigned entries; // of the table that is walked
    unsigned left;    // descriptors that may still follow before this must be a loop
    uint16_t index;
};

// Reads the descriptor that the walk stands at, once. Indirect tables need no alignment, so theirs
// cannot be loaded by atomics; guest_memory_read is a call, and the compiler sees only the copy.
static bool next_descriptor(const struct virtqueue *queue, const struct walk *walk,
                            struct virtq_descriptor *descriptor)
{
    if (walk->indirect)
        return guest_memory_read(queue->memory,
                                 gpa_add(walk->table, walk->index * sizeof(*descriptor)),
                                 descriptor, sizeof(*descriptor));
    *descriptor = copy_descriptor(&queue->descriptors[walk->index]);
    return true;
}

// Goes on in the table that a copied descriptor refers to. Its WRITE flag means nothing (virtio
// 1.2, 2.7.5.3.2). The descriptor itself is no part of the chain's length, its table is.
static enum queue_rule enter_table(const struct virtqueue *queue, struct walk *walk,
                                   const struct virtq_descriptor *descriptor)
{
    struct gpa table = {descriptor->address};
    uint32_t entries = descriptor->length / sizeof(struct virtq_descriptor);
    if (walk->indirect || (descriptor->flags & VIRTQ_DESCRIPTOR_NEXT))
        return QUEUE_RULE_INDIRECT_CHAIN;
    if (!entries || descriptor->length % sizeof(struct virtq_descriptor) || entries > queue->size)
        return QUEUE_RULE_INDIRECT_LENGTH;
    if (!guest_memory_allows(queue->memory, table, descriptor->length, GUEST_READ))
        return QUEUE_RULE_INDIRECT_TABLE;
    unsigned left = walk->left + 1;
    *walk = (struct walk){
        .indirect = true,
        .table = table,
        .entries = entries,
        .left = left < entries ? left : entries,
    };
    return QUEUE_RULE_NONE;
}

// Takes the descriptor that the walk stands at and moves it to the next one, or sets *end.
static enum queue_rule step(const struct virtqueue *queue, struct walk *walk,
                            struct virtqueue_chain *chain, bool *end)
{
    const unsigned known =
        VIRTQ_DESCRIPTOR_NEXT | VIRTQ_DESCRIPTOR_WRITE |
        (queue->features & PORT_FEATURE_INDIRECT ? VIRTQ_DESCRIPTOR_INDIRECT : 0);
    struct virtq_descriptor descriptor;
    if (!walk->left)
        return QUEUE_RULE_CHAIN_LENGTH;
    walk->left--;
    if (!next_descriptor(queue, walk, &descriptor))
        return QUEUE_RULE_INDIRECT_TABLE;
    if (descriptor.flags & ~known)
        return QUEUE_RULE_FLAGS;
    if (descriptor.flags & VIRTQ_DESCRIPTOR_INDIRECT)
        return enter_table(queue, walk, &descriptor);
    enum queue_rule rule = add_descriptor(queue, chain, &descriptor);
    if (rule != QUEUE_RULE_NONE)
        return rule;
    *end = !(descriptor.flags & VIRTQ_DESCRIPTOR_NEXT);
    if (!*end && descriptor.next >= walk->entries)
        return QUEUE_RULE_NEXT_RANGE;
    walk->index = descriptor.next;
    return QUEUE_RULE_NONE;
}

// Asks for the lines that the completion will write, so that the cores exchange them while the
// request is mediated.
static void prefetch_completion(const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    uint16_t slot = queue->next_used & (uint16_t)(queue->size - 1);
    __asm__ volatile("prefetchw %0" : : "m"(queue->used[VIRTQ_RING_ENTRIES + slot * 8u]));
    if (chain->readable_count < chain->count) {
        const uint8_t *reply = (const uint8_t *)guest_memory_shared(
            queue->memory, chain->segments[chain->readable_count].address, 1, 1, GUEST_WRITE);
        __asm__ volatile("prefetchw %0" : : "m"(*reply));
    }
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
    struct walk walk = {.entries = queue->size, .left = queue->size, .index = head};
    for (bool end = false; !end;) {
        uint16_t index = walk.index;
        enum queue_rule rule = step(queue, &walk, chain, &end);
        if (rule != QUEUE_RULE_NONE)
            return broken(anomaly, rule, index);
    }
    prefetch_completion(queue, chain);
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

// Without the event index, the ring's flag says it. With it the flag stays 0, and avail_event names
// the entry whose publication rings: the next one. There is no value for "none": what is not wanted
// any more stays where it is, and the entry of that index rings, which is one needless doorbell in
// 65536 entries at most.
void virtqueue_set_doorbell(struct virtqueue *queue, bool wanted)
{
    if (!(queue->features & PORT_FEATURE_EVENT_INDEX))
        store16(queue->used + VIRTQ_RING_FLAGS, (uint16_t)(wanted ? 0 : VIRTQ_USED_NO_NOTIFY));
    else if (wanted)
        store16(queue->used + VIRTQ_USED_BYTES(queue->size) - 2, queue->next_available);
    if (wanted)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool virtqueue_wants_event(struct virtqueue *queue)
{
    uint16_t pushed = (uint16_t)(queue->next_used - queue->last_signalled);
    if (!pushed)
        return false;
    queue->last_signalled = queue->next_used;
    // Either the driver sees the used index, or this sees that it waits for it.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(queue->features & PORT_FEATURE_EVENT_INDEX))
        return !(load16(queue->available + VIRTQ_RING_FLAGS) & VIRTQ_AVAILABLE_NO_INTERRUPT);
    // True if the entry at used_event is one of the last `pushed`.
    uint16_t event = load16(queue->available + VIRTQ_AVAILABLE_BYTES(queue->size) - 2);
    return (uint16_t)(queue->next_used - event - 1) < pushed;
}

unsigned virtqueue_return_held(struct virtqueue *queue)
{
    unsigned returned = 0;
    for (unsigned head = 0; head < queue->size; head++) {
        if (!in_flight(queue, (uint16_t)head))
            continue;
        virtqueue_push(queue, (uint16_t)head, 0);
        returned++;
    }
    return returned;
}

void virtqueue_skip_published(struct virtqueue *queue)
{
    queue->next_available = load16(queue->available + VIRTQ_RING_INDEX);
}

unsigned virtqueue_published(const struct virtqueue *queue)
{
    uint16_t published =
        (uint16_t)(load16(queue->available + VIRTQ_RING_INDEX) - queue->next_available);
    return published < queue->size ? published : queue->size;
}
