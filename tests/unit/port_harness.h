// SPDX-License-Identifier: Apache-2.0
// A port with everything around it faked: guest memory, driver, backend, clock, audit reader.
#ifndef TESTS_UNIT_PORT_HARNESS_H
#define TESTS_UNIT_PORT_HARNESS_H

#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "port.h"
#include "support.h"

#define IO_BASE      0x8000000ull
#define IO_BYTES     (8u << 20)
#define QUEUE_SIZE   64u
#define QUEUE_STRIDE 0x4000u
#define BUFFERS      (4 * QUEUE_STRIDE)
#define SLOT_BYTES   0x6000u // request at 0, reply at SLOT_REPLY
#define SLOT_REPLY   0x1000u
#define MAX_RECORDS  8192u

enum {
    OPERATION_WRITE = 1, // takes a payload
    OPERATION_READ = 2,  // gives `argument` bytes
    OPERATION_OTHER = 5, // of the backend, not granted unless a test says so
};

// What the fake backend was asked to do.
struct submitted {
    uint32_t operation, argument, length, capacity;
    uint8_t first; // of the payload
};

struct harness {
    uint8_t *io;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct audit_stream audit;
    struct shared_ring reader;
    struct clock clock;
    uint64_t now;
    struct port_fabric fabric;
    struct port *port;
    unsigned queues;
    uint16_t available[4], used_seen[4];
    unsigned events[8];
    unsigned escalations, escalated_to;
    struct policy_memory document_memory;

    // The fake backend.
    unsigned submits, resumes, flushes, polls, notifies, forgets, sleeps;
    bool pend;        // submit() answers PORT_PENDING
    unsigned finish;  // resume() finishes this many
    bool ready;       // what prepare_sleep() answers
    uint64_t wake_ns; // what prepare_sleep() asks for, or 0
    void (*on_submit)(struct harness *harness, struct port_request *request);
    void (*on_poll)(struct harness *harness);
    void (*on_flush)(struct harness *harness);
    bool (*may_finish)(const struct port_request *request); // instead of `finish`
    struct submitted log[4096];
    uint8_t resumed[65536]; // first payload byte of what resume() was called with
    unsigned resumed_count;

    struct audit_record records[MAX_RECORDS];
    unsigned record_count;
    uint8_t data[8u << 20]; // of the pieces of payloads, in order
    size_t data_bytes;
};

static inline uint64_t harness_now(const struct clock *clock)
{
    return ((struct harness *)clock->context)->now;
}

static inline void harness_raise(void *context, unsigned vcpu)
{
    ((struct harness *)context)->events[vcpu]++;
}

static inline void harness_escalate(void *context, uint16_t port, uint32_t level, uint32_t rule)
{
    struct harness *h = (struct harness *)context;
    (void)port;
    (void)rule;
    h->escalations++;
    h->escalated_to = level;
    if (level > atomic_load(&h->level_own.level))
        atomic_store(&h->level_own.level, level);
}

// Takes one record with its data, which it checks.
static inline void harness_keep_data(struct harness *h, const struct audit_record *record)
{
    uint8_t padding[8] = {0};
    uint32_t length = record->type == AUDIT_PAYLOAD ? record->length : 0;
    cr_assert_leq(length, AUDIT_PIECE_BYTES);
    cr_assert_eq(record->size, audit_record_bytes(length));
    cr_assert_geq(shared_ring_available(&h->reader), record->size);
    cr_assert_leq(h->data_bytes + length, sizeof(h->data));
    shared_ring_peek(&h->reader, sizeof(*record), h->data + h->data_bytes, length);
    shared_ring_peek(&h->reader, sizeof(*record) + length, padding,
                     record->size - sizeof(*record) - length);
    for (unsigned i = 0; i < sizeof(padding); i++)
        cr_assert_eq(padding[i], 0, "padding");
    h->data_bytes += length;
    shared_ring_consume(&h->reader, record->size);
}

static inline void harness_drain(struct harness *h)
{
    audit_stream_flush(&h->audit);
    while (shared_ring_available(&h->reader)) {
        struct audit_record record;
        cr_assert_geq(shared_ring_available(&h->reader), sizeof(record));
        shared_ring_peek(&h->reader, 0, &record, sizeof(record));
        harness_keep_data(h, &record);
        cr_assert_lt(h->record_count, MAX_RECORDS);
        h->records[h->record_count++] = record;
    }
}

