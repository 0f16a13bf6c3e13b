// SPDX-License-Identifier: Apache-2.0
// Revocation: after a port was closed, or the level raised, and the poller has quiesced, no byte
// reaches a guest buffer any more, whatever the used index says. A real poller delivers large
// replies in many pieces while the orders come, at every moment of a request's life: queued,
// executing (pending at a backend that finishes later), completing.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "poller.h"
#include "support.h"

#define IO_BASE    0x8000000ull
#define QUEUE_SIZE 256u
#define QUEUE_AREA 0x10000u
#define REQUESTS   16u // of VIRTQUEUE_MAX_SEGMENTS descriptors each
#define REPLY_MAX  0x10000u
#define BUFFER     0x12000u
#define BUFFERS    (REQUESTS * BUFFER)
#define REQUEST_AT (QUEUE_AREA + BUFFERS) // headers, apart from what is watched
#define IO_BYTES   (REQUEST_AT + 0x1000u)
#define AUDIT_SIZE (1u << 20)
#define PAGE       4096u
#define TRAP_NS    400000u

#define UNTOUCHED 0xa5 // no reply contains it

enum {
    OPERATION_FILL = 1,  // the backend answers at once
    OPERATION_LATER = 2, // pending until the test says so
};

static struct {
    uint8_t *io;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct audit_stream audit;
    struct shared_ring reader;
    struct port_fabric fabric;
    struct port *port;
    struct poller poller;
    pthread_t thread;
    uint16_t available, used_seen;
    uint32_t lengths[REQUESTS]; // of the reply that was asked for
    _Atomic bool may_finish;
    _Atomic bool sealed;
    _Atomic unsigned violations;
    // A page on which the poller stops in the middle of a copy, as if it lost its CPU there.
    uint8_t *trap;
    _Atomic bool trapped;
} w;

static enum port_progress fill(struct port_request *request)
{
    // Another byte each time, so that a late copy cannot look like the one before.
    memset(request->reply, (int)(request->number % 100) + 1, request->argument);
    request->reply_length = request->argument;
    return PORT_DONE;
}

static enum port_progress submit(void *state, struct port_request *request)
{
    (void)state;
    return request->operation == OPERATION_FILL ? fill(request) : PORT_PENDING;
}

static enum port_progress resume(void *state, struct port_request *request)
{
    (void)state;
    return atomic_load(&w.may_finish) ? fill(request) : PORT_PENDING;
}

static void nothing(void *state)
{
    (void)state;
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    *wake_ns = 0; // it does not tell when it has finished
    return false;
}

static const struct port_operation operations[] = {
    {OPERATION_FILL, 0, REPLY_MAX, "fill"},
    {OPERATION_LATER, 0, REPLY_MAX, "later"},
};

static const struct port_backend backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "slow",
    .operations = operations,
    .operation_count = COUNT(operations),
    .submit = submit,
    .resume = resume,
    .flush = nothing,
    .prepare_sleep = prepare_sleep,
    .forget = nothing,
};

static void nap(uint64_t ns)
{
    struct timespec time = {0, (long)ns};
    nanosleep(&time, NULL);
}

// The poller's thread writes to a page that it cannot write to: the trap, or memory that is sealed.
// The write is let through, and counted if it came too late.
static void on_fault(int number, siginfo_t *info, void *context)
{
    const uint8_t *address = (const uint8_t *)info->si_addr;
    (void)number;
    (void)context;
    if (w.trap && address >= w.trap && address < w.trap + PAGE && !atomic_load(&w.sealed)) {
        atomic_store(&w.trapped, true);
        nap(TRAP_NS);
    }
    if (atomic_load(&w.sealed))
        atomic_fetch_add(&w.violations, 1);
    mprotect(w.io + QUEUE_AREA, BUFFERS, PROT_READ | PROT_WRITE);
}

static void raise_event(void *context, unsigned target)
{
    (void)context;
    (void)target;
}

static void *run(void *context)
{
    poller_run((struct poller *)context);
    return NULL;
}

