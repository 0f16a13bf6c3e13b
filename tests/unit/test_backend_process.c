// SPDX-License-Identifier: Apache-2.0
// A backend process as it runs, with sandbox and filter, behind the VMM's end of its queue. The
// process is this program, forked; with GUILLOTINE_BACKEND=PATH it is that program.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend_link.h"
#include "backend_process.h"
#include "fd_message.h"
#include "loopback.h"
#include "sandbox.h"
#include "support.h"

#define MAX_RECORDS 32768u

// Longest wait for something that has to happen, and time in which nothing must.
#define SOON_NS  (5 * NS_PER_S)
#define QUIET_NS (50 * NS_PER_MS)

// The supervisor's and the VMM's view of one backend process. Each test is a process of its own.
static struct {
    struct vmm_port_config port; // as the VMM has it
    struct backend_config config;
    int fds[BACKEND_FDS];
    int channel;
    pid_t pid;
    struct level_page *level_supervisor;
    struct level_page *level_vmm;
    struct shared_ring audit;
    struct backend_link link;
    unsigned reports;
    struct audit_record records[MAX_RECORDS];
    unsigned record_count;
} w;

static uint64_t now_ns(void)
{
    return clock_now_ns(&clock_host);
}

static int sealed_memory(uint64_t bytes, unsigned seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static struct level_page *level_page(int fd)
{
    void *page = mmap(NULL, LEVEL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(page, MAP_FAILED);
    return (struct level_page *)page;
}

// Everything that a process needs; tests change what they want before start().
static void prepare(void)
{
    struct error err;
    struct backend_layout layout;
    w.port = (struct vmm_port_config){
        .name = "tool",
        .kind = VMM_PORT_LOOPBACK,
        .operations = 1u << LOOPBACK_ECHO | 1u << LOOPBACK_DISCARD | 1u << LOOPBACK_GENERATE,
        .queue_size = 16,
        .queue_count = 1,
        .max_request_bytes = 4096,
        .max_reply_bytes = 4096,
        .in_flight = 8,
        .process = 1,
        .timeout_ms = 60000,
        .closed_at_probation = 1,
    };
    w.config = (struct backend_config){.port_index = 3, .port = w.port};
    backend_layout_init(&layout, &w.port);
    w.fds[BACKEND_FD_MEMORY] = sealed_memory(layout.bytes, F_SEAL_SHRINK | F_SEAL_GROW);
    w.fds[BACKEND_FD_LEVEL_SUPERVISOR] = sealed_memory(LEVEL_PAGE_SIZE, F_SEAL_SHRINK);
    w.fds[BACKEND_FD_LEVEL_VMM] = sealed_memory(LEVEL_PAGE_SIZE, F_SEAL_SHRINK);
    w.fds[BACKEND_FD_AUDIT_RING] = shared_ring_create("audit", VMM_AUDIT_RING_BYTES, &err);
    for (unsigned i = BACKEND_FD_WAKE_BACKEND; i < BACKEND_FD_SETTINGS; i++)
        w.fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w.fds[BACKEND_FD_SETTINGS] = sealed_memory(0, F_SEAL_SHRINK | F_SEAL_WRITE);
    w.fds[BACKEND_FD_POLICY] = sealed_memory(0, F_SEAL_SHRINK | F_SEAL_WRITE);
    w.level_supervisor = level_page(w.fds[BACKEND_FD_LEVEL_SUPERVISOR]);
    w.level_vmm = level_page(w.fds[BACKEND_FD_LEVEL_VMM]);
    cr_assert_eq(
        shared_ring_map(&w.audit, w.fds[BACKEND_FD_AUDIT_RING], VMM_AUDIT_RING_BYTES, &err), 0);
}

// The life of guillotine-backend (devices/backend_main.c).
static int life(void)
{
    static const struct backend_kind kinds[] = {{&loopback_backend, NULL}};
    static struct backend_process process;
    struct error err = {0};
    uint32_t missing = 0;
    const char *program = getenv("GUILLOTINE_BACKEND");
    if (program) {
        execl(program, "guillotine-backend", (char *)NULL);
        _exit(127);
    }
    if (sandbox_enter(&missing, &err) == 0 &&
        backend_process_receive(&process, kinds, 1, &err) == 0 &&
        backend_process_build(&process, &err) == 0 &&
        backend_process_lock_down(&process, backend_filter_install, &err) == 0 &&
        backend_process_report_ready(&err) == 0)
        backend_process_run(&process);
    backend_process_report_failure(&err);
    return (int)err.status;
}

// Starts the process as the supervisor does.
static void fork_process(void)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    w.channel = pair[0];
    w.pid = fork();
    if (w.pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSYS, SIG_DFL);
        dup2(pair[1], BACKEND_CHANNEL_FD);
        close_range(BACKEND_CHANNEL_FD + 1, ~0u, 0);
        fcntl(BACKEND_CHANNEL_FD, F_SETFD, 0);
        _exit(life());
    }
    cr_assert_gt(w.pid, 0);
    close(pair[1]);
}

