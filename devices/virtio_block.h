// SPDX-License-Identifier: Apache-2.0
// The block device (virtio 1.2, section 5.2): a front of a block port.
#ifndef DEVICES_VIRTIO_BLOCK_H
#define DEVICES_VIRTIO_BLOCK_H

#include "virtio_calls.h"

// The configuration that the driver reads (virtio 1.2, section 5.2.4).
struct virtio_block_config {
    uint64_t capacity; // sectors
    uint32_t size_max;
    uint32_t seg_max;
    uint8_t geometry[4];
    uint32_t block_size;
    uint8_t topology[8];
    uint8_t writeback;
    uint8_t unused;
    uint16_t queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_segments;
    uint32_t discard_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_segments;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused2[3];
};
_Static_assert(sizeof(struct virtio_block_config) == 64, "virtio 1.2, 5.2.4");
_Static_assert(offsetof(struct virtio_block_config, max_discard_sectors) == 36,
               "virtio 1.2, 5.2.4");

struct virtio_block {
    struct virtio_calls calls; // first: the device's state is both
    struct virtio_block_config config;
    char serial[20]; // need not be terminated
    bool writable;
};

// What a disk of that many sectors offers its driver, as feature bits; fills `config`. Transfers
// are at most what the port takes at once.
uint64_t virtio_block_describe(struct virtio_block *block, uint64_t sectors, bool writable,
                               bool discards);

extern const struct virtio_model virtio_block;
extern const struct virtio_calls_model virtio_block_calls;

#endif