static void start(enum poller_mode mode, uint32_t in_flight)
{
    static const struct limits_config unlimited;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct error err;
    sigaction(SIGSEGV, &action, NULL);
    w.io =
        (uint8_t *)mmap(NULL, IO_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(w.io, MAP_FAILED);
    cr_assert_eq(guest_memory_add(&w.memory, (struct gpa){IO_BASE}, IO_BYTES, w.io,
                                  GUEST_READ | GUEST_WRITE, &err),
                 0);
    int fd = shared_ring_create("audit", AUDIT_SIZE, &err);
    cr_assert_eq(shared_ring_map(&w.audit.ring, fd, AUDIT_SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&w.reader, fd, AUDIT_SIZE, &err), 0);
    w.audit.wake_fd = eventfd(0, EFD_NONBLOCK);
    w.fabric = (struct port_fabric){
        &w.level_supervisor, &w.level_own, &w.audit, &clock_host, {.raise_event = raise_event}};
    const struct port_settings settings = {
        .name = "watched",
        .backend = &backend,
        .operations = 1u << OPERATION_FILL | 1u << OPERATION_LATER,
        .max_reply_bytes = REPLY_MAX,
        .in_flight = in_flight,
        .limits = &unlimited,
    };
    struct virtqueue queue;
    w.port = port_create(&w.fabric, &settings, &err);
    cr_assert_not_null(w.port, "%s", err.text);
    cr_assert_eq(virtqueue_init(&queue, &w.memory, QUEUE_SIZE, 0, (struct gpa){IO_BASE},
                                (struct gpa){IO_BASE + 0x2000}, (struct gpa){IO_BASE + 0x4000},
                                &err),
                 0);
    cr_assert_eq(port_add_queue(w.port, &queue, 0, &err), 0);
    const struct poller_settings poller = {
        .mode = mode,
        .idle_spin_ns = 20000,
        .doorbell_interval_ns = 1000,
        .doorbell_fd = eventfd(0, EFD_NONBLOCK),
        .wake_fd = eventfd(0, EFD_NONBLOCK),
        .clock = &clock_host,
        .audit = &w.audit,
    };
    poller_init(&w.poller, &poller);
    cr_assert_eq(poller_add(&w.poller, w.port, &err), 0);
    cr_assert_eq(pthread_create(&w.thread, NULL, run, &w.poller), 0);
}

static uint16_t *ring(bool used)
{
    return (uint16_t *)(void *)(w.io + (used ? 0x4000 : 0x2000));
}

static uint16_t used_index(void)
{
    return __atomic_load_n(&ring(true)[1], __ATOMIC_ACQUIRE);
}

// A chain of one readable descriptor and up to 15 writable ones, of random sizes.
static void post(struct random *random, unsigned slot, uint32_t operation)
{
    const uint16_t head = (uint16_t)(slot * VIRTQUEUE_MAX_SEGMENTS);
    const uint32_t total =
        random_chance(random, 70) ? REPLY_MAX : 1 + (uint32_t)random_below(random, REPLY_MAX);
    const struct port_request_header header = {
        .operation = operation, .cookie = slot, .argument = total};
    struct virtq_descriptor chain[VIRTQUEUE_MAX_SEGMENTS];
    uint64_t address = IO_BASE + QUEUE_AREA + slot * BUFFER;
    uint32_t left = total + (uint32_t)sizeof(struct port_reply_header);
    unsigned count = 1;
    memcpy(w.io + REQUEST_AT + slot * sizeof(header), &header, sizeof(header));
    chain[0] = (struct virtq_descriptor){IO_BASE + REQUEST_AT + slot * sizeof(header),
                                         sizeof(header), 0, 0};
    while (left) {
        uint32_t part = 1 + (uint32_t)random_below(random, random_chance(random, 50) ? 9000 : 300);
        if (part > left || count == VIRTQUEUE_MAX_SEGMENTS - 1)
            part = left;
        chain[count++] = (struct virtq_descriptor){address, part, VIRTQ_DESCRIPTOR_WRITE, 0};
        address += part;
        left -= part;
    }
    for (unsigned i = 0; i + 1 < count; i++) {
        chain[i].flags |= VIRTQ_DESCRIPTOR_NEXT;
        chain[i].next = (uint16_t)(head + i + 1);
    }
    memcpy(w.io + head * sizeof(chain[0]), chain, count * sizeof(chain[0]));
    w.lengths[slot] = total;
    __atomic_store_n(&ring(false)[2 + w.available % QUEUE_SIZE], head, __ATOMIC_RELAXED);
    __atomic_store_n(&ring(false)[1], ++w.available, __ATOMIC_RELEASE);
}

static void ring_doorbell(void)
{
    uint64_t one = 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(ring(true), __ATOMIC_ACQUIRE) & VIRTQ_USED_NO_NOTIFY))
        cr_assert_gt(write(w.poller.settings.doorbell_fd, &one, sizeof(one)), 0);
}

// Puts a trap into the buffer of a request to come, or none.
static void set_trap(struct random *random, bool any)
{
    w.trap = NULL;
    atomic_store(&w.trapped, false);
    if (!any)
        return;
    w.trap = w.io + QUEUE_AREA + random_below(random, 3) * BUFFER + random_below(random, 16) * PAGE;
    mprotect(w.trap, PAGE, PROT_NONE);
}

static void wait_a_moment(struct random *random)
{
    uint64_t until = clock_now_ns(&clock_host) + (w.trap ? 2000000 : random_below(random, 150000));
    while (clock_now_ns(&clock_host) < until && !atomic_load(&w.trapped)) {
    }
}

