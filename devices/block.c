// SPDX-License-Identifier: Apache-2.0
// The block backend: a raw file, or a block device, as a disk.
#include "block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "block_port.h"

// Zeros that are written where the file system cannot make them, in one turn.
#define ZEROS_BYTES 65536u

// fallocate, or its error number.
static int allocate(const struct block *block, int mode, uint64_t bytes, uint64_t offset)
{
    while (fallocate(block->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) < 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

static bool cannot_allocate(int code)
{
    return code == EOPNOTSUPP || code == EINVAL || code == ENODEV;
}

// Somebody may have made the file shorter. What is behind its end is not made anew: a disk never
// grows.
static bool is_there(const struct block *block, uint64_t bytes, uint64_t offset)
{
    off_t end = lseek(block->fd, 0, SEEK_END);
    return end >= 0 && offset + bytes <= (uint64_t)end;
}

// The part of the disk that a request names. Returns false if it is not all there, or nothing.
static bool take_range(const struct block *block, const struct port_request *request,
                       uint64_t *offset, uint64_t *bytes)
{
    struct block_range range;
    uint64_t sectors = block->grant.bytes / BLOCK_SECTOR_BYTES;
    if (request->length < sizeof(range))
        return false;
    memcpy(&range, request->payload, sizeof(range));
    if (range.pad || !range.sectors || range.sector > sectors ||
        range.sectors > sectors - range.sector)
        return false;
    *offset = range.sector * BLOCK_SECTOR_BYTES;
    *bytes = (uint64_t)range.sectors * BLOCK_SECTOR_BYTES;
    return true;
}

static uint32_t read_disk(const struct block *block, uint8_t *target, uint64_t bytes,
                          uint64_t offset)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(block->fd, target + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) // an error, or somebody made the file shorter
            return PORT_STATUS_FAILED;
        done += (uint64_t)n;
    }
    return PORT_STATUS_OK;
}

static uint32_t write_disk(const struct block *block, const uint8_t *source, uint64_t bytes,
                           uint64_t offset)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pwrite(block->fd, source + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return PORT_STATUS_FAILED;
        done += (uint64_t)n;
    }
    return PORT_STATUS_OK;
}

static uint32_t zero_disk(const struct block *block, uint64_t bytes, uint64_t offset)
{
    static const uint8_t zeros[ZEROS_BYTES];
    int code = allocate(block, FALLOC_FL_ZERO_RANGE, bytes, offset);
    if (!cannot_allocate(code))
        return code ? PORT_STATUS_FAILED : PORT_STATUS_OK;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part = bytes - done < sizeof(zeros) ? bytes - done : sizeof(zeros);
        uint32_t status = write_disk(block, zeros, part, offset + done);
        if (status)
            return status;
        done += part;
    }
    return PORT_STATUS_OK;
}

// Advice: a file system that cannot give blocks back keeps them.
static uint32_t discard_disk(const struct block *block, uint64_t bytes, uint64_t offset)
{
    int code = block->grant.discards ? allocate(block, FALLOC_FL_PUNCH_HOLE, bytes, offset) : 0;
    return code && !cannot_allocate(code) ? PORT_STATUS_FAILED : PORT_STATUS_OK;
}

static uint32_t read_range(const struct block *block, struct port_request *request, uint64_t bytes,
                           uint64_t offset)
{
    if (bytes > request->reply_capacity)
        return PORT_STATUS_TOO_LARGE;
    request->reply_length = (uint32_t)bytes;
    return read_disk(block, request->reply, bytes, offset);
}

static uint32_t change_range(const struct block *block, const struct port_request *request,
                             uint64_t bytes, uint64_t offset)
{
    const uint32_t head = sizeof(struct block_range);
    if (!block->grant.writable)
        return PORT_STATUS_DENIED;
    if (request->operation == BLOCK_WRITE && bytes != request->length - head)
        return PORT_STATUS_INVALID;
    if (request->operation == BLOCK_WRITE_ZEROES && bytes > BLOCK_ZEROES_MAX_BYTES)
        return PORT_STATUS_INVALID;
    if (!is_there(block, bytes, offset))
        return PORT_STATUS_FAILED;
    switch (request->operation) {
    case BLOCK_WRITE:
        return write_disk(block, request->payload + head, bytes, offset);
    case BLOCK_DISCARD:
        return discard_disk(block, bytes, offset);
    default:
        return zero_disk(block, bytes, offset);
    }
}

static uint32_t flush_disk(const struct block *block)
{
    // Who cannot write has nothing to flush, and the call is not in its filter.
    return !block->grant.writable || fdatasync(block->fd) == 0 ? PORT_STATUS_OK
                                                               : PORT_STATUS_FAILED;
}

static uint32_t carry_out(const struct block *block, struct port_request *request)
{
    uint64_t offset;
    uint64_t bytes;
    if (request->argument)
        return PORT_STATUS_INVALID;
    switch (request->operation) {
    case BLOCK_FLUSH:
        return flush_disk(block);
    case BLOCK_READ:
        return take_range(block, request, &offset, &bytes)
                   ? read_range(block, request, bytes, offset)
                   : PORT_STATUS_INVALID;
    case BLOCK_WRITE:
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        return take_range(block, request, &offset, &bytes)
                   ? change_range(block, request, bytes, offset)
                   : PORT_STATUS_INVALID;
    default:
        return PORT_STATUS_INVALID;
    }
}

static enum port_progress block_submit(void *state, struct port_request *request)
{
    request->reply_length = 0;
    request->status = carry_out(state, request);
    if (request->status)
        request->reply_length = 0;
    return PORT_DONE;
}

static void block_nothing(void *state)
{
    (void)state;
}

static bool block_prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

const struct port_backend block_backend = {
    .kind = PORT_KIND_BLOCK,
    .name = "block",
    .operations = block_operations,
    .operation_count = BLOCK_OPERATIONS,
    .submit = block_submit,
    .resume = block_submit, // never pending
    .flush = block_nothing,
    .prepare_sleep = block_prepare_sleep,
    .forget = block_nothing,
};