static void send_config(size_t size, size_t fd_count)
{
    struct error err;
    uint8_t message[sizeof(w.config) + 8] = {0};
    if (!w.config.message.type)
        vmm_message_init(&w.config.message, (enum vmm_message_type)BACKEND_MESSAGE_CONFIG,
                         (uint32_t)size);
    memcpy(message, &w.config, sizeof(w.config));
    cr_assert_eq(fd_message_send(w.channel, message, size, w.fds, fd_count, &err), 0, "%s",
                 err.text);
}

static void count_report(void *context, unsigned port, enum vmm_port_event_kind event)
{
    (void)context;
    (void)event;
    cr_expect_eq(port, 3u);
    w.reports++;
}

static void connect_link(void)
{
    struct error err;
    static struct level_page levels[2];
    static const struct port_fabric fabric = {&levels[0], &levels[1], NULL, &clock_host, {0}};
    const struct backend_link_settings settings = {
        .backend = &loopback_backend,
        .port = &w.port,
        .port_index = 3,
        .memory_fd = w.fds[BACKEND_FD_MEMORY],
        .wake_fd = w.fds[BACKEND_FD_WAKE_BACKEND],
        .fabric = &fabric,
        .report = count_report,
    };
    cr_assert_eq(backend_link_init(&w.link, &settings, &err), 0, "%s", err.text);
}

// The type of the next message of the process; 0 if it closed its end.
static uint32_t next_message(struct vmm_failed *failed)
{
    struct error err;
    size_t fd_count = 0;
    struct pollfd wait = {.fd = w.channel, .events = POLLIN};
    cr_assert_eq(poll(&wait, 1, (int)(SOON_NS / NS_PER_MS)), 1, "the process says nothing");
    ssize_t length = fd_message_receive(w.channel, failed, sizeof(*failed), NULL, &fd_count, &err);
    cr_assert_geq(length, 0, "%s", err.text);
    return length ? vmm_message_check(&failed->message, (uint64_t)length) : 0;
}

static void start(void)
{
    struct vmm_failed message;
    connect_link();
    fork_process();
    send_config(sizeof(w.config), BACKEND_FDS);
    uint32_t type = next_message(&message);
    cr_assert_eq(type, BACKEND_MESSAGE_READY, "%s",
                 type == BACKEND_MESSAGE_FAILED ? message.text : "no answer");
    backend_link_order(&w.link, true);
    w.link.backend.poll(&w.link);
    cr_assert(backend_link_is_up(&w.link));
}

static void ring(void)
{
    uint64_t one = 1;
    cr_assert_eq(write(w.fds[BACKEND_FD_WAKE_BACKEND], &one, sizeof(one)), 8);
}

static void empty(int fd)
{
    uint64_t value;
    ssize_t ignored = read(fd, &value, sizeof(value));
    (void)ignored;
}

static void fill(int fd)
{
    uint64_t most = UINT64_MAX - 1;
    empty(fd);
    cr_assert_eq(write(fd, &most, sizeof(most)), 8);
}

static void drain_audit(void)
{
    uint64_t available = shared_ring_available(&w.audit);
    cr_assert_eq(available % sizeof(struct audit_record), 0u);
    for (; available; available -= sizeof(struct audit_record)) {
        struct audit_record *record = &w.records[w.record_count++];
        cr_assert_leq(w.record_count, MAX_RECORDS);
        shared_ring_peek(&w.audit, 0, record, sizeof(*record));
        cr_assert_eq(record->sequence, w.record_count - 1);
        cr_assert_eq(record->port, 3);
        if (shared_ring_consume(&w.audit, sizeof(*record)))
            ring();
    }
}