enum revocation {
    REVOKE_CLOSE,
    REVOKE_OWN_LEVEL,
    REVOKE_SUPERVISORS_LEVEL,
    REVOCATIONS,
};

static void revoke_by(enum revocation how)
{
    if (how == REVOKE_CLOSE)
        port_close(w.port);
    else if (how == REVOKE_OWN_LEVEL)
        atomic_store(&w.level_own.level, LEVEL_SEVERED);
    else
        atomic_store(&w.level_supervisor.level, LEVEL_OFFLINE);
    cr_assert(poller_quiesce(&w.poller, 10 * NS_PER_S), "the poller is stuck");
}

// Watches the guest's buffers for a while: sealed, so that any write faults, or filled with a byte
// that no reply contains.
static void watch(struct random *random, bool seal, unsigned round)
{
    uint8_t *buffers = w.io + QUEUE_AREA;
    if (seal) {
        atomic_store(&w.sealed, true);
        mprotect(buffers, BUFFERS, PROT_READ);
    } else {
        mprotect(buffers, BUFFERS, PROT_READ | PROT_WRITE);
        memset(buffers, UNTOUCHED, BUFFERS);
    }
    uint16_t used = used_index();
    // What was pending at the backend could finish now.
    atomic_store(&w.may_finish, true);
    nap(200000 + random_below(random, 3000000));
    cr_assert_eq(used_index(), used, "round %u: a chain came back", round);
    cr_assert_eq(atomic_load(&w.violations), 0u, "round %u: a write after the revocation", round);
    if (seal) {
        mprotect(buffers, BUFFERS, PROT_READ | PROT_WRITE);
        atomic_store(&w.sealed, false);
        return;
    }
    // All bytes are equal if each is what the next one is.
    if (buffers[0] == UNTOUCHED && !memcmp(buffers, buffers + 1, BUFFERS - 1))
        return;
    for (size_t i = 0; i < BUFFERS; i++)
        cr_assert_eq(buffers[i], UNTOUCHED, "round %u: byte %zu after the revocation", round, i);
}

static void allow(void)
{
    atomic_store(&w.level_own.level, LEVEL_STANDARD);
    atomic_store(&w.level_supervisor.level, LEVEL_STANDARD);
    port_open(w.port);
    cr_assert(poller_quiesce(&w.poller, 10 * NS_PER_S));
}

// All chains come back once the port is open: dropped with 0 bytes, or whole.
static unsigned collect(void)
{
    unsigned dropped = 0;
    for (int i = 0; i < 20000 && used_index() != w.available; i++)
        nap(100000);
    cr_assert_eq(used_index(), w.available, "chains did not come back");
    for (; w.used_seen != w.available; w.used_seen++) {
        struct virtq_used_element element;
        memcpy(&element, (uint8_t *)ring(true) + 4 + w.used_seen % QUEUE_SIZE * 8, 8);
        unsigned slot = element.id / VIRTQUEUE_MAX_SEGMENTS;
        if (element.length)
            cr_assert_eq(element.length, 16 + w.lengths[slot]);
        else
            dropped++;
    }
    shared_ring_consume(&w.reader, shared_ring_available(&w.reader));
    return dropped;
}

static void rounds(unsigned count, uint64_t stream, unsigned later_percent)
{
    struct random random = random_start(stream);
    unsigned dropped = 0;
    for (unsigned round = 0; round < count; round++) {
        unsigned requests = 1 + (unsigned)random_below(&random, REQUESTS);
        set_trap(&random, random_chance(&random, 30));
        for (unsigned slot = 0; slot < requests; slot++)
            post(&random, slot,
                 random_chance(&random, later_percent) ? OPERATION_LATER : OPERATION_FILL);
        ring_doorbell();
        wait_a_moment(&random);
        revoke_by((enum revocation)(round % REVOCATIONS));
        watch(&random, round & 1, round);
        allow();
        dropped += collect();
        atomic_store(&w.may_finish, false);
    }
    poller_stop(&w.poller);
    pthread_join(w.thread, NULL);
    cr_expect_gt(dropped, 0u, "no revocation met a request");
}

// Replies at once: what is cut is queued or completing.
Test(revocation, while_completing, .timeout = 55)
{
    start(POLLER_BUSY, REQUESTS);
    rounds(500, 80, 0);
}

// Some are at a backend that finishes after the revocation.
Test(revocation, while_executing, .timeout = 55)
{
    start(POLLER_BUSY, REQUESTS);
    rounds(500, 81, 50);
}

// Two at a time: most are still queued.
Test(revocation, while_queued, .timeout = 55)
{
    start(POLLER_BUSY, 2);
    rounds(500, 82, 20);
}

// The poller sleeps when it has nothing to do, and is woken for the order.
Test(revocation, of_a_poller_that_sleeps, .timeout = 55)
{
    start(POLLER_ADAPTIVE, REQUESTS);
    rounds(500, 83, 30);
}