static inline enum port_progress harness_finish(struct port_request *request)
{
    if (request->operation == OPERATION_READ) {
        uint32_t n = request->argument < request->reply_capacity ? request->argument
                                                                 : request->reply_capacity;
        memset(request->reply, 'r', n);
        request->reply_length = n;
    }
    return PORT_DONE;
}

static inline enum port_progress harness_submit(void *state, struct port_request *request)
{
    struct harness *h = (struct harness *)state;
    h->log[h->submits++ % COUNT(h->log)] =
        (struct submitted){request->operation, request->argument, request->length,
                           request->reply_capacity, request->length ? request->payload[0] : 0};
    if (h->on_submit)
        h->on_submit(h, request);
    return h->pend ? PORT_PENDING : harness_finish(request);
}

static inline enum port_progress harness_resume(void *state, struct port_request *request)
{
    struct harness *h = (struct harness *)state;
    h->resumes++;
    h->resumed[h->resumed_count++ % COUNT(h->resumed)] = request->length ? request->payload[0] : 0;
    if (h->may_finish)
        return h->may_finish(request) ? harness_finish(request) : PORT_PENDING;
    if (!h->finish)
        return PORT_PENDING;
    h->finish--;
    return harness_finish(request);
}

static inline void harness_poll(void *state)
{
    struct harness *h = (struct harness *)state;
    h->polls++;
    if (h->on_poll)
        h->on_poll(h);
}

static inline void harness_flush(void *state)
{
    struct harness *h = (struct harness *)state;
    h->flushes++;
    if (h->on_flush)
        h->on_flush(h);
}

static inline void harness_notify(void *state)
{
    ((struct harness *)state)->notifies++;
}

static inline bool harness_prepare(void *state, uint64_t *wake_ns)
{
    struct harness *h = (struct harness *)state;
    h->sleeps++;
    if (h->wake_ns && h->wake_ns < *wake_ns)
        *wake_ns = h->wake_ns;
    return h->ready;
}

static inline void harness_forget(void *state)
{
    ((struct harness *)state)->forgets++;
}

static const struct port_operation harness_operations[] = {
    {OPERATION_WRITE, 4096, 0, "write"},
    {OPERATION_READ, 0, 0x4000, "read"},
    {OPERATION_OTHER, 16, 0, "other"},
};

static const struct port_backend harness_backend = {
    .kind = PORT_KIND_CONSOLE,
    .name = "fake",
    .operations = harness_operations,
    .operation_count = COUNT(harness_operations),
    .submit = harness_submit,
    .resume = harness_resume,
    .poll = harness_poll,
    .flush = harness_flush,
    .notify = harness_notify,
    .prepare_sleep = harness_prepare,
    .forget = harness_forget,
};

static inline struct gpa harness_gpa(const struct harness *h, const void *host)
{
    return (struct gpa){IO_BASE + (uint64_t)((const uint8_t *)host - h->io)};
}

static inline uint8_t *harness_buffer(const struct harness *h, unsigned queue, unsigned slot)
{
    return h->io + BUFFERS + ((size_t)queue * QUEUE_SIZE + slot) * SLOT_BYTES;
}

static inline uint8_t *harness_reply(const struct harness *h, unsigned queue, unsigned slot)
{
    return harness_buffer(h, queue, slot) + SLOT_REPLY;
}

#define GRANTED (1ull << OPERATION_WRITE | 1ull << OPERATION_READ)

// What a port is made of; 0 is the default.
struct harness_options {
    unsigned queues;            // 1
    unsigned features;          // of the queues
    uint64_t operations;        // GRANTED
    uint32_t max_request_bytes; // 4096
    uint32_t max_reply_bytes;   // 0x4000
    uint32_t in_flight;         // PORT_MAX_IN_FLIGHT
    bool closed_at_probation;
    // The same as at Standard, unless a test says something else.
    uint32_t tight_request_bytes, tight_reply_bytes;
    const struct limits_config *tight_limits;
    bool logs_payloads, digests_only;
    bool decides_inward;
    const struct policy_arrays *document;
    uint64_t audit_bytes; // 1 MiB
    const struct limits_config *limits;
    const struct port_backend *backend; // harness_backend, with the harness as its state
    void *state;
    // What was used of the totals before.
    uint64_t requests_used, bytes_used, reply_bytes_used;
};