// Waits for the record of a type about the VMM's request `number` (0: any).
static const struct audit_record *await_record(enum audit_type type, uint64_t number)
{
    uint64_t deadline_ns = now_ns() + SOON_NS;
    for (unsigned i = 0;; i++) {
        while (i == w.record_count) {
            cr_assert_lt(now_ns(), deadline_ns, "no record of type %d", type);
            drain_audit();
        }
        if (w.records[i].type == type && (!number || w.records[i].cookie == number))
            return &w.records[i];
    }
}

struct call {
    struct port_request request;
    uint8_t payload[8192];
    uint8_t reply[8192];
};

static void submit(struct call *call, uint32_t operation, uint32_t length, uint32_t argument)
{
    static uint64_t number;
    call->request = (struct port_request){
        .number = ++number,
        .operation = operation,
        .argument = argument,
        .length = length,
        .reply_capacity = w.port.max_reply_bytes,
        .payload = call->payload,
        .reply = call->reply,
        .status = UINT32_MAX,
    };
    cr_assert_eq(w.link.backend.submit(&w.link, &call->request), PORT_PENDING);
    w.link.backend.flush(&w.link);
}

static bool finished(struct call *call)
{
    w.link.backend.poll(&w.link);
    bool done = w.link.backend.resume(&w.link, &call->request) == PORT_DONE;
    w.link.backend.flush(&w.link);
    return done;
}

// Waits for the result. Returns the status.
static uint32_t await(struct call *call)
{
    uint64_t deadline_ns = now_ns() + SOON_NS;
    while (!finished(call))
        cr_assert_lt(now_ns(), deadline_ns, "request %llu is not answered",
                     (unsigned long long)call->request.number);
    return call->request.status;
}

static uint32_t ask(struct call *call, uint32_t operation, uint32_t length, uint32_t argument)
{
    submit(call, operation, length, argument);
    return await(call);
}

static void expect_silence(struct call *call)
{
    uint64_t deadline_ns = now_ns() + QUIET_NS;
    while (now_ns() < deadline_ns)
        cr_assert_not(finished(call), "request %llu is answered",
                      (unsigned long long)call->request.number);
}

static void expect_alive(void)
{
    cr_expect_eq(waitpid(w.pid, NULL, WNOHANG), 0, "the process ended");
}

// The wait status of the process, which must end.
static int await_end(void)
{
    int status;
    uint64_t deadline_ns = now_ns() + SOON_NS;
    while (waitpid(w.pid, &status, WNOHANG) == 0)
        cr_assert_lt(now_ns(), deadline_ns, "the process goes on");
    w.pid = 0;
    return status;
}

static uint16_t used_flags(void)
{
    return __atomic_load_n(
        (uint16_t *)(void *)(w.link.memory + w.link.layout.used + VIRTQ_RING_FLAGS),
        __ATOMIC_ACQUIRE);
}

// Leaves no process behind.
static void end(void)
{
    if (w.pid > 0 && kill(w.pid, SIGKILL) == 0)
        waitpid(w.pid, NULL, 0);
}

TestSuite(backend_process, .fini = end);

Test(backend_process, echoes)
{
    static struct call call;
    struct random random = random_start(1);
    prepare();
    start();
    for (unsigned i = 0; i < 500; i++) {
        uint32_t length = (uint32_t)random_below(&random, w.port.max_request_bytes + 1);
        random_fill(&random, call.payload, length);
        memset(call.reply, 0xee, sizeof(call.reply));
        cr_assert_eq(ask(&call, LOOPBACK_ECHO, length, 0), PORT_STATUS_OK);
        cr_assert_eq(call.request.reply_length, length);
        cr_assert_eq(memcmp(call.reply, call.payload, length), 0);
        const struct audit_record *record = await_record(AUDIT_COMPLETION, call.request.number);
        cr_assert_eq(record->length, length);
        cr_assert_eq(record[-1].type, AUDIT_REQUEST);
        cr_assert_eq(record[-1].decision, AUDIT_DECISION_ALLOW);
        cr_assert_eq(record[-1].cookie, call.request.number);
    }
    cr_expect_eq(w.record_count, 1000u);
    cr_expect_eq(w.reports, 0u);
    expect_alive();
}

