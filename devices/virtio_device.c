// SPDX-License-Identifier: Apache-2.0
// A virtio-mmio device: registers on vCPU threads, queues on the serving thread.
#include "virtio_device.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum virtio_order {
    ORDER_NONE,
    ORDER_BIND,
    ORDER_UNBIND,
    ORDER_RESET,
    ORDER_START,
};

// The bits that a driver sets.
#define STATUS_OF_DRIVER                                                                           \
    ((uint32_t)(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |       \
                VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED))

// How long a vCPU waits before it looks whether the run ends.
static const struct timespec order_nap = {0, 10000000};

int virtio_device_init(struct virtio_device *device, const struct virtio_settings *settings,
                       struct error *err)
{
    if (settings->queue_count > VIRTIO_MAX_QUEUES || settings->queue_size_max > VIRTQ_MAX_SIZE)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "virtio device: too many queues");
    memset(device, 0, sizeof(*device));
    device->settings = *settings;
    int code = pthread_mutex_init(&device->lock, NULL);
    return code ? error_set(err, EXIT_STATUS_RESOURCES, code, "virtio device") : 0;
}

void virtio_device_charge(struct virtio_device *device, unsigned queue, struct port *port)
{
    device->queues[queue].port = port;
}

static uint64_t features_of(const struct virtio_device *device)
{
    return device->settings.features | VIRTIO_FEATURE_VERSION_1 | VIRTIO_FEATURE_INDIRECT |
           VIRTIO_FEATURE_EVENT_INDEX;
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout)
{
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

// Has the serving thread carry something out. Returns early only if the run ends.
static void give_order(struct virtio_device *device, enum virtio_order order, uint32_t queue)
{
    const struct virtio_host *host = &device->settings.host;
    device->order_queue = queue;
    atomic_store(&device->order, order);
    host->wake(host->context);
    while (atomic_load(&device->order) == (uint32_t)order && !host->stopping(host->context))
        futex(&device->order, FUTEX_WAIT, order, &order_nap);
}

static void forget_driver(struct virtio_device *device)
{
    device->device_select = device->driver_select = device->queue_select = 0;
    device->driver_features = 0;
    memset(device->registers, 0, sizeof(device->registers));
}

// Bits are only ever added, but by a reset (virtio 1.2, sections 2.1.1 and 3.1.1).
static void write_status(struct virtio_device *device, uint32_t value)
{
    uint32_t now = atomic_load(&device->status);
    if (!value) {
        give_order(device, ORDER_RESET, 0);
        forget_driver(device);
        atomic_store(&device->interrupts, 0);
        atomic_store(&device->status, 0);
        return;
    }
    uint32_t added = value & ~now & STATUS_OF_DRIVER;
    const uint64_t known = features_of(device);
    if ((added & VIRTIO_STATUS_FEATURES_OK) &&
        (!((now | added) & VIRTIO_STATUS_DRIVER) || (device->driver_features & ~known) ||
         !(device->driver_features & VIRTIO_FEATURE_VERSION_1)))
        added &= ~(uint32_t)VIRTIO_STATUS_FEATURES_OK;
    if ((added & VIRTIO_STATUS_DRIVER_OK) && !((now | added) & VIRTIO_STATUS_FEATURES_OK))
        added &= ~(uint32_t)VIRTIO_STATUS_DRIVER_OK;
    // The serving thread may set NEEDS_RESET at any moment.
    atomic_fetch_or(&device->status, added);
    if (added & VIRTIO_STATUS_DRIVER_OK)
        give_order(device, ORDER_START, 0);
}

static void write_ready(struct virtio_device *device, struct virtio_queue_registers *queue,
                        uint32_t value)
{
    if ((value & 1) == queue->ready)
        return;
    if (!(atomic_load(&device->status) & VIRTIO_STATUS_FEATURES_OK)) {
        atomic_fetch_add(&device->misuses, 1);
        return;
    }
    queue->ready = value & 1;
    give_order(device, queue->ready ? ORDER_BIND : ORDER_UNBIND, device->queue_select);
}

static void set_half(uint64_t *word, uint32_t value, bool high)
{
    *word = high ? (*word & 0xffffffff) | (uint64_t)value << 32 : (*word & ~0xffffffffull) | value;
}

// Registers of the selected queue. They stand still while it is ready.
static bool write_queue(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    if (device->queue_select >= device->settings.queue_count)
        return false;
    struct virtio_queue_registers *queue = &device->registers[device->queue_select];
    if (offset == VIRTIO_QUEUE_READY) {
        write_ready(device, queue, value);
        return true;
    }
    if (queue->ready)
        return false;
    switch (offset) {
    case VIRTIO_QUEUE_SIZE:
        queue->size = value;
        return true;
    case VIRTIO_QUEUE_DESCRIPTORS_LOW:
    case VIRTIO_QUEUE_DESCRIPTORS_HIGH:
        set_half(&queue->descriptors, value, offset == VIRTIO_QUEUE_DESCRIPTORS_HIGH);
        return true;
    case VIRTIO_QUEUE_AVAILABLE_LOW:
    case VIRTIO_QUEUE_AVAILABLE_HIGH:
        set_half(&queue->available, value, offset == VIRTIO_QUEUE_AVAILABLE_HIGH);
        return true;
    case VIRTIO_QUEUE_USED_LOW:
    case VIRTIO_QUEUE_USED_HIGH:
        set_half(&queue->used, value, offset == VIRTIO_QUEUE_USED_HIGH);
        return true;
    default:
        return false;
    }
}

static bool write_register(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_DEVICE_FEATURES_SELECT:
        device->device_select = value;
        return true;
    case VIRTIO_DRIVER_FEATURES_SELECT:
        device->driver_select = value;
        return true;
    case VIRTIO_DRIVER_FEATURES:
        // What was agreed on stays (virtio 1.2, section 3.1.1).
        if (device->driver_select > 1 || (atomic_load(&device->status) & VIRTIO_STATUS_FEATURES_OK))
            return false;
        set_half(&device->driver_features, value, device->driver_select == 1);
        return true;
    case VIRTIO_QUEUE_SELECT:
        device->queue_select = value;
        return true;
    case VIRTIO_QUEUE_NOTIFY: // stores of 4 bytes do not come here: KVM signals them
        return true;
    case VIRTIO_INTERRUPT_ACKNOWLEDGE:
        atomic_fetch_and(&device->interrupts, ~value);
        return true;
    case VIRTIO_STATUS:
        write_status(device, value);
        return true;
    default:
        return write_queue(device, offset, value);
    }
}

