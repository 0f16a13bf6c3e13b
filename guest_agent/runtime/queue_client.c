// SPDX-License-Identifier: Apache-2.0
// The driver side of a queue with many requests outstanding (virtio 1.2, sections 2.7.13, 2.7.14).
//
// Slot n is one request with its reply: it always uses descriptors 2n and 2n + 1 and the same
// memory. Descriptors and ring entries are written only if they change: what both sides only read
// stays in the caches of both.
#include "queue_client.h"

#include <string.h>

// Passes that a caller spins for a reply before it parks: about the time that an exit costs.
#define SPIN_PASSES 4000u

#define LINE    64u
#define NO_SLOT 0xffffu
#define HEADER  ((uint32_t)sizeof(struct port_request_header))
#define ANSWER  ((uint32_t)sizeof(struct port_reply_header))

static uint64_t line_up(uint64_t value)
{
    return (value + LINE - 1) & ~(uint64_t)(LINE - 1);
}

static uint64_t physical(uint64_t address)
{
    const struct cell_boot_info *info = cell_boot();
    return address - info->io + info->io_physical;
}

static uint16_t *ring16(uint64_t ring, uint64_t offset)
{
    return (uint16_t *)(ring + offset);
}

// Where the header stands in an area for `bytes` of payload: where the payload behind it begins on
// a cache line, if the area is large enough for that.
static uint32_t header_offset(uint32_t header, uint32_t bytes)
{
    uint64_t payload = (line_up(header + bytes) - bytes) & ~(uint64_t)(LINE - 1);
    return payload >= header ? (uint32_t)payload - header : 0;
}

static uint64_t slot_address(const struct cell_queue *queue, unsigned slot)
{
    return queue->slots + (uint64_t)slot * queue->slot_bytes;
}

static struct port_request_header *request_of(const struct cell_queue *queue, unsigned slot)
{
    return (struct port_request_header *)(slot_address(queue, slot) + queue->request_offset);
}

static const struct port_reply_header *reply_of(const struct cell_queue *queue, unsigned slot)
{
    return (const struct port_reply_header *)(slot_address(queue, slot) + queue->reply_offset);
}

static bool has_event_index(const struct cell_queue *queue)
{
    return queue->entry->features & PORT_FEATURE_EVENT_INDEX;
}

static uint16_t load_used(const struct cell_queue *queue)
{
    return __atomic_load_n(ring16(queue->layout->used, VIRTQ_RING_INDEX), __ATOMIC_ACQUIRE);
}

