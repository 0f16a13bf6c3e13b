// SPDX-License-Identifier: Apache-2.0
// Ports whose backend is a process: the fabric's end of the shared queue against a port that serves
// the other end, as the process does, while the mutator changes what both share.
//
// One thread plays all processes and the supervisor that replaces them when they break.
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend_link.h"
#include "race.h"

#define CANARY 0xa5

enum link_state {
    LINK_RISES, // waits until the fabric has made the queue ready
    LINK_RUNS,
    LINK_FALLS, // its process is dead; waits until the fabric knows
};

struct race_link {
    struct backend_link link;
    struct race_watch *front; // of the guest's port
    struct race_watch *back;  // of the process
    struct vmm_port_config config;
    struct guest_memory memory; // shared with the fabric, as the process sees it
    struct port *port;          // of the process
    uint64_t requests;          // of its predecessors
    enum link_state state;
    uint64_t since; // pass of the fabric
    _Atomic uint32_t reported;
};

struct race_links {
    struct race_link links[RACE_LINKS];
    struct race_audit audit; // of the processes
    struct port_fabric fabric;
    struct port_backend front; // the link's, with the checks of this file
    pthread_t process, reader;
    _Atomic bool stop;
};

// The fabric copies from and to this memory as to its own, and the other side may write there at
// any time: while the mutator does, these copies are races by design, and ThreadSanitizer passes
// over what the fabric does inside the link. It watches all of it while the mutator leaves the link
// alone.
#ifdef RACE_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define WATCH(verb, kind) AnnotateIgnore##kind##verb(__FILE__, __LINE__)
#else
#define WATCH(verb, kind) ((void)0)
#endif

static struct backend_link *enter_link(struct race_link *link)
{
    if (world->mutates_links) {
        WATCH(Begin, Reads);
        WATCH(Begin, Writes);
    }
    return &link->link;
}

static void leave_link(void)
{
    if (world->mutates_links) {
        WATCH(End, Writes);
        WATCH(End, Reads);
    }
}

static void report(void *context, unsigned port, enum vmm_port_event_kind event)
{
    struct race_links *links = context;
    tally(event == VMM_PORT_EVENT_HUNG ? &tallies.hung : &tallies.broken);
    atomic_store(&links->links[port].reported, 1);
}

static enum port_progress check_front(struct race_link *link, struct port_request *request,
                                      enum port_progress progress)
{
    if (progress != PORT_DONE)
        return progress;
    if (request->reply_length > request->reply_capacity || request->status > 4095)
        race_mismatch("link: reply out of range", link->front->index, request->number);
    for (uint32_t i = request->reply_capacity; i < MAX_REPLY; i++) {
        if (request->reply[i] != CANARY) {
            race_mismatch("link: reply written beyond its room", link->front->index,
                          request->number);
            break;
        }
    }
    race_check_finish(link->front, request);
    tally(&tallies.delivered);
    return PORT_DONE;
}

static enum port_progress front_submit(void *state, struct port_request *request)
{
    struct race_link *link = state;
    race_check_submit(link->front, request);
    memset(request->reply + request->reply_capacity, CANARY, MAX_REPLY - request->reply_capacity);
    enum port_progress progress = link->link.backend.submit(enter_link(link), request);
    leave_link();
    return check_front(link, request, progress);
}

static enum port_progress front_resume(void *state, struct port_request *request)
{
    struct race_link *link = state;
    enum port_progress progress = link->link.backend.resume(enter_link(link), request);
    leave_link();
    return check_front(link, request, progress);
}

static void front_poll(void *state)
{
    struct race_link *link = state;
    link->link.backend.poll(enter_link(link));
    leave_link();
    if (link->link.sent_count > link->link.layout.slots)
        race_mismatch("link: more sent than there are slots", link->front->index, 0);
}

static void front_flush(void *state)
{
    struct race_link *link = state;
    link->link.backend.flush(enter_link(link));
    leave_link();
}

static void front_notify(void *state)
{
    struct race_link *link = state;
    link->link.backend.notify(enter_link(link));
    leave_link();
}

