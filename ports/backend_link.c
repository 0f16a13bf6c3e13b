// SPDX-License-Identifier: Apache-2.0
// The fabric's end of a backend process.
#include "backend_link.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct port_request_header) == 24, "backend_protocol.c counts on it");
_Static_assert(sizeof(struct port_reply_header) == 16, "backend_protocol.c counts on it");
_Static_assert(VMM_MAX_IN_FLIGHT == PORT_MAX_IN_FLIGHT, "a slot for each request");

// The tag of a request that no slot was free for.
#define NO_TAG UINT32_MAX

// Highest status that a backend may answer with: Linux errno values end there.
#define STATUS_MAX 4095u

static uint16_t load16(const uint8_t *address)
{
    return __atomic_load_n((const uint16_t *)(const void *)address, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *address, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)address, value, __ATOMIC_RELEASE);
}

static uint8_t *available(const struct backend_link *link, uint64_t offset)
{
    return link->memory + link->layout.available + offset;
}

static uint8_t *used(const struct backend_link *link, uint64_t offset)
{
    return link->memory + link->layout.used + offset;
}

static uint8_t *buffer(const struct backend_link *link, uint32_t tag)
{
    return link->memory + link->layout.buffers + tag * link->layout.stride;
}

static void finish(struct backend_link_slot *slot, uint32_t status)
{
    if (slot->state != LINK_SLOT_SENT)
        return;
    slot->request->status = status;
    slot->request->reply_length = 0;
    slot->state = LINK_SLOT_DONE;
}

// True if the process has the slot's buffers, whether or not somebody waits for the reply.
static bool is_at_process(const struct backend_link_slot *slot)
{
    return slot->state == LINK_SLOT_SENT || slot->state == LINK_SLOT_FORGOTTEN;
}

static void set_up(struct backend_link *link, bool up)
{
    link->up = up;
    atomic_store_explicit(&link->is_up, up, memory_order_relaxed);
}

// Nothing more is sent or taken until the supervisor has put another process in this one's place.
static void give_up(struct backend_link *link, enum vmm_port_event_kind event)
{
    set_up(link, false);
    for (uint32_t tag = 0; tag < link->layout.slots; tag++)
        finish(&link->slots[tag], PORT_STATUS_LOST);
    link->report(link->context, link->port, event);
}

// Makes the queue ready for another process. The old one is dead.
static void reset(struct backend_link *link)
{
    for (uint32_t tag = 0; tag < link->layout.slots; tag++) {
        struct backend_link_slot *slot = &link->slots[tag];
        finish(slot, PORT_STATUS_LOST);
        if (slot->state == LINK_SLOT_FORGOTTEN)
            slot->state = LINK_SLOT_FREE;
    }
    memset(link->memory, 0, link->layout.buffers);
    link->next_available = link->last_used = link->sent_count = 0;
    link->sent = link->wants_events = false;
    store16(available(link, VIRTQ_RING_FLAGS), VIRTQ_AVAILABLE_NO_INTERRUPT);
}

static void obey(struct backend_link *link)
{
    uint32_t order = atomic_load_explicit(&link->order, memory_order_acquire);
    if (order == link->obeyed)
        return;
    uint32_t last = link->obeyed >> 1;
    link->obeyed = order;
    link->awaited = false;
    // Down clears the rings for the next process; also a down that an up has overtaken.
    if (!(order & 1) || order >> 1 != last + 1)
        reset(link);
    set_up(link, order & 1);
}