// Makes a port of the harness's fabric that serves its queues from `first_queue` on.
static inline struct port *harness_make_port(struct harness *h, unsigned first_queue,
                                             struct harness_options options)
{
    static const struct limits_config unlimited;
    struct error err;
    const uint32_t request_bytes = options.max_request_bytes ? options.max_request_bytes : 4096;
    const uint32_t reply_bytes = options.max_reply_bytes ? options.max_reply_bytes : 0x4000;
    const struct limits_config *limits = options.limits ? options.limits : &unlimited;
    const struct port_settings settings = {
        .name = "test",
        .index = 7,
        .backend = options.backend ? options.backend : &harness_backend,
        .backend_state = options.backend ? options.state : h,
        .operations = options.operations ? options.operations : GRANTED,
        .max_request_bytes = request_bytes,
        .max_reply_bytes = reply_bytes,
        .in_flight = options.in_flight ? options.in_flight : PORT_MAX_IN_FLIGHT,
        .closed_at_probation = options.closed_at_probation,
        .limits = limits,
        .tight_request_bytes =
            options.tight_request_bytes ? options.tight_request_bytes : request_bytes,
        .tight_reply_bytes = options.tight_reply_bytes ? options.tight_reply_bytes : reply_bytes,
        .tight_limits = options.tight_limits ? options.tight_limits : limits,
        .document = options.document,
        .document_memory = &h->document_memory,
        .has_approvers = true,
        .decides_inward = options.decides_inward,
        .logs_payloads = options.logs_payloads,
        .digests_only = options.digests_only,
        .requests_used = options.requests_used,
        .bytes_used = options.bytes_used,
        .reply_bytes_used = options.reply_bytes_used,
    };
    struct port *port = port_create(&h->fabric, &settings, &err);
    cr_assert_not_null(port, "%s", err.text);
    for (unsigned i = first_queue; i < first_queue + (options.queues ? options.queues : 1); i++) {
        struct virtqueue queue;
        struct gpa base = {IO_BASE + i * QUEUE_STRIDE};
        cr_assert_eq(virtqueue_init(&queue, &h->memory, QUEUE_SIZE, options.features, base,
                                    gpa_add(base, 0x1000), gpa_add(base, 0x2000), &err),
                     0);
        cr_assert_eq(port_add_queue(port, &queue, i, &err), 0);
    }
    return port;
}

