// SPDX-License-Identifier: Apache-2.0
// A backend link, the port in front of it and a scripted process behind it, in one thread: the
// process is whatever the test writes into the shared memory.
#ifndef TESTS_UNIT_LINK_WORLD_H
#define TESTS_UNIT_LINK_WORLD_H

#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend_link.h"
#include "support.h"

#define LINK_MAX_REQUEST 300u
#define LINK_MAX_REPLY   500u
#define LINK_TIMEOUT_MS  100u
#define LINK_REQUESTS    128u // places for requests, reused in turn
#define CANARY           64u
#define CANARY_BYTE      0xc3

enum {
    OPERATION = 3,
};

// A request as the fabric holds it. Its reply lies between canaries.
struct link_request {
    struct port_request request;
    uint8_t payload[LINK_MAX_REQUEST];
    uint8_t reply[CANARY + LINK_MAX_REPLY + CANARY];
    bool waits;    // at the link: not finished, not forgotten
    uint64_t hash; // of `reply` when the request ended
    uint64_t since_ns;
};

struct link_world {
    struct vmm_port_config port;
    struct backend_layout layout;
    struct backend_link link;
    struct level_page level_supervisor, level_own;
    struct port_fabric fabric;
    struct clock clock;
    uint64_t now;
    unsigned reports;
    enum vmm_port_event_kind last_report;
    int wake_fd;
    uint8_t *memory; // the process's mapping
    uint16_t taken;  // available entries that the process has taken
    uint16_t used;   // its used index
    uint64_t number;
    unsigned next; // place
    struct link_request requests[LINK_REQUESTS];
};

static inline uint64_t link_now(const struct clock *clock)
{
    return ((struct link_world *)clock->context)->now;
}

static inline void link_report(void *context, unsigned port, enum vmm_port_event_kind event)
{
    struct link_world *w = (struct link_world *)context;
    cr_assert_eq(port, 5u);
    w->reports++;
    w->last_report = event;
}

static inline enum port_progress link_unused(void *state, struct port_request *request)
{
    (void)state;
    (void)request;
    cr_assert_fail("the backend's own code runs in the VMM");
    return PORT_DONE;
}

static const struct port_operation link_operations[] = {
    {OPERATION, PORT_MAX_BYTES, PORT_MAX_BYTES, "work"},
};

static const struct port_backend link_backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "scripted",
    .operations = link_operations,
    .operation_count = COUNT(link_operations),
    .submit = link_unused,
    .resume = link_unused,
};

