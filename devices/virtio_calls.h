// SPDX-License-Identifier: Apache-2.0
// Devices for which each chain is one request of one port: entropy, block.
#ifndef DEVICES_VIRTIO_CALLS_H
#define DEVICES_VIRTIO_CALLS_H

#include "virtio_device.h"

struct virtio_calls;

struct virtio_calls_model {
    // Fills the call from the chain and sends it, or makes it done. False: the chain was refused.
    bool (*start)(struct virtio_calls *calls, struct port_call *call,
                  const struct virtqueue_chain *chain);
    // Copies the reply to the chain, whose gate is open. False: the gate shut meanwhile.
    bool (*finish)(struct virtio_calls *calls, const struct port_call *call,
                   const struct virtqueue_chain *chain, uint32_t *written);
};

// State of such a device. `driver` is opened and attached by whoever makes it.
struct virtio_calls {
    struct virtio_device *device;
    const struct virtio_calls_model *model;
    struct port_driver driver;
    uint64_t generation; // of the guest's driver: resets so far
    unsigned under_way;
    struct virtqueue_chain chains[PORT_MAX_IN_FLIGHT]; // of the call with that index
};

// For struct virtio_model: the device's only queue is number 0; its state is a struct virtio_calls.
unsigned virtio_calls_serve(struct virtio_device *device);
void virtio_calls_reset(struct virtio_device *device);

#endif
