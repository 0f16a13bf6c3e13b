// SPDX-License-Identifier: Apache-2.0
// The virtio devices of a Linux guest, as the configuration names them.
#ifndef DEVICES_LINUX_DEVICES_H
#define DEVICES_LINUX_DEVICES_H

#include "debug_serial.h"
#include "linux_layout.h"
#include "virtio_block.h"
#include "virtio_console.h"
#include "virtio_entropy.h"
#include "virtio_vsock.h"
#include "vmm_protocol.h"

struct linux_devices {
    const struct vmm_config *config;
    unsigned count;
    struct virtio_device devices[VMM_MAX_DEVICES];
    struct port_driver *drivers[VMM_MAX_PORTS]; // of each port, in one of the states below
    struct virtio_console console;
    struct virtio_calls entropy;
    struct virtio_block blocks[VMM_MAX_DEVICES];
    struct virtio_vsock vsock;
    struct debug_serial serial;
};

// Makes the devices and the drivers of the ports' queues, which are attached by the caller as the
// ports are made. `interrupts` are eventfds, one for each device; borrowed, as `config` and
// `memory` are. Refuses configurations with ports that have no device, or two.
int linux_devices_make(struct linux_devices *devices, const struct vmm_config *config,
                       const struct guest_memory *memory, const int *interrupts,
                       const struct clock *clock, const struct virtio_host *host,
                       struct error *err);

// Once every driver is attached: who answers for which queue, and the poller that serves all.
int linux_devices_start(struct linux_devices *devices, struct poller *poller, struct error *err);

// A load or store of a vCPU, 1 to 8 bytes. False if there is no device.
bool linux_devices_access(struct linux_devices *devices, uint64_t address, bool is_write,
                          void *data, unsigned length);

// An access to I/O ports, `count` units of `length` bytes. There is nothing behind any of them but
// the debug serial port: loads give all ones, as on an empty bus.
void linux_devices_io(struct linux_devices *devices, uint16_t port, bool is_write, uint8_t *data,
                      unsigned length, unsigned count);

#endif
