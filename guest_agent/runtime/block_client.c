// SPDX-License-Identifier: Apache-2.0
// The client of a block port. Sectors to write are copied to where the port reads them, once.
#include <guillotine/block.h>

#include <string.h>

#include "queue_client.h"

#define RANGE_BYTES ((uint32_t)sizeof(struct block_range))

// Sectors of one request that names a range and carries none of it: what the port takes.
#define MARK_SECTORS 65536u

// Sends what lies in the queue's buffer. *reply stays valid until the next request.
static int call(struct cell_port *port, uint32_t operation, const void *payload, size_t length,
                struct cell_reply *reply)
{
    struct cell_queue *queue = &port->queue;
    if (!payload || cell_queue_send(queue, operation, 0, payload, length, 0))
        return -1;
    while (!cell_queue_poll(queue, reply))
        cell_queue_wait(queue);
    return (int)reply->status;
}

// Room for the next request, with its range filled in; NULL: none.
static uint8_t *start(struct cell_port *port, uint64_t sector, uint32_t sectors)
{
    const struct block_range range = {.sector = sector, .sectors = sectors};
    queue_attach(&port->queue); // others may be bound to the same port
    uint8_t *buffer =
        port->queue.request_bytes < RANGE_BYTES ? NULL : cell_queue_buffer(&port->queue);
    if (buffer)
        memcpy(buffer, &range, sizeof(range));
    return buffer;
}

static uint32_t least(uint64_t sectors, uint32_t most)
{
    return sectors < most ? (uint32_t)sectors : most;
}

// An empty range is for the port to refuse.
int cell_block_read(struct cell_port *port, uint64_t sector, void *data, uint64_t sectors)
{
    uint8_t *at = data;
    uint32_t most = port->queue.reply_bytes / BLOCK_SECTOR_BYTES;
    do {
        struct cell_reply reply;
        uint32_t part = least(sectors, most);
        size_t bytes = (size_t)part * BLOCK_SECTOR_BYTES;
        if (!most)
            return -1;
        int status = call(port, BLOCK_READ, start(port, sector, part), RANGE_BYTES, &reply);
        if (status)
            return status;
        if (reply.length != bytes)
            return -1;
        memcpy(at, reply.payload, bytes);
        at += bytes;
        sector += part;
        sectors -= part;
    } while (sectors);
    return 0;
}

int cell_block_write(struct cell_port *port, uint64_t sector, const void *data, uint64_t sectors)
{
    const uint8_t *at = data;
    uint32_t most = port->queue.request_bytes < RANGE_BYTES
                        ? 0
                        : (port->queue.request_bytes - RANGE_BYTES) / BLOCK_SECTOR_BYTES;
    do {
        struct cell_reply reply;
        uint32_t part = least(sectors, most);
        size_t bytes = (size_t)part * BLOCK_SECTOR_BYTES;
        uint8_t *buffer = most ? start(port, sector, part) : NULL;
        if (!buffer)
            return -1;
        if (bytes)
            memcpy(buffer + RANGE_BYTES, at, bytes);
        int status = call(port, BLOCK_WRITE, buffer, RANGE_BYTES + bytes, &reply);
        if (status)
            return status;
        at += bytes;
        sector += part;
        sectors -= part;
    } while (sectors);
    return 0;
}

int cell_block_flush(struct cell_port *port)
{
    struct cell_reply reply;
    queue_attach(&port->queue);
    return call(port, BLOCK_FLUSH, cell_queue_buffer(&port->queue), 0, &reply);
}

// Operations that carry no sectors.
static int mark(struct cell_port *port, uint32_t operation, uint64_t sector, uint64_t sectors)
{
    do {
        struct cell_reply reply;
        uint32_t part = least(sectors, MARK_SECTORS);
        int status = call(port, operation, start(port, sector, part), RANGE_BYTES, &reply);
        if (status)
            return status;
        sector += part;
        sectors -= part;
    } while (sectors);
    return 0;
}

int cell_block_discard(struct cell_port *port, uint64_t sector, uint64_t sectors)
{
    return mark(port, BLOCK_DISCARD, sector, sectors);
}

int cell_block_write_zeroes(struct cell_port *port, uint64_t sector, uint64_t sectors)
{
    return mark(port, BLOCK_WRITE_ZEROES, sector, sectors);
}
