// SPDX-License-Identifier: Apache-2.0
// A virtio-mmio device, modern interface only (virtio 1.2, section 4.2): registers, negotiation,
// queues, interrupts. What it does is a model's (virtio_console.c and so on), which turns chains of
// its queues into requests of ports.
//
// vCPU threads read and write registers, one at a time. Everything that touches a queue happens on
// the thread that serves the ports: registers that bind, unbind or reset queues are orders to it,
// and the store returns when they are carried out.
#ifndef DEVICES_VIRTIO_DEVICE_H
#define DEVICES_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "poller.h"
#include "port_driver.h"

// Of one device. A console with channels has the most.
#define VIRTIO_MAX_QUEUES 36u

// Bytes that go to the guest between two looks at the gate.
#define VIRTIO_GATE_BYTES 4096u

enum virtio_type {
    VIRTIO_TYPE_BLOCK = 2,
    VIRTIO_TYPE_CONSOLE = 3,
    VIRTIO_TYPE_ENTROPY = 4,
    VIRTIO_TYPE_VSOCK = 19,
};

// Device status (virtio 1.2, section 2.1).
enum virtio_status {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
};

// Registers (virtio 1.2, section 4.2.2).
enum virtio_register {
    VIRTIO_MAGIC = 0x000,
    VIRTIO_VERSION = 0x004,
    VIRTIO_DEVICE_ID = 0x008,
    VIRTIO_VENDOR_ID = 0x00c,
    VIRTIO_DEVICE_FEATURES = 0x010,
    VIRTIO_DEVICE_FEATURES_SELECT = 0x014,
    VIRTIO_DRIVER_FEATURES = 0x020,
    VIRTIO_DRIVER_FEATURES_SELECT = 0x024,
    VIRTIO_QUEUE_SELECT = 0x030,
    VIRTIO_QUEUE_SIZE_MAX = 0x034,
    VIRTIO_QUEUE_SIZE = 0x038,
    VIRTIO_QUEUE_READY = 0x044,
    VIRTIO_QUEUE_NOTIFY = 0x050,
    VIRTIO_INTERRUPT_STATUS = 0x060,
    VIRTIO_INTERRUPT_ACKNOWLEDGE = 0x064,
    VIRTIO_STATUS = 0x070,
    VIRTIO_QUEUE_DESCRIPTORS_LOW = 0x080,
    VIRTIO_QUEUE_DESCRIPTORS_HIGH = 0x084,
    VIRTIO_QUEUE_AVAILABLE_LOW = 0x090,
    VIRTIO_QUEUE_AVAILABLE_HIGH = 0x094,
    VIRTIO_QUEUE_USED_LOW = 0x0a0,
    VIRTIO_QUEUE_USED_HIGH = 0x0a4,
    VIRTIO_SHARED_LENGTH_LOW = 0x0b0, // no shared memory regions: all ones
    VIRTIO_SHARED_BASE_HIGH = 0x0bc,
    VIRTIO_CONFIG_GENERATION = 0x0fc,
    VIRTIO_CONFIG = 0x100,
};

#define VIRTIO_MAGIC_VALUE      0x74726976u // "virt"
#define VIRTIO_VENDOR_VALUE     0x4c495547u // "GUIL"
#define VIRTIO_MMIO_VERSION     2u
#define VIRTIO_INTERRUPT_USED   1u
#define VIRTIO_INTERRUPT_CONFIG 2u

#define VIRTIO_FEATURE_INDIRECT    (1ull << 28)
#define VIRTIO_FEATURE_EVENT_INDEX (1ull << 29)
#define VIRTIO_FEATURE_VERSION_1   (1ull << 32)

struct virtio_device;

// What makes a device a console, a disk and so on. All hooks run on the serving thread.
struct virtio_model {
    uint32_t type;
    // Serves the queues. Returns how much was done.
    unsigned (*serve)(struct virtio_device *device);
    // All queues are unbound: forgets the driver. Calls that are under way are the model's still.
    void (*reset)(struct virtio_device *device);
    // Before the thread sleeps: lowers *wake_ns to when it has to run again. May be NULL.
    void (*prepare_sleep)(struct virtio_device *device, uint64_t *wake_ns);
};