Test(backend_process, serves_many_at_once)
{
    static struct call calls[20]; // 8 fit; the others wait on the VMM's side
    prepare();
    start();
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < COUNT(calls); i++) {
            memset(calls[i].payload, (int)i, 100 + i);
            submit(&calls[i], LOOPBACK_ECHO, 100 + i, 0);
        }
        for (unsigned i = 0; i < COUNT(calls); i++) {
            cr_assert_eq(await(&calls[i]), PORT_STATUS_OK);
            cr_assert_eq(calls[i].request.reply_length, 100 + i);
            cr_assert_eq(memcmp(calls[i].reply, calls[i].payload, 100 + i), 0);
        }
    }
    expect_alive();
}

// The VMM's end does not check operations: the process does, by its own grant.
Test(backend_process, refuses_what_is_not_granted)
{
    static struct call call;
    static const uint32_t refused[] = {0,  LOOPBACK_DISCARD,   LOOPBACK_GENERATE, 9,
                                       63, 64 + LOOPBACK_ECHO, UINT32_MAX};
    prepare();
    w.config.port.operations = 1u << LOOPBACK_ECHO;
    start();
    for (unsigned i = 0; i < COUNT(refused); i++) {
        cr_expect_eq(ask(&call, refused[i], 5, 5), PORT_STATUS_DENIED);
        cr_expect_eq(call.request.reply_length, 0u);
        const struct audit_record *record = await_record(AUDIT_REQUEST, call.request.number);
        cr_expect_eq(record->decision, AUDIT_DECISION_DENY);
        cr_expect_eq(record->rule, POLICY_RULE_DEFAULT_DENY);
        cr_expect_eq(record->operation, refused[i]);
    }
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 5, 0), PORT_STATUS_OK);
}

Test(backend_process, refuses_what_is_too_large)
{
    static struct call call;
    prepare();
    // The layout of the memory follows from these: the same on both sides, rounded up to 64.
    w.port.max_request_bytes = w.config.port.max_request_bytes = 100;
    w.port.max_reply_bytes = w.config.port.max_reply_bytes = 60;
    start();
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 101, 0), PORT_STATUS_TOO_LARGE);
    cr_expect_eq(await_record(AUDIT_REQUEST, call.request.number)->rule, POLICY_RULE_REQUEST_SIZE);
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 100, 0), PORT_STATUS_OK);
    cr_expect_eq(call.request.reply_length, 60u);
    // Room for more than the grant allows.
    w.port.max_reply_bytes = 112;
    cr_expect_eq(ask(&call, LOOPBACK_GENERATE, 0, 112), PORT_STATUS_OK);
    cr_expect_eq(call.request.reply_length, 60u);
}

// What the process takes while it must wait for its rate is in flight when the level rises.
static void sever(bool own)
{
    static struct call first, dropped, late;
    prepare();
    w.config.port.limits = (struct limits_config){.requests_per_s = 1, .request_burst = 1};
    start();
    struct level_page *page = own ? w.level_vmm : w.level_supervisor;
    cr_assert_eq(ask(&first, LOOPBACK_ECHO, 10, 0), PORT_STATUS_OK);
    uint8_t *buffers = w.link.memory + w.link.layout.buffers;
    memset(buffers, 0xee, w.link.layout.slots * w.link.layout.stride);
    submit(&dropped, LOOPBACK_ECHO, 10, 0);
    expect_silence(&dropped);
    atomic_store(&page->level, LEVEL_SEVERED);
    ring();
    const struct audit_record *record = await_record(AUDIT_COMPLETION, dropped.request.number);
    cr_expect_eq(record->decision, AUDIT_DECISION_GATE);
    cr_expect_eq(record->status, PORT_STATUS_CLOSED);
    cr_expect_eq(record->level, LEVEL_SEVERED);
    submit(&late, LOOPBACK_ECHO, 10, 0);
    expect_silence(&late);
    expect_silence(&dropped);
    atomic_store(&page->level, LEVEL_STANDARD);
    ring();
    cr_expect_eq(await(&dropped), PORT_STATUS_CLOSED);
    cr_expect_eq(dropped.request.reply_length, 0u);
    cr_expect_eq(await(&late), PORT_STATUS_OK);
    // Where the reply would have been; the late request had another slot.
    const uint8_t *reply =
        buffers + dropped.request.tag * w.link.layout.stride + w.link.layout.reply;
    cr_assert_neq(dropped.request.tag, late.request.tag);
    for (unsigned i = 0; i < sizeof(struct port_reply_header) + 10; i++)
        cr_expect_eq(reply[i], 0xee, "byte %u", i);
    expect_alive();
}