static bool front_prepare_sleep(void *state, uint64_t *wake_ns)
{
    struct race_link *link = state;
    bool ready = link->link.backend.prepare_sleep(enter_link(link), wake_ns);
    leave_link();
    return ready;
}

static void front_forget(void *state)
{
    struct race_link *link = state;
    link->link.backend.forget(enter_link(link));
    leave_link();
}

const struct port_backend *race_link_backend(unsigned index, void **state)
{
    struct race_links *links = world->links;
    links->front = links->links[0].link.backend;
    links->front.submit = front_submit;
    links->front.resume = front_resume;
    links->front.poll = front_poll;
    links->front.flush = front_flush;
    links->front.notify = front_notify;
    links->front.prepare_sleep = front_prepare_sleep;
    links->front.forget = front_forget;
    *state = &links->links[index];
    return &links->front;
}

static void start_process(struct race_links *links, struct race_link *link)
{
    static const struct limits_config unlimited;
    struct error err;
    struct virtqueue queue;
    const struct backend_layout *layout = &link->link.layout;
    const struct port_settings settings = {
        .name = "process",
        .index = (uint16_t)link->back->index,
        .backend = &race_backend,
        .backend_state = link->back,
        .operations = link->config.operations,
        .max_request_bytes = link->config.max_request_bytes,
        .max_reply_bytes = link->config.max_reply_bytes,
        .in_flight = link->config.in_flight,
        .limits = &unlimited,
    };
    link->port = port_create(&links->fabric, &settings, &err);
    if (!link->port ||
        virtqueue_init(&queue, &link->memory, (uint16_t)layout->queue_size, 0,
                       (struct gpa){layout->descriptors}, (struct gpa){layout->available},
                       (struct gpa){layout->used}, &err) < 0 ||
        port_add_queue(link->port, &queue, 0, &err) < 0)
        race_die(err.text);
    // The checks know requests by their number: a successor counts on.
    link->port->request_number = link->requests;
}

static void end_process(struct race_link *link)
{
    const struct port_counters *counters = port_counters(link->port);
    port_stop(link->port);
    if (atomic_load(&counters->requests) != atomic_load(&counters->completions))
        race_mismatch("process: counters do not add up", link->back->index, 0);
    link->requests = link->port->request_number;
    port_destroy(link->port);
    link->port = NULL;
}

static void start_link(struct race_links *links, unsigned index)
{
    struct race_link *link = &links->links[index];
    struct error err;
    struct backend_layout layout;
    link->front = &world->watches[index];
    link->back = &world->watches[RACE_PORTS + index];
    link->config = (struct vmm_port_config){
        .operations = 1u << OPERATION_ECHO | 1u << OPERATION_PEND | 1u << OPERATION_READ |
                      1u << OPERATION_TIGHT,
        .max_request_bytes = MAX_REQUEST,
        .max_reply_bytes = MAX_REPLY,
        .in_flight = RACE_IN_FLIGHT,
        .timeout_ms = 30000, // 30 ms of real time
    };
    backend_layout_init(&layout, &link->config);
    int memory_fd = memfd_create("race-link", MFD_CLOEXEC);
    if (memory_fd < 0 || ftruncate(memory_fd, (off_t)layout.bytes) < 0)
        race_die("memfd_create");
    const struct backend_link_settings settings = {
        .backend = &race_backend,
        .port = &link->config,
        .port_index = index,
        .memory_fd = memory_fd,
        .wake_fd = -1, // the process polls
        .fabric = &world->fabric,
        .report = report,
        .context = links,
    };
    // The same mapping for both ends: for ThreadSanitizer, a second one would be other memory.
    if (backend_link_init(&link->link, &settings, &err) < 0 ||
        guest_memory_add(&link->memory, (struct gpa){0}, layout.bytes, link->link.memory,
                         GUEST_READ | GUEST_WRITE, &err) < 0)
        race_die(err.text);
    close(memory_fd);
    links->audit.watches[link->back->index] = link->back;
}

void race_links_start(void)
{
    struct race_links *links = calloc(1, sizeof(*links));
    if (!links)
        race_die("out of memory");
    world->links = links;
    race_audit_start(&links->audit);
    links->fabric = world->fabric;
    links->fabric.audit = &links->audit.stream;
    for (unsigned i = 0; i < RACE_LINKS; i++)
        start_link(links, i);
}

