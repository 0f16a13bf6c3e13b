// SPDX-License-Identifier: Apache-2.0
// Fuzzes the queue between the fabric and a backend process, from both ends: a process that writes
// anything into the memory that both share, and a VMM that does.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend_link.h"
#include "port_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BYTES     0x1000u
#define STEPS     160u
#define CANARY    0xa5
#define MAX_REPLY 64u
#define SLOTS     4u

static const struct limits_config unlimited;
static struct world world;

// The hostile process.
static struct {
    struct backend_link link;
    struct port_backend front;
    uint8_t *memory;
    uint8_t before[WORLD_BYTES];
    uint16_t taken;    // of the available ring
    uint32_t reported; // the order after which it was last reported, + 1
    const struct port_request *at_link[PORT_MAX_IN_FLIGHT];
    unsigned at_link_count;
} p;

static const struct vmm_port_config grant = {
    .operations = WORLD_GRANTED,
    .max_request_bytes = 64,
    .max_reply_bytes = MAX_REPLY,
    .in_flight = SLOTS,
    .timeout_ms = 100,
};

static void report(void *context, unsigned port, enum vmm_port_event_kind event)
{
    (void)context;
    world_require(port == 7 && (event == VMM_PORT_EVENT_BROKEN || event == VMM_PORT_EVENT_HUNG));
    // Once, until another process is there.
    world_require(p.reported != p.link.obeyed + 1 && !backend_link_is_up(&p.link));
    p.reported = p.link.obeyed + 1;
}

static bool same(uint64_t offset, uint64_t length)
{
    return memcmp(p.memory + offset, p.before + offset, length) == 0;
}

// The fabric writes descriptors, available ring and the requests of slots that it sends. The used
// ring is the process's, but for the moment when another process takes its place.
static void check_memory(void)
{
    static const uint8_t zeros[WORLD_BYTES];
    const struct backend_layout *layout = &p.link.layout;
    const uint64_t used = layout->buffers - layout->used;
    world_require(same(layout->used, used) || memcmp(p.memory + layout->used, zeros, used) == 0);
    for (uint64_t i = 0; i < layout->slots; i++)
        world_require(same(layout->buffers + i * layout->stride + layout->reply,
                           layout->stride - layout->reply));
    uint64_t end = layout->buffers + layout->slots * layout->stride;
    world_require(same(end, layout->bytes - end));
}

static void enter(void)
{
    memcpy(p.before, p.memory, p.link.layout.bytes);
}

static void leave(void)
{
    check_memory();
    world_require(p.link.sent_count <= p.link.layout.slots);
}

static enum port_progress check(struct port_request *request, enum port_progress progress)
{
    unsigned at = 0;
    while (at < p.at_link_count && p.at_link[at] != request)
        at++;
    world_require(at < p.at_link_count);
    if (progress != PORT_DONE)
        return progress;
    p.at_link[at] = p.at_link[--p.at_link_count];
    world_unchanged(&world, request);
    world_require(request->reply_length <= request->reply_capacity && request->status <= 4095);
    for (uint32_t i = request->reply_capacity; i < MAX_REPLY; i++)
        world_require(request->reply[i] == CANARY);
    return PORT_DONE;
}

static enum port_progress submit(void *state, struct port_request *request)
{
    world_submitted(&world, request);
    memset(request->reply + request->reply_capacity, CANARY, MAX_REPLY - request->reply_capacity);
    p.at_link[p.at_link_count++] = request;
    enter();
    enum port_progress progress = p.link.backend.submit(state, request);
    leave();
    return check(request, progress);
}

static enum port_progress resume(void *state, struct port_request *request)
{
    enter();
    enum port_progress progress = p.link.backend.resume(state, request);
    leave();
    return check(request, progress);
}

static void look(void *state)
{
    enter();
    p.link.backend.poll(state);
    leave();
}

static void flush(void *state)
{
    enter();
    p.link.backend.flush(state);
    leave();
}