static uint32_t read_queue(const struct virtio_device *device, uint64_t offset)
{
    if (device->queue_select >= device->settings.queue_count)
        return 0; // not available (virtio 1.2, section 4.2.2)
    return offset == VIRTIO_QUEUE_READY ? device->registers[device->queue_select].ready
                                        : device->settings.queue_size_max;
}

static uint32_t read_register(struct virtio_device *device, uint64_t offset)
{
    switch (offset) {
    case VIRTIO_MAGIC:
        return VIRTIO_MAGIC_VALUE;
    case VIRTIO_VERSION:
        return VIRTIO_MMIO_VERSION;
    case VIRTIO_DEVICE_ID:
        return device->settings.model->type;
    case VIRTIO_VENDOR_ID:
        return VIRTIO_VENDOR_VALUE;
    case VIRTIO_DEVICE_FEATURES:
        return device->device_select > 1
                   ? 0
                   : (uint32_t)(features_of(device) >> (device->device_select * 32));
    case VIRTIO_QUEUE_SIZE_MAX:
    case VIRTIO_QUEUE_READY:
        return read_queue(device, offset);
    case VIRTIO_INTERRUPT_STATUS:
        return atomic_load(&device->interrupts);
    case VIRTIO_STATUS:
        return atomic_load(&device->status);
    case VIRTIO_CONFIG_GENERATION:
        return 0; // the configuration never changes
    default:
        if (offset >= VIRTIO_SHARED_LENGTH_LOW && offset <= VIRTIO_SHARED_BASE_HIGH)
            return UINT32_MAX;
        atomic_fetch_add(&device->misuses, 1);
        return 0;
    }
}

