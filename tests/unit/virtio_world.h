// SPDX-License-Identifier: Apache-2.0
// A Linux guest's devices with everything around them faked: memory, driver, backends, poller.
#ifndef TESTS_UNIT_VIRTIO_WORLD_H
#define TESTS_UNIT_VIRTIO_WORLD_H

#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "linux_devices.h"
#include "support.h"

#define WORLD_BYTES   (16u << 20)
#define WORLD_QUEUES  0x100000u // where the queues' areas begin
#define WORLD_STRIDE  0x4000u
#define WORLD_BUFFERS 0x400000u
#define WORLD_BUFFER  0x20000u // bytes of one
#define WORLD_SIZE    64u      // entries of a queue
#define WORLD_DISK    (64u << 10)
#define WORLD_OUTPUT  (1u << 20)

struct world;

// A port with a backend that does what the operations say, in memory.
struct world_port {
    struct world *world;
    unsigned index;
    struct port_backend backend;
    struct port *port;
    uint8_t output[WORLD_OUTPUT]; // what was written
    size_t output_bytes;
    unsigned writes;
    uint8_t input[65536]; // what may be read
    size_t input_bytes;
    bool input_ended;
    bool stuck; // nothing is ever done
    unsigned submitted;
};

// The driver's side of one queue.
struct world_queue {
    uint64_t base;
    uint16_t available;
    uint16_t used;
    uint16_t next_descriptor;
};

struct world {
    uint8_t *ram;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct audit_stream audit;
    struct shared_ring reader;
    struct clock clock;
    uint64_t now;
    struct port_fabric fabric;
    struct vmm_config config;
    struct world_port ports[VMM_MAX_PORTS];
    uint8_t disk[WORLD_DISK];
    struct linux_devices devices;
    struct poller poller;
    int interrupts[VMM_MAX_DEVICES];
    struct world_queue queues[VMM_MAX_DEVICES][VIRTIO_MAX_QUEUES];
    unsigned anomalies;
};

static inline uint64_t world_now(const struct clock *clock)
{
    return ((struct world *)clock->context)->now;
}