Test(backend_process, level_of_the_supervisor)
{
    sever(false);
}

Test(backend_process, level_of_the_vmm)
{
    sever(true);
}

Test(backend_process, waits_during_a_hold)
{
    static struct call call;
    prepare();
    start();
    struct level_page *pages[2] = {w.level_supervisor, w.level_vmm};
    for (unsigned i = 0; i < COUNT(pages); i++) {
        atomic_store(&pages[i]->hold, 1);
        submit(&call, LOOPBACK_ECHO, 3, 0);
        expect_silence(&call);
        drain_audit();
        cr_expect_eq(w.record_count, 2 * i);
        atomic_store(&pages[i]->hold, 0);
        ring();
        cr_expect_eq(await(&call), PORT_STATUS_OK);
        await_record(AUDIT_COMPLETION, call.request.number);
    }
}

// What a VMM that the model has taken over may put there.
static void corrupt(struct virtq_descriptor descriptor, uint16_t head, enum queue_rule rule)
{
    static struct call call;
    prepare();
    start();
    cr_assert_eq(ask(&call, LOOPBACK_ECHO, 8, 0), PORT_STATUS_OK);
    struct virtq_descriptor *table = (void *)(w.link.memory + w.link.layout.descriptors);
    uint16_t *available = (void *)(w.link.memory + w.link.layout.available);
    table[4] = descriptor;
    table[5] = (struct virtq_descriptor){
        .address = w.link.layout.buffers, .length = 64, .flags = VIRTQ_DESCRIPTOR_WRITE};
    available[2 + 1] = head;
    __atomic_store_n(&available[1], 2, __ATOMIC_RELEASE);
    ring();
    const struct audit_record *record = await_record(AUDIT_ANOMALY, 0);
    cr_expect_eq(record->detail, rule);
    // For good: nothing is served any more, and nothing is recorded.
    w.link.next_available = 2;
    submit(&call, LOOPBACK_ECHO, 8, 0);
    ring();
    expect_silence(&call);
    drain_audit();
    cr_expect_eq(w.record_count, 3u);
    expect_alive();
}

Test(backend_process, closes_on_a_foreign_address)
{
    corrupt((struct virtq_descriptor){1ull << 32, 24, VIRTQ_DESCRIPTOR_NEXT, 5}, 4,
            QUEUE_RULE_ADDRESS);
}

Test(backend_process, closes_on_the_end_of_the_memory)
{
    struct backend_layout layout;
    prepare();
    backend_layout_init(&layout, &w.port);
    corrupt((struct virtq_descriptor){layout.bytes - 23, 24, VIRTQ_DESCRIPTOR_NEXT, 5}, 4,
            QUEUE_RULE_ADDRESS);
}

Test(backend_process, closes_on_a_loop)
{
    corrupt((struct virtq_descriptor){0, 24, VIRTQ_DESCRIPTOR_NEXT, 4}, 4, QUEUE_RULE_CHAIN_LENGTH);
}

Test(backend_process, closes_on_an_indirect_table)
{
    corrupt((struct virtq_descriptor){0, 32, VIRTQ_DESCRIPTOR_INDIRECT, 0}, 4, QUEUE_RULE_FLAGS);
}

Test(backend_process, closes_on_a_head_out_of_range)
{
    corrupt((struct virtq_descriptor){0}, 999, QUEUE_RULE_HEAD_RANGE);
}

