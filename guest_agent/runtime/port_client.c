// SPDX-License-Identifier: Apache-2.0
// The driver side of a port's queue, and the console on top of it.
#include <guillotine/cell.h>

#include <string.h>

// Passes that a caller spins for its reply before it parks: about the time that an exit costs.
#define SPIN_PASSES 4000u

// Both directions of one request use one descriptor each.
#define REQUEST_DESCRIPTOR 0u
#define REPLY_DESCRIPTOR   1u

const struct port_table_entry *cell_find_port(const char *name)
{
    const struct cell_boot_info *info = cell_boot();
    const struct port_table_entry *table = (const struct port_table_entry *)(info + 1);
    for (unsigned i = 0; i < info->port_count; i++) {
        if (!strcmp(table[i].name, name))
            return &table[i];
    }
    return NULL;
}

int cell_port_open(struct cell_port *port, const char *name)
{
    *port = (struct cell_port){.entry = cell_find_port(name)};
    return port->entry && port->entry->queue_count ? 0 : -1;
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

static bool is_done(const struct cell_port *port, const struct port_queue_layout *queue)
{
    return __atomic_load_n(ring16(queue->used, VIRTQ_RING_INDEX), __ATOMIC_ACQUIRE) !=
           port->last_used;
}

static void publish(struct cell_port *port, const struct port_queue_layout *queue)
{
    uint64_t slot = port->next_available & (queue->size - 1);
    *ring16(queue->available, VIRTQ_RING_ENTRIES + slot * 2) = REQUEST_DESCRIPTOR;
    __atomic_store_n(ring16(queue->available, VIRTQ_RING_INDEX), ++port->next_available,
                     __ATOMIC_RELEASE);
    // Between publishing and looking at the flag (virtio 1.2, 2.7.13.4).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(ring16(queue->used, VIRTQ_RING_FLAGS), __ATOMIC_RELAXED) &
          VIRTQ_USED_NO_NOTIFY))
        __asm__ volatile("movl %0, (%1)" : : "r"(0), "r"(port->entry->doorbell) : "memory");
}

static void wait_done(struct cell_port *port, const struct port_queue_layout *queue)
{
    for (unsigned pass = 0; !is_done(port, queue); pass++) {
        if (pass < SPIN_PASSES) {
            __builtin_ia32_pause();
            continue;
        }
        uint32_t seen = cell_event_count(queue->vcpu);
        if (!is_done(port, queue))
            cell_park(seen);
    }
    port->last_used++;
}

int cell_port_call(struct cell_port *port, uint32_t operation, uint32_t argument,
                   const void *payload, size_t length, void *reply, size_t reply_size,
                   size_t *reply_length)
{
    const struct port_table_entry *entry = port->entry;
    const struct port_queue_layout *queue = &entry->queues[0];
    struct virtq_descriptor *descriptors = (struct virtq_descriptor *)queue->descriptors;
    uint64_t request_at = entry->buffers;
    uint64_t reply_at =
        request_at +
        ((sizeof(struct port_request_header) + entry->max_request_bytes + 63) & ~63ull);
    if (length > entry->max_request_bytes || reply_size > entry->max_reply_bytes || queue->size < 2)
        return -1;

    const struct port_request_header header = {
        .operation = operation,
        .length = (uint32_t)length,
        .argument = argument,
    };
    memcpy((void *)request_at, &header, sizeof(header));
    if (length)
        memcpy((void *)(request_at + sizeof(header)), payload, length);
    descriptors[REQUEST_DESCRIPTOR] = (struct virtq_descriptor){
        .address = physical(request_at),
        .length = (uint32_t)(sizeof(header) + length),
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = REPLY_DESCRIPTOR,
    };
    descriptors[REPLY_DESCRIPTOR] = (struct virtq_descriptor){
        .address = physical(reply_at),
        .length = (uint32_t)(sizeof(struct port_reply_header) + reply_size),
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
    publish(port, queue);
    wait_done(port, queue);

    const struct port_reply_header *answer = (const struct port_reply_header *)reply_at;
    size_t got = answer->length < reply_size ? answer->length : reply_size;
    if (got)
        memcpy(reply, answer + 1, got);
    if (reply_length)
        *reply_length = got;
    return (int)answer->status;
}

static struct cell_port console;

static struct cell_port *open_console(void)
{
    if (!console.entry && cell_port_open(&console, "console") < 0)
        return NULL;
    return &console;
}

int cell_console_write(const void *data, size_t length)
{
    struct cell_port *port = open_console();
    const char *at = data;
    if (!port)
        return -1;
    while (length) {
        size_t part =
            length < port->entry->max_request_bytes ? length : port->entry->max_request_bytes;
        int status = cell_port_call(port, CONSOLE_WRITE, 0, at, part, NULL, 0, NULL);
        if (status)
            return status;
        at += part;
        length -= part;
    }
    return 0;
}

long cell_console_read(void *data, size_t size)
{
    struct cell_port *port = open_console();
    size_t length = 0;
    if (!port)
        return -1;
    if (size > port->entry->max_reply_bytes)
        size = port->entry->max_reply_bytes;
    int status = cell_port_call(port, CONSOLE_READ, (uint32_t)size, NULL, 0, data, size, &length);
    return status ? -1 : (long)length;
}

void cell_print(const char *text)
{
    cell_console_write(text, strlen(text));
    cell_console_write("\n", 1);
}
