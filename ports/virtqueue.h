// SPDX-License-Identifier: Apache-2.0
// The device side of a split virtqueue whose driver is hostile (virtio 1.2, section 2.7).
#ifndef PORTS_VIRTQUEUE_H
#define PORTS_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "guest_memory.h"
#include "port_abi.h"
#include "queue_rule.h"

// Most descriptors in one chain that the fabric accepts.
#define VIRTQUEUE_MAX_SEGMENTS 16u

struct virtqueue_segment {
    struct gpa address;
    uint32_t length;
};

// A chain as it was when it was copied: nothing here is read again from the guest.
struct virtqueue_chain {
    uint16_t head;
    uint16_t readable_count; // segments[0 .. readable_count) are for the device to read
    uint16_t count;          // the rest are for it to write
    uint32_t readable_bytes;
    uint32_t writable_bytes;
    struct virtqueue_segment segments[VIRTQUEUE_MAX_SEGMENTS];
};

// Why a chain was refused.
struct queue_anomaly {
    enum queue_rule rule;
    uint16_t descriptor; // index at which the rule was broken, in the table that was being walked
};

struct virtqueue {
    const struct guest_memory *memory;
    const struct virtq_descriptor *descriptors; // shared with the guest: copy, never look twice
    uint8_t *available;
    uint8_t *used;
    uint16_t size;
    uint16_t features;       // enum port_feature, combined
    uint16_t next_available; // private: next ring entry to take
    uint16_t next_used;      // private: next used entry to write
    uint16_t last_signalled; // next_used when the driver was last asked whether it wants an event
    uint16_t in_flight_count;
    uint64_t in_flight[VIRTQ_MAX_SIZE / 64]; // a bit per head that the fabric holds
};

// Binds a queue to its three areas, which must lie inside `memory` and be aligned (virtio 1.2,
// section 2.7: 16, 2, 4), each with its event field (VIRTQ_AVAILABLE_BYTES, VIRTQ_USED_BYTES).
// `size` is a power of two up to VIRTQ_MAX_SIZE; `features` of enum port_feature.
int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory, uint16_t size,
                   unsigned features, struct gpa descriptors, struct gpa available, struct gpa used,
                   struct error *err);

// True if the driver has published something. One load; the hot path of a poller.
bool virtqueue_has_work(const struct virtqueue *queue);

// Chains that the driver says it has published and that were not taken; at most the queue's size.
unsigned virtqueue_published(const struct virtqueue *queue);

enum virtqueue_result {
    VIRTQUEUE_EMPTY,
    VIRTQUEUE_CHAIN,
    VIRTQUEUE_ANOMALY,
};

// Takes the next chain: every descriptor is copied once and checked; loops are bounded by the
// queue's size. On VIRTQUEUE_ANOMALY the queue must not be used
// any more before virtqueue_skip_published.
enum virtqueue_result virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain,
                                    struct queue_anomaly *anomaly);

// Copies the chain's readable bytes [offset, offset + length) to `target`; the caller has checked
// them against chain->readable_bytes. False if the range is outside the chain.
bool virtqueue_read(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                    uint32_t offset, void *target, uint32_t length);

// Copies to the chain's writable bytes at `offset`; same contract.
bool virtqueue_write(const struct virtqueue *queue, const struct virtqueue_chain *chain,
                     uint32_t offset, const void *source, uint32_t length);

// Hands a chain back with the number of bytes written. Visible to the driver at once.
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);

// Tells the driver whether doorbells are wanted: by the ring's flag, or by avail_event. If wanted,
// includes the fence that must stand between this and the next virtqueue_has_work (virtio 1.2,
// sections 2.7.7.2 and 2.7.10).
void virtqueue_set_doorbell(struct virtqueue *queue, bool wanted);

// After a batch of virtqueue_push: true if the driver wants an event for what was pushed since the
// last call (virtio 1.2, section 2.7.7.2). Includes the fence between used index and the question.
bool virtqueue_wants_event(struct virtqueue *queue);

// Hands every chain that is still held back with 0 bytes written: what a port does with requests
// that it dropped once it is open again. Returns how many.
unsigned virtqueue_return_held(struct virtqueue *queue);

// Passes over everything that the driver has published and that was not taken: after an anomaly
// nothing there can be trusted. Chains that are passed over are never handed back.
void virtqueue_skip_published(struct virtqueue *queue);

#endif