Test(backend_process, counts_on_from_earlier_processes)
{
    static struct call call;
    prepare();
    w.config.port.limits.requests_total = 5;
    w.config.requests_used = 3;
    start();
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 1, 0), PORT_STATUS_OK);
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 1, 0), PORT_STATUS_OK);
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 1, 0), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(await_record(AUDIT_REQUEST, call.request.number)->rule, POLICY_RULE_TOTAL);
}

Test(backend_process, counts_bytes_on)
{
    static struct call call;
    prepare();
    w.config.port.limits.bytes_total = 1000;
    w.config.bytes_used = 900;
    w.config.port.limits.reply_bytes_total = 500;
    w.config.reply_bytes_used = 440;
    start();
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 101, 0), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 60, 0), PORT_STATUS_OK);
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 1, 0), PORT_STATUS_EXHAUSTED); // its reply
    cr_expect_eq(ask(&call, LOOPBACK_DISCARD, 39, 0), PORT_STATUS_OK);
    cr_expect_eq(ask(&call, LOOPBACK_DISCARD, 1, 0), PORT_STATUS_EXHAUSTED);
}

// A count beyond the total is all of it, and not a negative rest.
Test(backend_process, counts_no_more_than_all)
{
    static struct call call;
    prepare();
    w.config.port.limits.bytes_total = 1000;
    w.config.bytes_used = 1001;
    w.config.port.limits.reply_bytes_total = 1000;
    w.config.reply_bytes_used = UINT64_MAX;
    start();
    cr_expect_eq(ask(&call, LOOPBACK_DISCARD, 1, 0), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(ask(&call, LOOPBACK_GENERATE, 0, 1), PORT_STATUS_EXHAUSTED);
}

// No request without a record: a reader that falls behind stops the process, and wakes it.
Test(backend_process, waits_for_the_reader_of_its_records)
{
    static struct call call;
    const unsigned fit = VMM_AUDIT_RING_BYTES / sizeof(struct audit_record) / 2;
    prepare();
    start();
    for (unsigned i = 0; i < fit; i++)
        cr_assert_eq(ask(&call, LOOPBACK_DISCARD, 1, 0), PORT_STATUS_OK);
    submit(&call, LOOPBACK_DISCARD, 1, 0);
    expect_silence(&call);
    drain_audit();
    cr_expect_eq(w.record_count, 2 * fit);
    cr_expect_eq(await(&call), PORT_STATUS_OK);
}

// An idle process sleeps until the doorbell, and wakes a VMM that sleeps.
static void sleep_and_wake(uint32_t mode, bool sleeps)
{
    static struct call call;
    prepare();
    w.config.port.mode = mode;
    start();
    for (unsigned i = 0; i < 50; i++) {
        uint64_t wake_ns = UINT64_MAX;
        struct pollfd wait = {.fd = w.fds[BACKEND_FD_WAKE_VMM], .events = POLLIN};
        usleep(2000);
        uint64_t deadline_ns = now_ns() + SOON_NS;
        while (used_flags() != (sleeps ? 0 : VIRTQ_USED_NO_NOTIFY))
            cr_assert_lt(now_ns(), deadline_ns, "asks for doorbells: %d", !used_flags());
        empty(w.fds[BACKEND_FD_WAKE_VMM]);
        submit(&call, LOOPBACK_ECHO, 4, 0);
        if (!w.link.backend.prepare_sleep(&w.link, &wake_ns))
            cr_assert_eq(poll(&wait, 1, (int)(SOON_NS / NS_PER_MS)), 1, "not woken");
        cr_assert_eq(await(&call), PORT_STATUS_OK);
    }
}

Test(backend_process, adaptive)
{
    sleep_and_wake(VMM_PORT_ADAPTIVE, true);
}

Test(backend_process, by_doorbell)
{
    sleep_and_wake(VMM_PORT_DOORBELL, true);
}

Test(backend_process, busy)
{
    sleep_and_wake(VMM_PORT_BUSY, false);
}

// A driver that rings without end hurts nobody.
Test(backend_process, survives_a_storm)
{
    static struct call call;
    prepare();
    start();
    uint64_t deadline_ns = now_ns() + QUIET_NS;
    while (now_ns() < deadline_ns)
        ring();
    cr_expect_eq(ask(&call, LOOPBACK_ECHO, 4, 0), PORT_STATUS_OK);
    // Nor one that has filled the counters which the process writes.
    fill(w.fds[BACKEND_FD_WAKE_VMM]);
    fill(w.fds[BACKEND_FD_WAKE_SUPERVISOR]);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t wake_ns = UINT64_MAX;
        shared_ring_wait_data(&w.audit);
        submit(&call, LOOPBACK_ECHO, 4, 0);
        w.link.backend.prepare_sleep(&w.link, &wake_ns);
        usleep(2000);
        cr_expect_eq(await(&call), PORT_STATUS_OK);
    }
}