// Asks for an event with the next used element, or for none. With the event index there is no word
// for none: what was asked for comes once.
static void want_event(const struct cell_queue *queue, bool wanted)
{
    const struct port_queue_layout *layout = queue->layout;
    if (!has_event_index(queue))
        __atomic_store_n(ring16(layout->available, VIRTQ_RING_FLAGS),
                         (uint16_t)(wanted ? 0 : VIRTQ_AVAILABLE_NO_INTERRUPT), __ATOMIC_RELAXED);
    else if (wanted)
        __atomic_store_n(ring16(layout->available, VIRTQ_AVAILABLE_BYTES(layout->size) - 2),
                         queue->last_used, __ATOMIC_RELAXED);
    // Either the device sees this, or the caller sees the used index (virtio 1.2, 2.7.7.1).
    if (wanted)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void queue_attach(struct cell_queue *queue)
{
    queue->next_available =
        __atomic_load_n(ring16(queue->layout->available, VIRTQ_RING_INDEX), __ATOMIC_RELAXED);
    queue->published = queue->next_available;
    queue->used_seen = load_used(queue);
    queue->last_used = queue->used_seen;
}

static void make_descriptors(const struct cell_queue *queue, unsigned slot)
{
    struct virtq_descriptor *pair =
        (struct virtq_descriptor *)queue->layout->descriptors + slot * 2;
    pair[0] = (struct virtq_descriptor){
        .address = physical((uint64_t)request_of(queue, slot)),
        .length = HEADER,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = (uint16_t)(slot * 2 + 1),
    };
    pair[1] = (struct virtq_descriptor){
        .address = physical((uint64_t)reply_of(queue, slot)),
        .length = ANSWER + queue->reply_bytes,
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
}

static void release_slot(struct cell_queue *queue, uint16_t slot)
{
    if (queue->next_slot == NO_SLOT)
        queue->next_slot = slot;
    else
        queue->free_slots[queue->free_count++] = slot;
}

int cell_queue_open(struct cell_queue *queue, const char *name, unsigned index,
                    size_t request_bytes, size_t reply_bytes, unsigned depth)
{
    const struct port_table_entry *entry = cell_find_port(name);
    if (!entry || index >= entry->queue_count || request_bytes > entry->max_request_bytes ||
        reply_bytes > entry->max_reply_bytes)
        return -1;
    uint64_t request_area = line_up(HEADER + request_bytes);
    uint64_t slot_bytes = request_area + line_up(ANSWER + reply_bytes);
    uint64_t share = entry->buffers_bytes / entry->queue_count & ~(uint64_t)(LINE - 1);
    uint64_t most = share / slot_bytes;
    if (most > entry->queues[index].size / 2)
        most = entry->queues[index].size / 2;
    if (depth && most > depth)
        most = depth;
    if (!most)
        return -1;
    *queue = (struct cell_queue){
        .entry = entry,
        .depth = (uint32_t)most,
        .request_bytes = (uint32_t)request_bytes,
        .reply_bytes = (uint32_t)reply_bytes,
        .layout = &entry->queues[index],
        .slots = entry->buffers + index * share,
        .slot_bytes = (uint32_t)slot_bytes,
        .request_offset = header_offset(HEADER, (uint32_t)request_bytes),
        .reply_offset = (uint32_t)request_area + header_offset(ANSWER, (uint32_t)reply_bytes),
        .index = (uint16_t)index,
        .next_slot = NO_SLOT,
    };
    queue_attach(queue);
    for (unsigned slot = queue->depth; slot-- > 0;) {
        make_descriptors(queue, slot);
        release_slot(queue, (uint16_t)slot);
    }
    want_event(queue, false);
    return 0;
}

void *cell_queue_buffer(struct cell_queue *queue)
{
    return queue->next_slot == NO_SLOT ? NULL : request_of(queue, queue->next_slot) + 1;
}

static void set_length(struct virtq_descriptor *descriptor, uint32_t length)
{
    if (descriptor->length != length)
        descriptor->length = length;
}

int queue_send(struct cell_queue *queue, uint32_t operation, uint32_t argument, const void *payload,
               size_t length, uint64_t cookie, size_t reply_bytes)
{
    const struct port_queue_layout *layout = queue->layout;
    uint16_t slot = queue->next_slot;
    if (slot == NO_SLOT || length > queue->request_bytes)
        return -1;
    queue->next_slot = queue->free_count ? queue->free_slots[--queue->free_count] : NO_SLOT;

    struct port_request_header *header = request_of(queue, slot);
    *header = (struct port_request_header){
        .operation = operation,
        .cookie = cookie,
        .length = (uint32_t)length,
        .argument = argument,
    };
    if (length && payload != header + 1)
        memcpy(header + 1, payload, length);
    struct virtq_descriptor *pair = (struct virtq_descriptor *)layout->descriptors + slot * 2;
    set_length(&pair[0], HEADER + (uint32_t)length);
    set_length(&pair[1], ANSWER + (uint32_t)reply_bytes);
    uint64_t position = queue->next_available & (layout->size - 1);
    uint16_t *entry = ring16(layout->available, VIRTQ_RING_ENTRIES + position * 2);
    if (*entry != slot * 2)
        *entry = (uint16_t)(slot * 2);
    queue->next_available++;
    return 0;
}

int cell_queue_send(struct cell_queue *queue, uint32_t operation, uint32_t argument,
                    const void *payload, size_t length, uint64_t cookie)
{
    return queue_send(queue, operation, argument, payload, length, cookie, queue->reply_bytes);
}

static bool wants_doorbell(const struct cell_queue *queue, uint16_t before)
{
    const struct port_queue_layout *layout = queue->layout;
    if (!has_event_index(queue))
        return !(__atomic_load_n(ring16(layout->used, VIRTQ_RING_FLAGS), __ATOMIC_RELAXED) &
                 VIRTQ_USED_NO_NOTIFY);
    // True if the entry at avail_event is one of those just published (virtio 1.2, 2.7.10).
    uint16_t event =
        __atomic_load_n(ring16(layout->used, VIRTQ_USED_BYTES(layout->size) - 2), __ATOMIC_RELAXED);
    return (uint16_t)(queue->published - event - 1) < (uint16_t)(queue->published - before);
}

void cell_queue_flush(struct cell_queue *queue)
{
    uint16_t before = queue->published;
    if (before == queue->next_available)
        return;
    __atomic_store_n(ring16(queue->layout->available, VIRTQ_RING_INDEX), queue->next_available,
                     __ATOMIC_RELEASE);
    queue->published = queue->next_available;
    // Between publishing and looking whether the device sleeps (virtio 1.2, 2.7.13.4).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (wants_doorbell(queue, before))
        __asm__ volatile("movl %0, (%1)"
                         :
                         : "r"((uint32_t)queue->index), "r"(queue->entry->doorbell)
                         : "memory");
}

int cell_queue_poll(struct cell_queue *queue, struct cell_reply *reply)
{
    const struct port_queue_layout *layout = queue->layout;
    if (queue->last_used == queue->used_seen) {
        cell_queue_flush(queue);
        queue->used_seen = load_used(queue);
        if (queue->last_used == queue->used_seen)
            return 0;
    }
    uint64_t position = queue->last_used++ & (layout->size - 1);
    const struct virtq_used_element *element =
        (const struct virtq_used_element *)(layout->used + VIRTQ_RING_ENTRIES) + position;
    uint16_t slot = (uint16_t)(element->id / 2);
    // The request's cookie: a request that was dropped has no reply header.
    *reply = (struct cell_reply){
        .cookie = request_of(queue, slot)->cookie,
        .status = PORT_STATUS_CLOSED,
    };
    if (element->length) {
        const struct port_reply_header *header = reply_of(queue, slot);
        reply->status = header->status;
        reply->length = header->length;
        reply->payload = header + 1;
    }
    release_slot(queue, slot);
    return 1;
}

static bool has_reply(const struct cell_queue *queue)
{
    return queue->last_used != queue->used_seen || load_used(queue) != queue->last_used;
}

void cell_queue_wait(struct cell_queue *queue)
{
    cell_queue_flush(queue);
    if (queue->published == queue->last_used)
        return; // nothing is outstanding: nothing would ever come
    for (unsigned pass = 0; pass < SPIN_PASSES; pass++) {
        if (has_reply(queue))
            return;
        __builtin_ia32_pause();
    }
    while (!has_reply(queue)) {
        uint32_t seen = cell_event_count(queue->layout->vcpu);
        want_event(queue, true);
        if (!has_reply(queue))
            cell_park(seen);
    }
    want_event(queue, false);
}