static inline void world_start(struct link_world *w, uint32_t in_flight)
{
    struct error err;
    memset(w, 0, sizeof(*w));
    w->now = 1000000000;
    w->clock = (struct clock){link_now, link_now, w};
    w->fabric = (struct port_fabric){
        .level_supervisor = &w->level_supervisor, .level_own = &w->level_own, .clock = &w->clock};
    w->port = (struct vmm_port_config){
        .name = "tool",
        .kind = VMM_PORT_LOOPBACK,
        .operations = 1u << OPERATION,
        .max_request_bytes = LINK_MAX_REQUEST,
        .max_reply_bytes = LINK_MAX_REPLY,
        .in_flight = in_flight,
        .process = 1,
        .closed_at_probation = 1,
        .timeout_ms = LINK_TIMEOUT_MS,
    };
    backend_layout_init(&w->layout, &w->port);
    int fd = memfd_create("link", 0);
    cr_assert_eq(ftruncate(fd, (off_t)w->layout.bytes), 0);
    w->memory = (uint8_t *)mmap(NULL, w->layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(w->memory, MAP_FAILED);
    w->wake_fd = eventfd(0, EFD_NONBLOCK);
    const struct backend_link_settings settings = {
        .backend = &link_backend,
        .port = &w->port,
        .port_index = 5,
        .memory_fd = fd,
        .wake_fd = w->wake_fd,
        .fabric = &w->fabric,
        .report = link_report,
        .context = w,
    };
    cr_assert_eq(backend_link_init(&w->link, &settings, &err), 0, "%s", err.text);
    close(fd);
}

static inline void world_end(struct link_world *w)
{
    munmap(w->memory, w->layout.bytes);
    munmap(w->link.memory, w->layout.bytes);
    close(w->wake_fd);
}

static inline unsigned wake_ups(struct link_world *w)
{
    uint64_t value = 0;
    return read(w->wake_fd, &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

// The port's side.

static inline uint64_t reply_hash(const struct link_request *r)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < sizeof(r->reply); i++)
        hash = hash * 1099511628211ull + r->reply[i];
    return hash;
}

// Nothing is written outside a reply's capacity, and nothing at all once the request has ended.
static inline void check_reply(const struct link_request *r)
{
    uint32_t capacity = r->request.reply_capacity;
    if (!r->request.number)
        return;
    for (unsigned i = 0; i < CANARY; i++)
        cr_assert_eq(r->reply[i], CANARY_BYTE, "written in front of a reply");
    for (unsigned i = CANARY + capacity; i < sizeof(r->reply); i++)
        cr_assert_eq(r->reply[i], CANARY_BYTE, "written behind a reply's capacity");
    if (!r->waits)
        cr_assert_eq(reply_hash(r), r->hash, "written after the end of its request");
}

static inline void ended(struct link_request *r, enum port_progress progress)
{
    r->waits = progress == PORT_PENDING;
    if (r->waits)
        return;
    r->hash = reply_hash(r);
    check_reply(r);
    cr_assert_leq(r->request.status, 4095u);
    cr_assert_leq(r->request.reply_length, r->request.reply_capacity);
}

static inline struct link_request *submit(struct link_world *w, uint32_t length, uint32_t capacity)
{
    struct link_request *r = &w->requests[w->next];
    cr_assert_not(r->waits);
    w->next = (w->next + 1) % LINK_REQUESTS;
    w->number++;
    memset(r->reply, CANARY_BYTE, sizeof(r->reply));
    for (uint32_t i = 0; i < length; i++)
        r->payload[i] = (uint8_t)(w->number + i);
    r->since_ns = w->now;
    r->request = (struct port_request){
        .number = w->number,
        .operation = OPERATION,
        .argument = (uint32_t)(w->number * 3),
        .length = length,
        .reply_capacity = capacity,
        .payload = r->payload,
        .reply = r->reply + CANARY,
    };
    ended(r, w->link.backend.submit(&w->link, &r->request));
    return r;
}

// A pass of the poller over the port: requests in order of arrival.
static inline void pass(struct link_world *w)
{
    w->link.backend.poll(&w->link);
    for (unsigned i = 0; i < LINK_REQUESTS; i++) {
        struct link_request *r = &w->requests[(w->next + i) % LINK_REQUESTS];
        if (r->waits)
            ended(r, w->link.backend.resume(&w->link, &r->request));
    }
    w->link.backend.flush(&w->link);
}

static inline void tick(struct link_world *w)
{
    w->link.backend.notify(&w->link);
}

// The port drops all that is in flight: from here on the memory of those requests is others'.
static inline void forget(struct link_world *w)
{
    w->link.backend.forget(&w->link);
    for (unsigned i = 0; i < LINK_REQUESTS; i++) {
        struct link_request *r = &w->requests[i];
        if (r->waits)
            r->hash = reply_hash(r);
        r->waits = false;
    }
}

static inline void order(struct link_world *w, bool up)
{
    backend_link_order(&w->link, up);
    pass(w);
    if (up)
        w->taken = w->used = 0; // the process is another one
}

static inline void start_up(struct link_world *w, uint32_t in_flight)
{
    world_start(w, in_flight);
    order(w, true);
    cr_assert(backend_link_is_up(&w->link));
}

static inline void expect_status(const struct link_request *r, uint32_t status)
{
    cr_assert_not(r->waits, "it still waits");
    cr_expect_eq(r->request.status, status, "status %u, not %u", r->request.status, status);
    if (status)
        cr_expect_eq(r->request.reply_length, 0u);
}

// The process's side: what it is handed, and what it does with it.

static inline uint16_t *peer16(struct link_world *w, uint64_t offset)
{
    return (uint16_t *)(void *)(w->memory + offset);
}

static inline unsigned peer_waiting(struct link_world *w)
{
    return (uint16_t)(*peer16(w, w->layout.available + VIRTQ_RING_INDEX) - w->taken);
}

// Takes the next chain. Returns its head.
static inline uint16_t peer_take(struct link_world *w)
{
    cr_assert_gt(peer_waiting(w), 0u, "nothing was sent");
    uint64_t entry = w->taken++ & (w->layout.queue_size - 1);
    return *peer16(w, w->layout.available + VIRTQ_RING_ENTRIES + entry * 2);
}

static inline uint8_t *peer_request(struct link_world *w, uint16_t head)
{
    return w->memory + w->layout.buffers + head / 2 * w->layout.stride;
}

static inline struct port_request_header peer_header(struct link_world *w, uint16_t head)
{
    struct port_request_header header;
    memcpy(&header, peer_request(w, head), sizeof(header));
    return header;
}

static inline uint8_t *peer_reply(struct link_world *w, uint16_t head)
{
    return peer_request(w, head) + w->layout.reply;
}

static inline void peer_push(struct link_world *w, uint32_t id, uint32_t written)
{
    const struct virtq_used_element element = {id, written};
    uint64_t entry = w->used & (w->layout.queue_size - 1);
    memcpy(w->memory + w->layout.used + VIRTQ_RING_ENTRIES + entry * 8, &element, 8);
    *peer16(w, w->layout.used + VIRTQ_RING_INDEX) = ++w->used;
}

static inline void peer_put(struct link_world *w, uint16_t head, uint32_t status, uint64_t cookie,
                            uint32_t length)
{
    const struct port_reply_header header = {status, length, cookie};
    memcpy(peer_reply(w, head), &header, sizeof(header));
}

// An honest answer: `length` bytes that follow from the request's number.
static inline void peer_answer(struct link_world *w, uint16_t head, uint32_t status,
                               uint32_t length)
{
    uint64_t cookie = peer_header(w, head).cookie;
    peer_put(w, head, status, cookie, length);
    memset(peer_reply(w, head) + sizeof(struct port_reply_header), (int)(cookie % 251), length);
    peer_push(w, head, (uint32_t)sizeof(struct port_reply_header) + length);
}

static inline void expect_answer(const struct link_request *r, uint32_t length)
{
    expect_status(r, 0);
    cr_assert_eq(r->request.reply_length, length);
    for (uint32_t i = 0; i < length; i++)
        cr_assert_eq(r->request.reply[i], r->request.number % 251, "byte %u", i);
}

#endif