Test(backend_process, is_locked_down)
{
    char path[64], line[256];
    int seccomp = -1, no_new_privileges = -1;
    unsigned descriptors = 0;
    prepare();
    start();
    snprintf(path, sizeof(path), "/proc/%d/status", w.pid);
    FILE *status = fopen(path, "r");
    cr_assert_not_null(status);
    while (fgets(line, sizeof(line), status)) {
        sscanf(line, "Seccomp: %d", &seccomp);
        sscanf(line, "NoNewPrivs: %d", &no_new_privileges);
    }
    fclose(status);
    cr_expect_eq(seccomp, 2);
    cr_expect_eq(no_new_privileges, 1);
    snprintf(path, sizeof(path), "/proc/%d/fd", w.pid);
    DIR *folder = opendir(path);
    if (!folder)
        return; // not ours to see
    while (readdir(folder))
        descriptors++;
    closedir(folder);
    // Standard descriptors, channel, and three eventfds; "." and "..".
    cr_expect_eq(descriptors, 3u + 1 + 3 + 2);
}

Test(backend_process, ends_with_the_channel)
{
    prepare();
    start();
    usleep(10000);
    expect_alive();
    close(w.channel);
    int status = await_end();
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
}

Test(backend_process, ends_with_a_message)
{
    prepare();
    start();
    cr_assert_eq(send(w.channel, "x", 1, 0), 1);
    int status = await_end();
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
}

// The supervisor dies without anybody closing the channel.
Test(backend_process, ends_with_its_parent)
{
    struct vmm_failed message;
    int pair[2];
    pid_t pid;
    prepare();
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    connect_link();
    pid_t parent = fork();
    if (parent == 0) {
        fork_process();
        send_config(sizeof(w.config), BACKEND_FDS);
        bool ready = next_message(&message) == BACKEND_MESSAGE_READY;
        // The test keeps the channel open.
        struct error err;
        fd_message_send(pair[1], &w.pid, sizeof(w.pid), &w.channel, 1, &err);
        _exit(ready ? 0 : 1);
    }
    struct error err;
    int status;
    size_t fd_count = 1;
    cr_assert_eq(fd_message_receive(pair[0], &pid, sizeof(pid), &w.channel, &fd_count, &err),
                 (ssize_t)sizeof(pid));
    cr_assert_eq(waitpid(parent, &status, 0), parent);
    cr_assert_eq(status, 0);
    w.pid = pid;
    status = await_end();
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
}

// A supervisor that is gone before the process watches the channel.
Test(backend_process, ends_if_nobody_hears_it)
{
    prepare();
    fork_process();
    kill(w.pid, SIGSTOP);
    send_config(sizeof(w.config), BACKEND_FDS);
    close(w.channel);
    kill(w.pid, SIGCONT);
    cr_expect_neq(await_end(), 0);
    prepare();
    fork_process();
    close(w.channel);
    int status = await_end();
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS_INTERNAL, "status %#x",
              status);
}

// Configurations that are refused: what a test changes, and what the process says.
static void expect_refusal_of(size_t size, size_t fd_count, const char *text)
{
    struct vmm_failed message;
    fork_process();
    send_config(size, fd_count);
    cr_assert_eq(next_message(&message), BACKEND_MESSAGE_FAILED, "not refused: %s", text);
    cr_expect(strstr(message.text, text), "%s", message.text);
    int status = await_end();
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == (int)message.status, "status %#x",
              status);
    close(w.channel);
    prepare();
}