static void order(struct race_link *link, enum link_state state, bool up)
{
    backend_link_order(&link->link, up);
    link->since = race_pass();
    link->state = state;
}

// Returns true if there was something to do.
static bool serve_link(struct race_links *links, struct race_link *link)
{
    if (link->state != LINK_RUNS && race_pass() < link->since + 2)
        return false;
    switch (link->state) {
    case LINK_FALLS:
        atomic_store(&link->reported, 0);
        order(link, LINK_RISES, true);
        return true;
    case LINK_RISES:
        start_process(links, link);
        link->state = LINK_RUNS;
        return true;
    case LINK_RUNS:
    default:
        break;
    }
    bool served = port_serve(link->port, PORT_MAX_IN_FLIGHT);
    uint32_t state = atomic_load_explicit(&port_counters(link->port)->state, memory_order_relaxed);
    if (!atomic_load(&link->reported) && state == PORT_OPEN) {
        race_check_held(link->port);
        return served;
    }
    // The supervisor ends it and puts another one in its place.
    tally(&tallies.restarts);
    end_process(link);
    order(link, LINK_FALLS, false);
    return true;
}

static void *run_processes(void *argument)
{
    struct race_links *links = argument;
    while (!atomic_load(&links->stop)) {
        bool busy = false;
        for (unsigned i = 0; i < RACE_LINKS; i++)
            busy |= serve_link(links, &links->links[i]);
        audit_stream_flush(&links->audit.stream);
        audit_stream_notify(&links->audit.stream);
        if (!busy)
            race_rest();
    }
    for (unsigned i = 0; i < RACE_LINKS; i++) {
        if (links->links[i].port)
            end_process(&links->links[i]);
    }
    audit_stream_flush(&links->audit.stream);
    return NULL;
}

void race_links_run(void)
{
    struct race_links *links = world->links;
    for (unsigned i = 0; i < RACE_LINKS; i++)
        order(&links->links[i], LINK_RISES, true);
    if (pthread_create(&links->process, NULL, run_processes, links) != 0 ||
        pthread_create(&links->reader, NULL, race_read, &links->audit) != 0)
        race_die("pthread_create");
}

void race_links_stop(void)
{
    atomic_store(&world->links->stop, true);
    pthread_join(world->links->process, NULL);
}

void race_links_end(void)
{
    struct race_links *links = world->links;
    pthread_join(links->reader, NULL);
    race_audit_end(&links->audit);
    for (unsigned i = 0; i < RACE_LINKS; i++)
        munmap(links->links[i].link.memory, links->links[i].link.layout.bytes);
    free(links);
}

// Requests and replies often, the queue itself seldom: that ends the process nearly always.
void race_link_mutate(uint64_t *random)
{
    uint64_t value = race_random(random);
    const struct race_link *link = &world->links->links[value % RACE_LINKS];
    const struct backend_layout *layout = &link->link.layout;
    uint64_t slot = layout->buffers + (value >> 8) % layout->slots * layout->stride;
    unsigned width = 1u << (value >> 16 & 3);
    uint64_t offset;
    switch ((value >> 20) % 512) {
    case 0: // descriptors, available ring, used ring
        offset =
            (value >> 18 & 3) % 3 * layout->available + (value >> 40) % (layout->queue_size * 8);
        break;
    case 1: // both indices
        offset = (value & 1 ? layout->available : layout->used) + VIRTQ_RING_INDEX;
        width = 2;
        break;
    case 2:
    case 3:
    case 4:
    case 5: // head of a reply
        offset = slot + layout->reply + (value >> 40) % sizeof(struct port_reply_header);
        break;
    case 6:
    case 7: // head of a request
        offset = slot + (value >> 40) % sizeof(struct port_request_header);
        break;
    default:
        if ((value >> 20) % 16)
            return;
        offset = slot + sizeof(struct port_request_header) + (value >> 40) % 128;
        if (value & 4)
            offset += layout->reply;
        break;
    }
    race_store(link->link.memory, offset & ~(uint64_t)(width - 1), width, race_random(random));
}