struct virtio_queue {
    struct virtqueue queue;
    struct port *port; // that answers for what the driver does here
    bool bound;
    bool watched; // its driver rings when it publishes something
    bool pushed;  // used since the driver was last asked whether it wants an interrupt
};

// Upward calls.
struct virtio_host {
    // Wakes the serving thread. From a vCPU's thread.
    void (*wake)(void *context);
    // True if the run ends: nobody answers any more.
    bool (*stopping)(void *context);
    void *context;
};

// What the driver wrote about a queue, and is in no hurry about.
struct virtio_queue_registers {
    uint32_t size;
    uint32_t ready;
    uint64_t descriptors;
    uint64_t available;
    uint64_t used;
};

struct virtio_settings {
    const struct virtio_model *model;
    void *state;
    uint64_t features; // of the model; the transport's come on top
    unsigned queue_count;
    uint16_t queue_size_max;
    const void *config; // borrowed
    uint32_t config_bytes;
    const struct guest_memory *memory;
    int interrupt_fd; // eventfd, borrowed
    const struct clock *clock;
    struct virtio_host host;
};

struct virtio_device {
    struct virtio_settings settings;
    // Registers; under `lock`.
    pthread_mutex_t lock;
    uint32_t device_select;
    uint32_t driver_select;
    uint32_t queue_select;
    uint64_t driver_features;
    struct virtio_queue_registers registers[VIRTIO_MAX_QUEUES];
    _Atomic uint64_t misuses; // accesses that no driver makes
    // Between the two sides.
    _Atomic uint32_t status;
    _Atomic uint32_t interrupts; // pending
    _Atomic uint32_t order;      // futex word: enum virtio_order, 0: carried out
    uint32_t order_queue;
    // Of the serving thread.
    struct virtio_queue queues[VIRTIO_MAX_QUEUES];
    bool active;          // DRIVER_OK
    bool broken;          // until the driver resets it
    struct port *charged; // port of the last anomaly: nothing is served until it is open again
    struct queue_anomaly anomaly;
    bool anomaly_due; // it is not in the log yet
};

// Before the guest runs.
int virtio_device_init(struct virtio_device *device, const struct virtio_settings *settings,
                       struct error *err);

// The port that is closed if the driver breaks rules on this queue; every queue needs one.
void virtio_device_charge(struct virtio_device *device, unsigned queue, struct port *port);

// A load or store of `length` bytes (1 to 8) at `offset` of the device's page. On a vCPU's thread.
void virtio_device_read(struct virtio_device *device, uint64_t offset, void *data, unsigned length);
void virtio_device_write(struct virtio_device *device, uint64_t offset, const void *data,
                         unsigned length);

// For poller_add_front.
struct poller_front virtio_device_front(struct virtio_device *device);

// For models, on the serving thread.

// Takes the next chain of a queue; the caller has looked at the gate. False: there is none, or it
// broke a rule, and with it the device.
bool virtio_take(struct virtio_device *device, unsigned queue, struct virtqueue_chain *chain);

// True if the driver has published something on a bound queue.
bool virtio_has_work(const struct virtio_device *device, unsigned queue);

// The chain is none of the device's requests: the device needs a reset, the port is closed.
void virtio_refuse(struct virtio_device *device, unsigned queue, uint16_t head);

// Copies to a chain, with a look at the gate of `port` in front of every VIRTIO_GATE_BYTES. False
// if it is not open (any more): what was copied is part of an answer that the guest did not get.
bool virtio_copy_out(struct virtio_device *device, unsigned queue,
                     const struct virtqueue_chain *chain, uint32_t offset, const void *source,
                     uint32_t length, const struct port *port);

bool virtio_copy_in(struct virtio_device *device, unsigned queue,
                    const struct virtqueue_chain *chain, uint32_t offset, void *target,
                    uint32_t length);

// Hands a chain back.
void virtio_push(struct virtio_device *device, unsigned queue, uint16_t head, uint32_t written);

#endif