static void notify(void *state)
{
    enter();
    p.link.backend.notify(state);
    leave();
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    enter();
    bool ready = p.link.backend.prepare_sleep(state, wake_ns);
    leave();
    return ready;
}

static void forget(void *state)
{
    p.at_link_count = 0;
    p.link.backend.forget(state);
}

static const struct port_backend offered = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "process",
    .operations = world_operations,
    .operation_count = COUNT(world_operations),
};

static void start_process(void)
{
    static int memory_fd = -1;
    struct backend_layout layout;
    struct error err;
    backend_layout_init(&layout, &grant);
    world_require(layout.bytes <= WORLD_BYTES);
    if (memory_fd < 0) {
        memory_fd = memfd_create("fuzz-link", MFD_CLOEXEC);
        world_require(memory_fd >= 0 && ftruncate(memory_fd, (off_t)layout.bytes) == 0);
    }
    memset(&p, 0, sizeof(p));
    const struct backend_link_settings settings = {
        .backend = &offered,
        .port = &grant,
        .port_index = 7,
        .memory_fd = memory_fd,
        .wake_fd = -1,
        .fabric = &world.fabric,
        .report = report,
    };
    world_require(backend_link_init(&p.link, &settings, &err) == 0);
    p.memory = p.link.memory;
    memset(p.memory + layout.buffers, 0, layout.bytes - layout.buffers);
    p.front = p.link.backend;
    p.front.submit = submit;
    p.front.resume = resume;
    p.front.poll = look;
    p.front.flush = flush;
    p.front.notify = notify;
    p.front.prepare_sleep = prepare_sleep;
    p.front.forget = forget;
}

static uint16_t load16(uint64_t offset)
{
    uint16_t value;
    memcpy(&value, p.memory + offset, sizeof(value));
    return value;
}

static void store(uint64_t offset, uint64_t value, size_t length)
{
    if (offset < p.link.layout.bytes && length <= p.link.layout.bytes - offset)
        memcpy(p.memory + offset, &value, length);
}

// Answers the next request, honestly but for what `lie` says.
static void answer(uint8_t lie, uint8_t how, uint8_t length)
{
    const struct backend_layout *layout = &p.link.layout;
    uint16_t mask = (uint16_t)(layout->queue_size - 1);
    struct virtq_descriptor descriptor;
    struct port_request_header request;
    if (load16(layout->available + VIRTQ_RING_INDEX) == p.taken && !(lie & 1))
        return;
    uint32_t head = load16(layout->available + VIRTQ_RING_ENTRIES + (p.taken++ & mask) * 2u) & mask;
    memcpy(&descriptor, p.memory + head * sizeof(descriptor), sizeof(descriptor));
    if (descriptor.address > layout->bytes - layout->stride)
        return;
    memcpy(&request, p.memory + descriptor.address, sizeof(request));
    uint64_t reply = descriptor.address + layout->reply;
    struct port_reply_header header = {
        .status = lie & 2 ? how * 77u : 0,
        .length = length % (MAX_REPLY + 8),
        .cookie = request.cookie + (lie & 4 ? how : 0),
    };
    uint32_t written = (uint32_t)sizeof(header) + header.length;
    if (lie & 8)
        header.length = (uint32_t)how << 8 | length;
    if (lie & 16)
        written = how;
    if (lie & 32)
        head = how;
    memcpy(p.memory + reply, &header, sizeof(header));
    uint16_t used = load16(layout->used + VIRTQ_RING_INDEX);
    uint64_t element = layout->used + VIRTQ_RING_ENTRIES + (used & mask) * 8u;
    store(element, head, 4);
    store(element + 4, written, 4);
    store(layout->used + VIRTQ_RING_INDEX, used + 1u + (lie >> 6 & 1), 2);
}