void virtio_device_read(struct virtio_device *device, uint64_t offset, void *data, unsigned length)
{
    memset(data, 0, length);
    if (offset >= VIRTIO_CONFIG) {
        uint64_t at = offset - VIRTIO_CONFIG;
        for (unsigned i = 0; i < length && at + i < device->settings.config_bytes; i++)
            ((uint8_t *)data)[i] = ((const uint8_t *)device->settings.config)[at + i];
        return;
    }
    if (length != 4 || offset % 4) {
        atomic_fetch_add(&device->misuses, 1);
        return;
    }
    pthread_mutex_lock(&device->lock);
    uint32_t value = read_register(device, offset);
    pthread_mutex_unlock(&device->lock);
    memcpy(data, &value, sizeof(value));
}

void virtio_device_write(struct virtio_device *device, uint64_t offset, const void *data,
                         unsigned length)
{
    uint32_t value;
    // Nothing in a configuration can be written.
    if (length != sizeof(value) || offset % 4 || offset >= VIRTIO_CONFIG) {
        atomic_fetch_add(&device->misuses, 1);
        return;
    }
    memcpy(&value, data, sizeof(value));
    pthread_mutex_lock(&device->lock);
    if (!write_register(device, offset, value))
        atomic_fetch_add(&device->misuses, 1);
    pthread_mutex_unlock(&device->lock);
}

static void interrupt(struct virtio_device *device, uint32_t why)
{
    uint64_t one = 1;
    atomic_fetch_or(&device->interrupts, why);
    ssize_t ignored = write(device->settings.interrupt_fd, &one, sizeof(one));
    (void)ignored;
}

// The driver broke a rule: nothing is served before it resets the device, and an operator opens the
// port that answers for the queue.
static void fail(struct virtio_device *device, unsigned queue, enum queue_rule rule,
                 uint16_t descriptor)
{
    device->charged = device->queues[queue].port;
    device->anomaly = (struct queue_anomaly){rule, descriptor};
    device->anomaly_due = true;
    device->broken = true;
    atomic_fetch_or(&device->status, VIRTIO_STATUS_NEEDS_RESET);
    interrupt(device, VIRTIO_INTERRUPT_CONFIG);
}

static void bind(struct virtio_device *device, unsigned index)
{
    const struct virtio_queue_registers *registers = &device->registers[index];
    struct virtio_queue *queue = &device->queues[index];
    unsigned features =
        (device->driver_features & VIRTIO_FEATURE_INDIRECT ? PORT_FEATURE_INDIRECT : 0) |
        (device->driver_features & VIRTIO_FEATURE_EVENT_INDEX ? PORT_FEATURE_EVENT_INDEX : 0);
    struct error err;
    if (registers->size > device->settings.queue_size_max ||
        virtqueue_init(&queue->queue, device->settings.memory, (uint16_t)registers->size, features,
                       (struct gpa){registers->descriptors}, (struct gpa){registers->available},
                       (struct gpa){registers->used}, &err) < 0) {
        fail(device, index, QUEUE_RULE_AREA, (uint16_t)index);
        return;
    }
    queue->bound = true;
    queue->watched = true; // rings are zero: their drivers ring
    queue->pushed = false;
}

static void reset(struct virtio_device *device)
{
    for (unsigned i = 0; i < device->settings.queue_count; i++)
        device->queues[i].bound = device->queues[i].pushed = false;
    device->active = device->broken = false;
    device->settings.model->reset(device);
}

static void carry_out(struct virtio_device *device)
{
    switch ((enum virtio_order)atomic_load_explicit(&device->order, memory_order_acquire)) {
    case ORDER_NONE:
        return;
    case ORDER_BIND:
        bind(device, device->order_queue);
        break;
    case ORDER_UNBIND:
        // A driver that takes a queue away has no claim to what is under way there.
        device->queues[device->order_queue].bound = false;
        device->broken = true;
        break;
    case ORDER_RESET:
        reset(device);
        break;
    case ORDER_START:
        device->active = true;
        break;
    }
    atomic_store(&device->order, ORDER_NONE);
    futex(&device->order, FUTEX_WAKE, 1, NULL);
}

static bool may_serve(struct virtio_device *device)
{
    if (device->anomaly_due && port_report_anomaly(device->charged, &device->anomaly))
        device->anomaly_due = false;
    if (device->charged && !device->anomaly_due &&
        atomic_load_explicit(&port_counters(device->charged)->state, memory_order_relaxed) ==
            PORT_OPEN)
        device->charged = NULL;
    return device->active && !device->broken && !device->charged;
}