static void expect_refusal(const char *text)
{
    expect_refusal_of(sizeof(w.config), BACKEND_FDS, text);
}

Test(backend_process, refuses_other_messages)
{
    prepare();
    expect_refusal_of(sizeof(w.config) - 1, BACKEND_FDS, "another protocol");
    expect_refusal_of(sizeof(w.config) + 1, BACKEND_FDS, "receive message");
    expect_refusal_of(sizeof(w.config), BACKEND_FDS - 1, "8 descriptors, 9 expected");
    expect_refusal_of(sizeof(w.config), 0, "0 descriptors, 9 expected");
    w.config.extra_fds = 1;
    expect_refusal("9 descriptors, 10 expected");
    w.config.extra_fds = BACKEND_MAX_EXTRA_FDS + 1;
    expect_refusal("9 descriptors, 18 expected");
    vmm_message_init(&w.config.message, VMM_MESSAGE_CONFIG, sizeof(w.config));
    expect_refusal("another protocol");
    vmm_message_init(&w.config.message, (enum vmm_message_type)BACKEND_MESSAGE_CONFIG,
                     sizeof(w.config));
    w.config.message.format[15]++;
    expect_refusal("another protocol");
}

Test(backend_process, refuses_what_is_out_of_range)
{
    prepare();
    memset(w.config.port.name, 'x', sizeof(w.config.port.name));
    expect_refusal("out of range");
    w.config.port_index = VMM_MAX_PORTS;
    expect_refusal("out of range");
    w.config.port.process = 0;
    expect_refusal("out of range");
    w.config.port.mode = VMM_PORT_DOORBELL + 1;
    expect_refusal("out of range");
    w.config.port.in_flight = 0;
    expect_refusal("out of range");
    w.config.port.in_flight = VMM_MAX_IN_FLIGHT + 1;
    expect_refusal("out of range");
    w.config.port.max_request_bytes = PORT_MAX_BYTES + 1;
    expect_refusal("out of range");
    w.config.port.max_reply_bytes = PORT_MAX_BYTES + 1;
    expect_refusal("out of range");
    w.config.port.operations |= 1ull << 40;
    expect_refusal("no operation 40");
    w.config.port.kind = VMM_PORT_CONSOLE;
    expect_refusal("kind 1 cannot run in this program");
    w.config.port.kind = UINT32_MAX;
    expect_refusal("cannot run in this program");
}

Test(backend_process, refuses_descriptors_that_do_not_hold)
{
    struct backend_layout layout;
    prepare();
    backend_layout_init(&layout, &w.port);
    w.fds[BACKEND_FD_MEMORY] = sealed_memory(layout.bytes, F_SEAL_GROW);
    expect_refusal("shared with the VMM is not sealed");
    w.fds[BACKEND_FD_MEMORY] = sealed_memory(layout.bytes - 1, F_SEAL_SHRINK);
    expect_refusal("shared with the VMM is too small");
    w.fds[BACKEND_FD_MEMORY] = w.fds[BACKEND_FD_WAKE_VMM];
    expect_refusal("shared with the VMM is not sealed");
    w.fds[BACKEND_FD_LEVEL_SUPERVISOR] = sealed_memory(LEVEL_PAGE_SIZE - 1, F_SEAL_SHRINK);
    expect_refusal("page of the supervisor is too small");
    w.fds[BACKEND_FD_LEVEL_VMM] = sealed_memory(0, F_SEAL_SHRINK);
    expect_refusal("page of the VMM is too small");
    w.fds[BACKEND_FD_LEVEL_VMM] = sealed_memory(LEVEL_PAGE_SIZE, 0);
    expect_refusal("page of the VMM is not sealed");
    w.fds[BACKEND_FD_AUDIT_RING] = sealed_memory(4096, F_SEAL_SHRINK);
    expect_refusal("ring memory is too small");
    for (unsigned i = BACKEND_FD_WAKE_BACKEND; i < BACKEND_FD_SETTINGS; i++) {
        w.fds[i] = eventfd(0, EFD_CLOEXEC);
        expect_refusal("can block");
    }
    w.fds[BACKEND_FD_SETTINGS] = sealed_memory(10, 0);
    expect_refusal("memory of the settings is not sealed");
}
