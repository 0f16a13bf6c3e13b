// SPDX-License-Identifier: Apache-2.0
// The driver's side of a port's queue, for virtio devices.
#include "port_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HEADER_BYTES       ((uint32_t)sizeof(struct port_request_header))
#define REPLY_HEADER_BYTES ((uint32_t)sizeof(struct port_reply_header))

static uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

// Where the parts of the memory are.
struct plan {
    uint64_t available;
    uint64_t used;
    uint64_t buffers;
    uint64_t reply; // inside a buffer
    uint64_t buffer_bytes;
    uint64_t bytes;
};

static struct plan make_plan(const struct port_driver *driver)
{
    struct plan plan = {0};
    plan.available = driver->size * sizeof(struct virtq_descriptor);
    plan.used = round_up(plan.available + VIRTQ_AVAILABLE_BYTES(driver->size), 64);
    plan.buffers = round_up(plan.used + VIRTQ_USED_BYTES(driver->size), 64);
    plan.reply = round_up(HEADER_BYTES + (uint64_t)driver->max_request_bytes, 64);
    plan.buffer_bytes = round_up(plan.reply + REPLY_HEADER_BYTES + driver->max_reply_bytes, 64);
    plan.bytes = round_up(plan.buffers + driver->count * plan.buffer_bytes, 4096);
    return plan;
}

static struct virtq_descriptor *descriptor_of(const struct port_driver *driver, unsigned index)
{
    return (struct virtq_descriptor *)(void *)driver->host + index;
}

static void place_call(struct port_driver *driver, const struct plan *plan, unsigned index)
{
    uint64_t buffer = plan->buffers + index * plan->buffer_bytes;
    struct port_call *call = &driver->calls[index];
    call->header = (void *)(driver->host + buffer);
    call->payload = driver->host + buffer + HEADER_BYTES;
    call->reply = driver->host + buffer + plan->reply + REPLY_HEADER_BYTES;
    *descriptor_of(driver, 2 * index) = (struct virtq_descriptor){
        .address = buffer,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = (uint16_t)(2 * index + 1),
    };
    *descriptor_of(driver, 2 * index + 1) = (struct virtq_descriptor){
        .address = buffer + plan->reply,
        .length = REPLY_HEADER_BYTES + driver->max_reply_bytes,
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
}

int port_driver_open(struct port_driver *driver, unsigned count, uint32_t max_request_bytes,
                     uint32_t max_reply_bytes, struct error *err)
{
    uint16_t size = 2;
    while (size < 2 * count)
        size = (uint16_t)(size * 2);
    *driver = (struct port_driver){
        .count = count,
        .size = size,
        .max_request_bytes = max_request_bytes,
        .max_reply_bytes = max_reply_bytes,
    };
    struct plan plan = make_plan(driver);
    driver->calls = calloc(count, sizeof(*driver->calls));
    void *host = mmap(NULL, plan.bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!driver->calls || host == MAP_FAILED) {
        port_driver_close(driver);
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "buffers of a device's port");
    }
    driver->host = host;
    driver->bytes = plan.bytes;
    driver->buffer_bytes = plan.buffer_bytes;
    for (unsigned i = 0; i < count; i++)
        place_call(driver, &plan, i);
    return guest_memory_add(&driver->memory, (struct gpa){0}, plan.bytes, host,
                            GUEST_READ | GUEST_WRITE, err);
}

int port_driver_attach(struct port_driver *driver, struct port *port, struct error *err)
{
    struct plan plan = make_plan(driver);
    struct virtqueue queue;
    if (virtqueue_init(&queue, &driver->memory, driver->size, 0, (struct gpa){0},
                       (struct gpa){plan.available}, (struct gpa){plan.used}, err) < 0 ||
        port_add_queue(port, &queue, 0, err) < 0)
        return -1;
    driver->port = port;
    return 0;
}

void port_driver_close(struct port_driver *driver)
{
    if (driver->host)
        munmap(driver->host, driver->bytes);
    free(driver->calls);
    *driver = (struct port_driver){.count = 0};
}

struct port_call *port_driver_take(struct port_driver *driver, void *owner, uint64_t tag)
{
    for (unsigned i = 0; i < driver->count; i++) {
        struct port_call *call = &driver->calls[i];
        if (call->state != PORT_CALL_FREE)
            continue;
        call->state = PORT_CALL_TAKEN;
        call->owner = owner;
        call->tag = tag;
        return call;
    }
    return NULL;
}

void port_driver_send(struct port_driver *driver, struct port_call *call, uint32_t operation,
                      uint32_t argument, uint32_t length)
{
    struct plan plan = make_plan(driver);
    uint16_t head = (uint16_t)(2 * port_call_index(driver, call));
    uint8_t *available = driver->host + plan.available;
    uint16_t slot = driver->next_available & (uint16_t)(driver->size - 1);
    *call->header = (struct port_request_header){
        .operation = operation,
        .cookie = call->tag,
        .length = length,
        .argument = argument,
    };
    descriptor_of(driver, head)->length = HEADER_BYTES + length;
    memcpy(available + VIRTQ_RING_ENTRIES + slot * 2u, &head, sizeof(head));
    driver->next_available++;
    call->state = PORT_CALL_SENT;
    __atomic_store_n((uint16_t *)(void *)(available + VIRTQ_RING_INDEX), driver->next_available,
                     __ATOMIC_RELEASE);
}

struct port_call *port_driver_next_done(struct port_driver *driver)
{
    struct plan plan = make_plan(driver);
    const uint8_t *used = driver->host + plan.used;
    uint16_t index = __atomic_load_n((const uint16_t *)(const void *)(used + VIRTQ_RING_INDEX),
                                     __ATOMIC_ACQUIRE);
    if (index == driver->next_used)
        return NULL;
    uint16_t slot = driver->next_used & (uint16_t)(driver->size - 1);
    struct virtq_used_element element;
    memcpy(&element, used + VIRTQ_RING_ENTRIES + slot * sizeof(element), sizeof(element));
    driver->next_used++;
    struct port_call *call = &driver->calls[element.id / 2];
    struct port_reply_header reply = {.status = PORT_STATUS_CLOSED};
    // Without a byte: the port dropped it.
    if (element.length >= REPLY_HEADER_BYTES)
        memcpy(&reply, call->reply - REPLY_HEADER_BYTES, sizeof(reply));
    call->state = PORT_CALL_DONE;
    call->status = reply.status;
    call->reply_length = reply.length;
    return call;
}

void port_driver_free(struct port_call *call)
{
    call->state = PORT_CALL_FREE;
    call->owner = NULL;
}