static void tell_driver(struct virtio_device *device)
{
    bool wanted = false;
    for (unsigned i = 0; i < device->settings.queue_count; i++) {
        struct virtio_queue *queue = &device->queues[i];
        if (!queue->pushed)
            continue;
        queue->pushed = false;
        wanted = virtqueue_wants_event(&queue->queue) || wanted;
    }
    if (wanted)
        interrupt(device, VIRTIO_INTERRUPT_USED);
}

static unsigned device_poll(void *state)
{
    struct virtio_device *device = state;
    carry_out(device);
    if (!may_serve(device))
        return 0;
    unsigned done = device->settings.model->serve(device);
    if (done)
        tell_driver(device);
    return done;
}

static void watch(struct virtio_device *device, bool wanted)
{
    for (unsigned i = 0; i < device->settings.queue_count; i++) {
        struct virtio_queue *queue = &device->queues[i];
        if (queue->bound && (queue->watched != wanted || wanted)) {
            virtqueue_set_doorbell(&queue->queue, wanted);
            queue->watched = wanted;
        }
    }
}

static bool device_prepare_sleep(void *state, bool doorbells, uint64_t *wake_ns)
{
    struct virtio_device *device = state;
    const struct virtio_model *model = device->settings.model;
    if (atomic_load(&device->order))
        return false;
    if (device->anomaly_due) // until the log has room
        *wake_ns = 0;
    if (!may_serve(device))
        return true;
    if (doorbells)
        watch(device, true);
    // What came before the driver knew that it has to ring.
    if (model->serve(device)) {
        tell_driver(device);
        return false;
    }
    if (model->prepare_sleep)
        model->prepare_sleep(device, wake_ns);
    return true;
}

static void device_wake(void *state)
{
    watch(state, false);
}

struct poller_front virtio_device_front(struct virtio_device *device)
{
    return (struct poller_front){
        .poll = device_poll,
        .prepare_sleep = device_prepare_sleep,
        .wake = device_wake,
        .state = device,
    };
}

bool virtio_has_work(const struct virtio_device *device, unsigned queue)
{
    return device->queues[queue].bound && virtqueue_has_work(&device->queues[queue].queue);
}

bool virtio_take(struct virtio_device *device, unsigned queue, struct virtqueue_chain *chain)
{
    struct virtio_queue *from = &device->queues[queue];
    struct queue_anomaly anomaly;
    if (device->broken || !from->bound)
        return false;
    switch (virtqueue_pop(&from->queue, chain, &anomaly)) {
    case VIRTQUEUE_CHAIN:
        return true;
    case VIRTQUEUE_ANOMALY:
        fail(device, queue, anomaly.rule, anomaly.descriptor);
        return false;
    case VIRTQUEUE_EMPTY:
    default:
        return false;
    }
}

void virtio_refuse(struct virtio_device *device, unsigned queue, uint16_t head)
{
    fail(device, queue, QUEUE_RULE_DEVICE_HEADER, head);
}

bool virtio_copy_out(struct virtio_device *device, unsigned queue,
                     const struct virtqueue_chain *chain, uint32_t offset, const void *source,
                     uint32_t length, const struct port *port)
{
    const struct virtqueue *target = &device->queues[queue].queue;
    for (uint32_t done = 0; done < length;) {
        uint32_t part = length - done < VIRTIO_GATE_BYTES ? length - done : VIRTIO_GATE_BYTES;
        if (!device->queues[queue].bound || !port_gate_is_open(port) ||
            !virtqueue_write(target, chain, offset + done, (const uint8_t *)source + done, part))
            return false;
        done += part;
    }
    return port_gate_is_open(port);
}

bool virtio_copy_in(struct virtio_device *device, unsigned queue,
                    const struct virtqueue_chain *chain, uint32_t offset, void *target,
                    uint32_t length)
{
    return device->queues[queue].bound &&
           virtqueue_read(&device->queues[queue].queue, chain, offset, target, length);
}

void virtio_push(struct virtio_device *device, unsigned queue, uint16_t head, uint32_t written)
{
    if (!device->queues[queue].bound)
        return;
    virtqueue_push(&device->queues[queue].queue, head, written);
    device->queues[queue].pushed = true;
}