static inline enum port_progress world_block(struct world *w, struct port_request *request)
{
    struct block_range range = {0};
    if (request->length >= sizeof(range))
        memcpy(&range, request->payload, sizeof(range));
    uint64_t bytes = (uint64_t)range.sectors * BLOCK_SECTOR_BYTES;
    if (range.sector > WORLD_DISK / 512 || bytes > WORLD_DISK - range.sector * 512) {
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
    uint8_t *place = w->disk + range.sector * 512;
    if (request->operation == BLOCK_READ) {
        memcpy(request->reply, place, bytes);
        request->reply_length = (uint32_t)bytes;
    } else if (request->operation == BLOCK_WRITE) {
        memcpy(place, request->payload + sizeof(range), bytes);
    } else if (request->operation == BLOCK_WRITE_ZEROES) {
        memset(place, 0, bytes);
    }
    return PORT_DONE;
}

static inline enum port_progress world_read(struct world_port *p, struct port_request *request)
{
    if (!p->input_bytes)
        return p->input_ended ? PORT_DONE : PORT_PENDING;
    uint32_t n = request->reply_capacity;
    if (n > p->input_bytes)
        n = (uint32_t)p->input_bytes;
    memcpy(request->reply, p->input, n);
    memmove(p->input, p->input + n, p->input_bytes - n);
    p->input_bytes -= n;
    request->reply_length = n;
    return PORT_DONE;
}

static inline enum port_progress world_serve(void *state, struct port_request *request)
{
    struct world_port *p = (struct world_port *)state;
    if (p->stuck)
        return PORT_PENDING;
    switch ((unsigned)p->backend.kind) {
    case PORT_KIND_BLOCK:
        return world_block(p->world, request);
    case PORT_KIND_ENTROPY:
        memset(request->reply, 0x5a, request->argument);
        request->reply_length = request->argument;
        return PORT_DONE;
    case PORT_KIND_LOOPBACK: // echo
        memcpy(request->reply, request->payload, request->length);
        request->reply_length = request->length;
        return PORT_DONE;
    default:
        if (request->operation == CONSOLE_READ)
            return world_read(p, request);
        cr_assert_leq(p->output_bytes + request->length, WORLD_OUTPUT);
        memcpy(p->output + p->output_bytes, request->payload, request->length);
        p->output_bytes += request->length;
        p->writes++;
        return PORT_DONE;
    }
}

static inline enum port_progress world_submit(void *state, struct port_request *request)
{
    ((struct world_port *)state)->submitted++;
    return world_serve(state, request);
}

static inline void world_nothing(void *state)
{
    (void)state;
}

static inline bool world_prepare(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

static const struct port_operation world_operations[] = {
    {1, PORT_MAX_BYTES, PORT_MAX_BYTES, "one"},   {2, PORT_MAX_BYTES, PORT_MAX_BYTES, "two"},
    {3, PORT_MAX_BYTES, PORT_MAX_BYTES, "three"}, {4, PORT_MAX_BYTES, PORT_MAX_BYTES, "four"},
    {5, PORT_MAX_BYTES, PORT_MAX_BYTES, "five"},
};

// One pass of the poller.
static inline unsigned world_pass(struct world *w)
{
    unsigned done = 0;
    for (unsigned i = 0; i < w->config.port_count; i++)
        done += port_serve(w->ports[i].port, POLLER_BUDGET);
    for (unsigned i = 0; i < w->poller.front_count; i++)
        done += w->poller.fronts[i].poll(w->poller.fronts[i].state);
    audit_stream_flush(&w->audit);
    uint64_t available;
    while ((available = shared_ring_available(&w->reader))) {
        struct audit_record record;
        shared_ring_peek(&w->reader, 0, &record, sizeof(record));
        w->anomalies += record.type == AUDIT_ANOMALY;
        shared_ring_consume(&w->reader, record.size);
    }
    return done;
}

// Until nothing happens any more.
static inline void world_settle(struct world *w)
{
    unsigned passes = 0;
    while (world_pass(w) && passes++ < 10000)
        continue;
    cr_assert_lt(passes, 10000u, "the devices never rest");
}

static inline void world_wake(void *context)
{
    world_pass((struct world *)context); // the serving thread is this one
}

static inline bool world_stopping(void *context)
{
    (void)context;
    return false;
}

// Adds a port before world_start.
static inline unsigned world_add_port(struct world *w, enum port_kind kind, const char *name)
{
    unsigned index = w->config.port_count++;
    struct vmm_port_config *config = &w->config.ports[index];
    config->kind = kind;
    config->max_request_bytes = kind == PORT_KIND_CONSOLE ? 4096 : 1u << 18;
    config->max_reply_bytes = config->max_request_bytes;
    config->in_flight = 8;
    config->operations = 0x3e;
    strcpy(config->name, name);
    return index;
}

static inline unsigned world_add_device(struct world *w, enum virtio_type type, unsigned port)
{
    unsigned index = w->config.linux_guest.device_count++;
    w->config.linux_guest.devices[index] =
        (struct vmm_device_config){.type = type, .port_count = 1, .ports = {(uint8_t)port}};
    return index;
}

static inline void world_add_to_device(struct world *w, unsigned device, unsigned port)
{
    struct vmm_device_config *config = &w->config.linux_guest.devices[device];
    config->ports[config->port_count++] = (uint8_t)port;
}

static inline struct world *world_create(void)
{
    struct error err;
    struct world *w = calloc(1, sizeof(*w));
    w->now = 1000000000;
    w->clock = (struct clock){world_now, world_now, w};
    w->ram = (uint8_t *)mmap(NULL, WORLD_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(w->ram, MAP_FAILED);
    cr_assert_eq(guest_memory_add(&w->memory, (struct gpa){0}, WORLD_BYTES, w->ram,
                                  GUEST_READ | GUEST_WRITE, &err),
                 0);
    int fd = shared_ring_create("audit", 1 << 20, &err);
    cr_assert_eq(shared_ring_map(&w->audit.ring, fd, 1 << 20, &err), 0);
    cr_assert_eq(shared_ring_map(&w->reader, fd, 1 << 20, &err), 0);
    close(fd);
    w->audit.wake_fd = eventfd(0, EFD_NONBLOCK);
    w->fabric = (struct port_fabric){
        &w->level_supervisor, &w->level_own, &w->audit, &w->clock, {.raise_event = NULL}};
    return w;
}

static inline void world_raise(void *context, unsigned target)
{
    (void)context;
    (void)target;
}

static inline void world_make_port(struct world *w, unsigned index)
{
    static const struct limits_config unlimited;
    struct error err;
    const struct vmm_port_config *config = &w->config.ports[index];
    struct world_port *p = &w->ports[index];
    p->world = w;
    p->index = index;
    p->backend = (struct port_backend){
        .kind = (enum port_kind)config->kind,
        .name = "fake",
        .operations = world_operations,
        .operation_count = COUNT(world_operations),
        .submit = world_submit,
        .resume = world_serve,
        .flush = world_nothing,
        .prepare_sleep = world_prepare,
        .forget = world_nothing,
    };
    const struct port_settings settings = {
        .name = config->name,
        .index = (uint16_t)index,
        .backend = &p->backend,
        .backend_state = p,
        .operations = config->operations,
        .max_request_bytes = config->max_request_bytes,
        .max_reply_bytes = config->max_reply_bytes,
        .in_flight = config->in_flight,
        .limits = &unlimited,
        .tight_request_bytes = config->max_request_bytes,
        .tight_reply_bytes = config->max_reply_bytes,
        .tight_limits = &unlimited,
    };
    p->port = port_create(&w->fabric, &settings, &err);
    cr_assert_not_null(p->port, "%s", err.text);
    cr_assert_eq(port_driver_attach(w->devices.drivers[index], p->port, &err), 0, "%s", err.text);
}

static inline void world_start(struct world *w)
{
    struct error err = {0};
    const struct virtio_host host = {world_wake, world_stopping, w};
    w->fabric.host = (struct port_host_operations){.raise_event = world_raise, .context = w};
    for (unsigned i = 0; i < VMM_MAX_DEVICES; i++) {
        w->interrupts[i] = eventfd(0, EFD_NONBLOCK);
        for (unsigned k = 0; k < VIRTIO_MAX_QUEUES; k++)
            w->queues[i][k].base =
                WORLD_QUEUES + ((uint64_t)i * VIRTIO_MAX_QUEUES + k) % 160 * WORLD_STRIDE;
    }
    cr_assert_eq(linux_devices_make(&w->devices, &w->config, &w->memory, w->interrupts, &w->clock,
                                    &host, &err),
                 0, "%s", err.text);
    for (unsigned i = 0; i < w->config.port_count; i++)
        world_make_port(w, i);
    cr_assert_eq(linux_devices_start(&w->devices, &w->poller, &err), 0, "%s", err.text);
}

static inline void world_end(struct world *w)
{
    for (unsigned i = 0; i < w->config.port_count; i++) {
        port_destroy(w->ports[i].port);
        if (w->devices.drivers[i])
            port_driver_close(w->devices.drivers[i]);
    }
    if (w->devices.vsock.buffers)
        munmap(w->devices.vsock.buffers, STREAM_MAX * (size_t)VIRTIO_VSOCK_BUFFER_BYTES);
    shared_ring_unmap(&w->audit.ring);
    shared_ring_unmap(&w->reader);
    munmap(w->ram, WORLD_BYTES);
    free(w);
}

// The driver.

static inline uint32_t world_load(struct world *w, unsigned device, uint64_t offset)
{
    uint32_t value = 0;
    cr_assert(linux_devices_access(
        &w->devices, LINUX_GPA_DEVICES + device * LINUX_DEVICE_BYTES + offset, false, &value, 4));
    return value;
}

static inline void world_store(struct world *w, unsigned device, uint64_t offset, uint32_t value)
{
    cr_assert(linux_devices_access(
        &w->devices, LINUX_GPA_DEVICES + device * LINUX_DEVICE_BYTES + offset, true, &value, 4));
}

static inline void world_bind(struct world *w, unsigned device, unsigned queue)
{
    uint64_t base = w->queues[device][queue].base;
    w->queues[device][queue] = (struct world_queue){.base = base};
    memset(w->ram + base, 0, WORLD_STRIDE);
    world_store(w, device, VIRTIO_QUEUE_SELECT, queue);
    world_store(w, device, VIRTIO_QUEUE_SIZE, WORLD_SIZE);
    world_store(w, device, VIRTIO_QUEUE_DESCRIPTORS_LOW, (uint32_t)base);
    world_store(w, device, VIRTIO_QUEUE_AVAILABLE_LOW, (uint32_t)base + 0x1000);
    world_store(w, device, VIRTIO_QUEUE_USED_LOW, (uint32_t)base + 0x2000);
    world_store(w, device, VIRTIO_QUEUE_READY, 1);
}

// As the specification wants it (virtio 1.2, section 3.1.1), with these features beyond VERSION_1.
static inline void world_drive(struct world *w, unsigned device, uint32_t features)
{
    world_store(w, device, VIRTIO_STATUS, 0);
    world_store(w, device, VIRTIO_STATUS, VIRTIO_STATUS_ACKNOWLEDGE);
    world_store(w, device, VIRTIO_STATUS, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    world_store(w, device, VIRTIO_DRIVER_FEATURES_SELECT, 1);
    world_store(w, device, VIRTIO_DRIVER_FEATURES, 1);
    world_store(w, device, VIRTIO_DRIVER_FEATURES_SELECT, 0);
    world_store(w, device, VIRTIO_DRIVER_FEATURES, features);
    world_store(w, device, VIRTIO_STATUS,
                VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    cr_assert(world_load(w, device, VIRTIO_STATUS) & VIRTIO_STATUS_FEATURES_OK);
    unsigned queues = w->devices.devices[device].settings.queue_count;
    for (unsigned i = 0; i < queues; i++)
        world_bind(w, device, i);
    world_store(w, device, VIRTIO_STATUS,
                VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
                    VIRTIO_STATUS_DRIVER_OK);
    world_settle(w);
}

// A buffer of the guest; each queue has sixteen.
static inline uint8_t *world_buffer(struct world *w, unsigned device, unsigned queue, unsigned slot)
{
    return w->ram + WORLD_BUFFERS +
           ((device * 5u + queue) * 16u + slot) % ((WORLD_BYTES - WORLD_BUFFERS) / WORLD_BUFFER) *
               (size_t)WORLD_BUFFER;
}

// Publishes a chain of a readable and a writable part. Returns its head.
static inline uint16_t world_post(struct world *w, unsigned device, unsigned queue,
                                  const uint8_t *out, uint32_t out_bytes, const uint8_t *in,
                                  uint32_t in_bytes)
{
    struct world_queue *q = &w->queues[device][queue];
    struct virtq_descriptor *table = (struct virtq_descriptor *)(void *)(w->ram + q->base);
    uint16_t head = q->next_descriptor;
    uint16_t at = head;
    if (out_bytes) {
        table[at] = (struct virtq_descriptor){(uint64_t)(out - w->ram), out_bytes,
                                              in_bytes ? VIRTQ_DESCRIPTOR_NEXT : 0,
                                              (uint16_t)((at + 1) % WORLD_SIZE)};
        at = (uint16_t)((at + 1) % WORLD_SIZE);
    }
    if (in_bytes) {
        table[at] =
            (struct virtq_descriptor){(uint64_t)(in - w->ram), in_bytes, VIRTQ_DESCRIPTOR_WRITE, 0};
        at = (uint16_t)((at + 1) % WORLD_SIZE);
    }
    q->next_descriptor = at;
    uint8_t *available = w->ram + q->base + 0x1000;
    memcpy(available + 4 + q->available % WORLD_SIZE * 2u, &head, 2);
    q->available++;
    memcpy(available + 2, &q->available, 2);
    return head;
}

// The next used chain: its head, or -1. *written is what the device says.
static inline int world_used(struct world *w, unsigned device, unsigned queue, uint32_t *written)
{
    struct world_queue *q = &w->queues[device][queue];
    const uint8_t *used = w->ram + q->base + 0x2000;
    struct virtq_used_element element;
    uint16_t index;
    memcpy(&index, used + 2, 2);
    if (index == q->used)
        return -1;
    memcpy(&element, used + 4 + q->used % WORLD_SIZE * 8u, sizeof(element));
    q->used++;
    if (written)
        *written = element.length;
    return (int)element.id;
}

static inline bool world_interrupted(struct world *w, unsigned device)
{
    uint64_t value = 0;
    return read(w->interrupts[device], &value, sizeof(value)) == sizeof(value);
}

#endif