static inline void harness_start(struct harness *h, struct harness_options options)
{
    struct error err;
    uint64_t audit_bytes = options.audit_bytes ? options.audit_bytes : 1 << 20;
    *h = (struct harness){.queues = options.queues ? options.queues : 1, .now = 1000000000};
    h->io = (uint8_t *)mmap(NULL, IO_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(h->io, MAP_FAILED);
    cr_assert_eq(guest_memory_add(&h->memory, (struct gpa){IO_BASE}, IO_BYTES, h->io,
                                  GUEST_READ | GUEST_WRITE, &err),
                 0);
    int fd = shared_ring_create("audit", audit_bytes, &err);
    cr_assert_eq(shared_ring_map(&h->audit.ring, fd, audit_bytes, &err), 0);
    cr_assert_eq(shared_ring_map(&h->reader, fd, audit_bytes, &err), 0);
    close(fd);
    h->audit.wake_fd = eventfd(0, EFD_NONBLOCK);
    h->clock = (struct clock){harness_now, harness_now, h};
    h->fabric = (struct port_fabric){
        &h->level_supervisor,
        &h->level_own,
        &h->audit,
        &h->clock,
        {.raise_event = harness_raise, .escalate = harness_escalate, .context = h}};
    if (options.document)
        cr_assert_eq(policy_memory_open(&h->document_memory, &err), 0);
    h->port = harness_make_port(h, 0, options);
}

static inline void harness_end(struct harness *h)
{
    port_destroy(h->port);
    policy_memory_close(&h->document_memory);
    shared_ring_unmap(&h->audit.ring);
    shared_ring_unmap(&h->reader);
    close(h->audit.wake_fd);
    munmap(h->io, IO_BYTES);
}

static inline struct virtq_descriptor *harness_descriptor(struct harness *h, unsigned queue,
                                                          unsigned index)
{
    return (struct virtq_descriptor *)(void *)(h->io + queue * QUEUE_STRIDE) + index;
}

static inline uint16_t *harness_ring(struct harness *h, unsigned queue, bool used)
{
    return (uint16_t *)(void *)(h->io + queue * QUEUE_STRIDE + (used ? 0x2000 : 0x1000));
}

static inline void harness_available(struct harness *h, unsigned queue, uint16_t head)
{
    uint16_t *ring = harness_ring(h, queue, false);
    ring[2 + h->available[queue] % QUEUE_SIZE] = head;
    __atomic_store_n(&ring[1], ++h->available[queue], __ATOMIC_RELEASE);
}

// Writes header, payload and two descriptors (2 * slot, 2 * slot + 1) without making them
// available. The reply area is filled with 0xee.
static inline void harness_prepare_request(struct harness *h, unsigned queue, unsigned slot,
                                           uint32_t operation, const void *payload, uint32_t length,
                                           uint32_t argument, uint32_t reply_room, uint64_t cookie)
{
    uint8_t *buffer = harness_buffer(h, queue, slot);
    struct port_request_header header = {
        .operation = operation, .cookie = cookie, .length = length, .argument = argument};
    memcpy(buffer, &header, sizeof(header));
    if (length)
        memcpy(buffer + sizeof(header), payload, length);
    memset(buffer + SLOT_REPLY, 0xee, SLOT_BYTES - SLOT_REPLY);
    *harness_descriptor(h, queue, 2 * slot) =
        (struct virtq_descriptor){harness_gpa(h, buffer).value, (uint32_t)sizeof(header) + length,
                                  VIRTQ_DESCRIPTOR_NEXT, (uint16_t)(2 * slot + 1)};
    *harness_descriptor(h, queue, 2 * slot + 1) = (struct virtq_descriptor){
        harness_gpa(h, buffer + SLOT_REPLY).value,
        (uint32_t)sizeof(struct port_reply_header) + reply_room, VIRTQ_DESCRIPTOR_WRITE, 0};
}

static inline void harness_post(struct harness *h, unsigned queue, unsigned slot,
                                uint32_t operation, const void *payload, uint32_t length,
                                uint32_t argument, uint64_t cookie)
{
    harness_prepare_request(h, queue, slot, operation, payload, length, argument,
                            operation == OPERATION_READ ? argument : 0, cookie);
    harness_available(h, queue, (uint16_t)(2 * slot));
}

static inline uint16_t harness_used(struct harness *h, unsigned queue)
{
    return __atomic_load_n(&harness_ring(h, queue, true)[1], __ATOMIC_ACQUIRE);
}

static inline struct virtq_used_element harness_used_element(struct harness *h, unsigned queue,
                                                             unsigned index)
{
    struct virtq_used_element element;
    memcpy(&element, (uint8_t *)harness_ring(h, queue, true) + 4 + index % QUEUE_SIZE * 8, 8);
    return element;
}

static inline struct port_reply_header harness_header(struct harness *h, unsigned queue,
                                                      unsigned slot)
{
    struct port_reply_header header;
    memcpy(&header, harness_reply(h, queue, slot), sizeof(header));
    return header;
}

static inline void harness_untouched(struct harness *h, unsigned queue, unsigned slot)
{
    const uint8_t *reply = harness_reply(h, queue, slot);
    for (unsigned i = 0; i < SLOT_BYTES - SLOT_REPLY; i++)
        cr_assert_eq(reply[i], 0xee, "byte %u of the reply was written", i);
}

static inline unsigned harness_count(struct harness *h, enum audit_type type)
{
    unsigned count = 0;
    harness_drain(h);
    for (unsigned i = 0; i < h->record_count; i++)
        count += h->records[i].type == type;
    return count;
}

#endif