// As the supervisor does: no process is up before the last one is down.
static void order(bool up)
{
    if (up && backend_link_is_up(&p.link))
        return;
    if (up && p.link.order)
        backend_link_order(&p.link, false);
    backend_link_order(&p.link, up);
    p.taken = 0;
}

// What the process and the supervisor do.
static void act(const uint8_t *code)
{
    uint64_t offset = ((uint64_t)code[1] << 8 | code[2]) % p.link.layout.bytes;
    switch (code[0] / 32) {
    case 0:
        store(offset, code[3], 1);
        break;
    case 1: // the used ring
        store(p.link.layout.used + code[1] % 80, code[3] | code[2] << 8, 2);
        break;
    case 2: // some slot's reply
        store(p.link.layout.buffers + code[1] % SLOTS * p.link.layout.stride + p.link.layout.reply +
                  code[2] % 32,
              code[3], code[1] & 0x80 ? 4 : 1);
        break;
    case 3:
        order(code[1] & 1);
        break;
    case 4:
        order(false);
        world_serve(&world, 1);
        order(true);
        break;
    default:
        answer(code[1], code[2], code[3]);
        break;
    }
}

// A process that is gone leaves nothing unanswered.
static void end_process(void)
{
    order(false);
    atomic_store(&world.level_supervisor.level, LEVEL_STANDARD);
    atomic_store(&world.level_own.level, LEVEL_STANDARD);
    atomic_store(&world.level_supervisor.hold, 0);
    atomic_store(&world.level_own.hold, 0);
    world_finish(&world, true);
    world_require(p.at_link_count == 0);
    munmap(p.memory, p.link.layout.bytes);
}

static void against_process(struct world_input *input)
{
    struct world_settings settings = {
        .base = 0x10000,
        .bytes = BYTES,
        .queues = 1,
        .queue_size = 16,
        .at = {{0, 0x100, 0x140}},
        .buffers = 0x400,
        .in_flight = 1u + world_byte(input) % SLOTS,
        .max_request = grant.max_request_bytes,
        .max_reply = grant.max_reply_bytes,
        .limits = &unlimited,
        .audit_bytes = WORLD_AUDIT_BYTES,
        .backend = &p.front,
        .backend_state = &p.link,
    };
    start_process();
    world_start(&world, &settings);
    for (unsigned step = 0; step < STEPS && input->size >= 4; step++) {
        if (!world_act(&world, input->data))
            act(input->data);
        input->data += 4;
        input->size -= 4;
    }
    end_process();
}

// The process's port, as devices/backend_process.c makes it.
static void against_vmm(struct world_input *input)
{
    struct backend_layout layout;
    backend_layout_init(&layout, &grant);
    const struct world_settings settings = {
        .base = 0,
        .bytes = (uint32_t)layout.bytes,
        .queues = 1,
        .queue_size = (uint16_t)layout.queue_size,
        .at = {{(uint32_t)layout.descriptors, (uint32_t)layout.available, (uint32_t)layout.used}},
        .buffers = (uint32_t)layout.buffers,
        .in_flight = grant.in_flight,
        .max_request = grant.max_request_bytes,
        .max_reply = grant.max_reply_bytes,
        .limits = &unlimited,
        .audit_bytes = WORLD_AUDIT_BYTES,
    };
    world_start(&world, &settings);
    for (unsigned step = 0; step < STEPS && input->size >= 4; step++) {
        uint8_t code[4];
        memcpy(code, input->data, sizeof(code));
        // Stores go where the queue is: the memory is mostly empty.
        if (code[0] % 32 < 2 && code[1] & 0x40)
            code[1] = (uint8_t)(layout.buffers * (code[1] % 4) / 3 >> 8);
        if (!world_act(&world, code))
            world_serve(&world, 32);
        input->data += 4;
        input->size -= 4;
    }
    world_finish(&world, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world_input input = {data, size};
    if (world_byte(&input) & 1)
        against_vmm(&input);
    else
        against_process(&input);
    return 0;
}
