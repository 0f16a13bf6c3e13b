// SPDX-License-Identifier: Apache-2.0
// The block device: a front of a block port.
#include "virtio_block.h"

#include <string.h>

#include "block_port.h"

#define FEATURE_SIZE_MAX     (1ull << 1)
#define FEATURE_SEG_MAX      (1ull << 2)
#define FEATURE_RO           (1ull << 5)
#define FEATURE_FLUSH        (1ull << 9)
#define FEATURE_DISCARD      (1ull << 13)
#define FEATURE_WRITE_ZEROES (1ull << 14)

// Two descriptors of a chain are header and status.
#define DATA_SEGMENTS (VIRTQUEUE_MAX_SEGMENTS - 2)

enum request_type {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
};

enum request_status {
    STATUS_OK = 0,
    STATUS_ERROR = 1,
    STATUS_UNSUPPORTED = 2,
};

struct request_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};
_Static_assert(sizeof(struct request_header) == 16, "virtio 1.2, 5.2.6");

// Beside enum port_status, for answers of the front itself.
#define NOT_SUPPORTED UINT32_MAX

struct discard_segment {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
};
_Static_assert(sizeof(struct discard_segment) == 16, "virtio 1.2, 5.2.6");

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint64_t virtio_block_describe(struct virtio_block *block, uint64_t sectors, bool writable,
                               bool discards)
{
    const struct port_driver *driver = &block->calls.driver;
    uint32_t bytes = driver->max_reply_bytes;
    if (writable)
        bytes = smaller(bytes, driver->max_request_bytes - (uint32_t)sizeof(struct block_range));
    uint32_t segment = bytes / DATA_SEGMENTS / BLOCK_SECTOR_BYTES * BLOCK_SECTOR_BYTES;
    block->writable = writable;
    block->config = (struct virtio_block_config){
        .capacity = sectors,
        .size_max = segment,
        .seg_max = DATA_SEGMENTS,
        .max_discard_sectors = UINT32_MAX / BLOCK_SECTOR_BYTES,
        .max_discard_segments = 1,
        .discard_alignment = 1,
        .max_write_zeroes_sectors = BLOCK_ZEROES_MAX_BYTES / BLOCK_SECTOR_BYTES,
        .max_write_zeroes_segments = 1,
        .write_zeroes_may_unmap = 1,
    };
    return FEATURE_SIZE_MAX | FEATURE_SEG_MAX | FEATURE_FLUSH |
           (writable ? FEATURE_WRITE_ZEROES : FEATURE_RO) |
           (writable && discards ? FEATURE_DISCARD : 0);
}

// An answer that no port has to be asked for.
static bool answer(struct port_call *call, uint32_t status, uint32_t length)
{
    call->header->operation = 0;
    call->state = PORT_CALL_DONE;
    call->status = status;
    call->reply_length = length;
    return true;
}

static bool start_read(struct virtio_calls *calls, struct port_call *call, uint64_t sector,
                       const struct virtqueue_chain *chain)
{
    uint32_t bytes = chain->writable_bytes - 1;
    struct block_range range = {.sector = sector, .sectors = bytes / BLOCK_SECTOR_BYTES};
    if (!bytes || bytes % BLOCK_SECTOR_BYTES || bytes > calls->driver.max_reply_bytes)
        return answer(call, PORT_STATUS_INVALID, 0);
    memcpy(call->payload, &range, sizeof(range));
    port_driver_send(&calls->driver, call, BLOCK_READ, 0, sizeof(range));
    return true;
}

static bool start_write(struct virtio_calls *calls, struct port_call *call, uint64_t sector,
                        const struct virtqueue_chain *chain)
{
    uint32_t bytes = chain->readable_bytes - (uint32_t)sizeof(struct request_header);
    struct block_range range = {.sector = sector, .sectors = bytes / BLOCK_SECTOR_BYTES};
    if (!bytes || bytes % BLOCK_SECTOR_BYTES ||
        bytes > calls->driver.max_request_bytes - sizeof(range) ||
        !virtio_copy_in(calls->device, 0, chain, sizeof(struct request_header),
                        call->payload + sizeof(range), bytes))
        return answer(call, PORT_STATUS_INVALID, 0);
    memcpy(call->payload, &range, sizeof(range));
    port_driver_send(&calls->driver, call, BLOCK_WRITE, 0, (uint32_t)sizeof(range) + bytes);
    return true;
}

static bool start_discard(struct virtio_calls *calls, struct port_call *call, uint32_t type,
                          const struct virtqueue_chain *chain)
{
    struct discard_segment segment;
    if (chain->readable_bytes != sizeof(struct request_header) + sizeof(segment) ||
        !virtio_copy_in(calls->device, 0, chain, sizeof(struct request_header), &segment,
                        sizeof(segment)) ||
        (segment.flags & ~(type == TYPE_WRITE_ZEROES ? 1u : 0u)))
        return answer(call, NOT_SUPPORTED, 0);
    struct block_range range = {.sector = segment.sector, .sectors = segment.sectors};
    memcpy(call->payload, &range, sizeof(range));
    port_driver_send(&calls->driver, call,
                     type == TYPE_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, 0, sizeof(range));
    return true;
}

static bool block_start(struct virtio_calls *calls, struct port_call *call,
                        const struct virtqueue_chain *chain)
{
    struct virtio_block *block = (struct virtio_block *)calls;
    struct request_header header;
    if (chain->readable_bytes < sizeof(header) || !chain->writable_bytes ||
        !virtio_copy_in(calls->device, 0, chain, 0, &header, sizeof(header))) {
        virtio_refuse(calls->device, 0, chain->head);
        return false;
    }
    switch (header.type) {
    case TYPE_IN:
        return start_read(calls, call, header.sector, chain);
    case TYPE_OUT:
        return start_write(calls, call, header.sector, chain);
    case TYPE_FLUSH:
        if (!block->writable)
            break;
        port_driver_send(&calls->driver, call, BLOCK_FLUSH, 0, 0);
        return true;
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        return start_discard(calls, call, header.type, chain);
    case TYPE_GET_ID:
        memcpy((uint8_t *)(uintptr_t)call->reply, block->serial, sizeof(block->serial));
        return answer(call, PORT_STATUS_OK, sizeof(block->serial));
    default:
        return answer(call, NOT_SUPPORTED, 0);
    }
    return answer(call, PORT_STATUS_OK, 0); // nothing was written: nothing to flush
}

static bool block_finish(struct virtio_calls *calls, const struct port_call *call,
                         const struct virtqueue_chain *chain, uint32_t *written)
{
    const struct port *port = calls->driver.port;
    uint32_t room = chain->writable_bytes - 1;
    uint32_t length = call->reply_length < room ? call->reply_length : room;
    bool good = call->status == PORT_STATUS_OK;
    // A read is whole or an error.
    if (good && call->header->operation == BLOCK_READ && call->reply_length != room)
        good = false;
    uint8_t status = good                            ? STATUS_OK
                     : call->status == NOT_SUPPORTED ? STATUS_UNSUPPORTED
                                                     : STATUS_ERROR;
    if (good && !virtio_copy_out(calls->device, 0, chain, 0, call->reply, length, port))
        return false;
    *written = good || !room ? room + 1 : 0; // what is there without a gap
    return virtio_copy_out(calls->device, 0, chain, room, &status, 1, port);
}

const struct virtio_calls_model virtio_block_calls = {block_start, block_finish};

const struct virtio_model virtio_block = {
    .type = VIRTIO_TYPE_BLOCK,
    .serve = virtio_calls_serve,
    .reset = virtio_calls_reset,
};
