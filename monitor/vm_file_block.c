// SPDX-License-Identifier: Apache-2.0
// The settings of a block port.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block_grant.h"
#include "cleanup.h"
#include "vm_file_internal.h"

// Numbers of ports/port_abi.h.
#define OPERATIONS_READ  (1ull << 1)
#define OPERATIONS_WRITE (1ull << 2 | 1ull << 4 | 1ull << 5) // write, discard, write-zeroes
#define OPERATION_FLUSH  (1ull << 3)

#define SECTOR_BYTES 512u

void vm_file_block_defaults(struct vmm_port_config *config)
{
    config->operations = OPERATIONS_READ;
    config->max_request_bytes = config->max_reply_bytes = 1u << 20;
    config->in_flight = 8;
}

// The size now is the disk's size for good.
static int measure_disk(const struct json_place *place, struct block_settings *block,
                        struct error *err)
{
    struct stat status;
    cleanup_fd int fd = open(block->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return json_refuse(place, JSON_PART_VALUE, err, "%s", strerror(errno));
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a disk is a regular file or a block device");
    off_t bytes = lseek(fd, 0, SEEK_END);
    if (bytes < (off_t)SECTOR_BYTES || bytes % SECTOR_BYTES)
        return json_refuse(
            place, JSON_PART_VALUE, err,
            "a disk has whole sectors of %u bytes, at least one; this has %lld bytes", SECTOR_BYTES,
            (long long)bytes);
    block->grant.bytes = (uint64_t)bytes;
    return 0;
}

static int read_block_path(const struct json_place *place, void *target, struct error *err)
{
    struct block_settings *block = target;
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= sizeof(block->path))
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    memcpy(block->path, path, strlen(path) + 1);
    return measure_disk(place, block, err);
}

static int read_discard(const struct json_place *place, void *target, struct error *err)
{
    struct block_settings *block = target;
    bool discards = true;
    if (json_field_bool(place, &discards, err))
        return -1;
    block->grant.discards = discards;
    return 0;
}

// "operations" were read before: the disk is opened for writing only if one of them writes.
int vm_file_read_block(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "path", .read = read_block_path, .required = true},
        {.key = "discard", .read = read_discard},
    };
    struct block_settings *block = calloc(1, sizeof(*block));
    if (!block)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a disk");
    *settings = (struct vm_settings){.bytes = block, .length = sizeof(*block)};
    block->grant.writable = (config->operations & OPERATIONS_WRITE) != 0;
    block->grant.discards = 1;
    if (json_read_object(place, fields, sizeof(fields) / sizeof(fields[0]), block, err))
        return -1;
    if (block->grant.writable)
        config->operations |= OPERATION_FLUSH;
    block->grant.discards = block->grant.discards && (config->operations & 1ull << 4);
    config->options.block = (struct vmm_block_options){
        .sectors = block->grant.bytes / SECTOR_BYTES,
        .writable = block->grant.writable,
        .discards = block->grant.discards,
    };
    return 0;
}