// Puts a request into a free slot. Returns false if there is none.
static bool send(struct backend_link *link, struct port_request *request)
{
    uint32_t tag = 0;
    while (tag < link->layout.slots && link->slots[tag].state != LINK_SLOT_FREE)
        tag++;
    if (tag == link->layout.slots)
        return false;
    uint8_t *memory = buffer(link, tag);
    const struct port_request_header header = {
        .operation = request->operation,
        .cookie = request->number,
        .length = request->length,
        .argument = request->argument,
    };
    memcpy(memory, &header, sizeof(header));
    memcpy(memory + sizeof(header), request->payload, request->length);
    struct virtq_descriptor *descriptors = (void *)(link->memory + link->layout.descriptors);
    uint64_t address = link->layout.buffers + tag * link->layout.stride;
    descriptors[2 * tag] = (struct virtq_descriptor){
        .address = address,
        .length = (uint32_t)sizeof(header) + request->length,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = (uint16_t)(2 * tag + 1),
    };
    descriptors[2 * tag + 1] = (struct virtq_descriptor){
        .address = address + link->layout.reply,
        .length = (uint32_t)sizeof(struct port_reply_header) + request->reply_capacity,
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
    uint64_t entry = link->next_available & (link->layout.queue_size - 1);
    store16(available(link, VIRTQ_RING_ENTRIES + entry * 2), (uint16_t)(2 * tag));
    store16(available(link, VIRTQ_RING_INDEX), ++link->next_available);
    link->slots[tag] = (struct backend_link_slot){
        .state = LINK_SLOT_SENT,
        .request = request,
        .number = request->number,
        .deadline_ns = clock_now_ns(link->fabric->clock) + link->timeout_ns,
    };
    link->sent_count++;
    link->sent = true;
    request->tag = tag;
    return true;
}

static enum port_progress link_submit(void *state, struct port_request *request)
{
    struct backend_link *link = state;
    request->tag = NO_TAG;
    if (link->up)
        send(link, request);
    if (link->up || link->awaited)
        return PORT_PENDING;
    request->status = PORT_STATUS_DOWN;
    return PORT_DONE;
}

static enum port_progress link_resume(void *state, struct port_request *request)
{
    struct backend_link *link = state;
    if (request->tag == NO_TAG)
        return link_submit(link, request);
    struct backend_link_slot *slot = &link->slots[request->tag];
    if (slot->state != LINK_SLOT_DONE)
        return PORT_PENDING;
    slot->state = LINK_SLOT_FREE;
    return PORT_DONE;
}

// Takes one entry of the used ring: copies it once, checks it, copies the reply. Returns false if
// it breaks a rule.
static bool take_reply(struct backend_link *link)
{
    uint64_t entry = link->last_used & (link->layout.queue_size - 1);
    const struct virtq_used_element *shared =
        (const void *)used(link, VIRTQ_RING_ENTRIES + entry * sizeof(*shared));
    uint32_t id = __atomic_load_n(&shared->id, __ATOMIC_RELAXED);
    uint32_t written = __atomic_load_n(&shared->length, __ATOMIC_RELAXED);
    if (id % 2 || id / 2 >= link->layout.slots)
        return false;
    struct backend_link_slot *slot = &link->slots[id / 2];
    if (!is_at_process(slot))
        return false;
    link->last_used++;
    link->sent_count--;
    if (slot->state == LINK_SLOT_FORGOTTEN) {
        slot->state = LINK_SLOT_FREE;
        return true;
    }
    // The process dropped it: its own gate was shut.
    if (written == 0) {
        finish(slot, PORT_STATUS_CLOSED);
        return true;
    }
    struct port_request *request = slot->request;
    struct port_reply_header header;
    const uint8_t *reply = buffer(link, id / 2) + link->layout.reply;
    memcpy(&header, reply, sizeof(header));
    if (header.cookie != slot->number || header.status > STATUS_MAX ||
        header.length > request->reply_capacity || written != sizeof(header) + header.length)
        return false;
    memcpy(request->reply, reply + sizeof(header), header.length);
    finish(slot, header.status);
    request->reply_length = header.length;
    return true;
}

static void link_poll(void *state)
{
    struct backend_link *link = state;
    obey(link);
    if (!link->up)
        return;
    if (link->wants_events) {
        link->wants_events = false;
        store16(available(link, VIRTQ_RING_FLAGS), VIRTQ_AVAILABLE_NO_INTERRUPT);
    }
    uint16_t ready = (uint16_t)(load16(used(link, VIRTQ_RING_INDEX)) - link->last_used);
    bool sound = ready <= link->sent_count;
    for (; ready && sound; ready--)
        sound = take_reply(link);
    if (!sound)
        give_up(link, VMM_PORT_EVENT_BROKEN);
}

static void link_flush(void *state)
{
    struct backend_link *link = state;
    if (!link->sent)
        return;
    link->sent = false;
    // Between publishing and looking at the flag (virtio 1.2, 2.7.13.4).
    atomic_thread_fence(memory_order_seq_cst);
    if (!(load16(used(link, VIRTQ_RING_FLAGS)) & VIRTQ_USED_NO_NOTIFY)) {
        uint64_t one = 1;
        ssize_t ignored = write(link->wake_fd, &one, sizeof(one));
        (void)ignored;
    }
}

// Also looks after requests that the process does not answer. One is enough: who hangs once is not
// asked again.
static void link_notify(void *state)
{
    struct backend_link *link = state;
    if (!link->up || !link->sent_count)
        return;
    uint64_t now_ns = clock_now_ns(link->fabric->clock);
    // The process looks at the same gate: while it is not open, nothing comes back.
    bool held = level_gate_up_to(link->fabric->level_supervisor, link->fabric->level_own,
                                 link->highest) != LEVEL_GATE_OPEN;
    bool hangs = false;
    for (uint32_t tag = 0; tag < link->layout.slots; tag++) {
        struct backend_link_slot *slot = &link->slots[tag];
        if (!is_at_process(slot))
            continue;
        if (held || link->was_held)
            slot->deadline_ns = now_ns + link->timeout_ns;
        if (now_ns >= slot->deadline_ns) {
            finish(slot, PORT_STATUS_TIMED_OUT);
            hangs = true;
        }
    }
    link->was_held = held;
    if (hangs)
        give_up(link, VMM_PORT_EVENT_HUNG);
}

static bool link_prepare_sleep(void *state, uint64_t *wake_ns)
{
    struct backend_link *link = state;
    if (atomic_load_explicit(&link->order, memory_order_acquire) != link->obeyed)
        return true;
    for (uint32_t tag = 0; tag < link->layout.slots; tag++) {
        const struct backend_link_slot *slot = &link->slots[tag];
        if (slot->state == LINK_SLOT_DONE)
            return true;
        if (link->up && is_at_process(slot) && slot->deadline_ns < *wake_ns)
            *wake_ns = slot->deadline_ns;
    }
    if (!link->up)
        return !link->awaited; // what waits for a slot is to be refused
    link->wants_events = true;
    store16(available(link, VIRTQ_RING_FLAGS), 0);
    atomic_thread_fence(memory_order_seq_cst);
    return load16(used(link, VIRTQ_RING_INDEX)) != link->last_used;
}

static void link_forget(void *state)
{
    struct backend_link *link = state;
    for (uint32_t tag = 0; tag < link->layout.slots; tag++) {
        struct backend_link_slot *slot = &link->slots[tag];
        slot->request = NULL;
        if (slot->state == LINK_SLOT_SENT)
            slot->state = LINK_SLOT_FORGOTTEN;
        else if (slot->state == LINK_SLOT_DONE)
            slot->state = LINK_SLOT_FREE;
    }
}

int backend_link_init(struct backend_link *link, const struct backend_link_settings *settings,
                      struct error *err)
{
    struct stat status;
    *link = (struct backend_link){
        .backend = *settings->backend,
        .wake_fd = settings->wake_fd,
        .fabric = settings->fabric,
        .awaited = true,
        .highest = settings->port->closed_at_probation ? LEVEL_STANDARD : LEVEL_PROBATION,
        .timeout_ns = settings->port->timeout_ms * NS_PER_MS,
        .report = settings->report,
        .context = settings->context,
        .port = settings->port_index,
    };
    link->backend.submit = link_submit;
    link->backend.resume = link_resume;
    link->backend.poll = link_poll;
    link->backend.flush = link_flush;
    link->backend.notify = link_notify;
    link->backend.prepare_sleep = link_prepare_sleep;
    link->backend.forget = link_forget;
    backend_layout_init(&link->layout, settings->port);
    if (link->layout.slots > VMM_MAX_IN_FLIGHT)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "backend link: too many slots");
    if (fstat(settings->memory_fd, &status) < 0 || status.st_size < 0 ||
        (uint64_t)status.st_size < link->layout.bytes)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "backend link: memory is too small");
    void *memory =
        mmap(NULL, link->layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, settings->memory_fd, 0);
    if (memory == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map backend link");
    link->memory = memory;
    reset(link);
    return 0;
}

void backend_link_order(struct backend_link *link, bool up)
{
    // The lowest bit is the order, the rest makes each one new. One thread gives orders.
    uint32_t last = atomic_load_explicit(&link->order, memory_order_relaxed);
    atomic_store(&link->order, ((last | 1) + 1) | up);
}

bool backend_link_is_up(const struct backend_link *link)
{
    return atomic_load_explicit(&link->is_up, memory_order_relaxed);
}
