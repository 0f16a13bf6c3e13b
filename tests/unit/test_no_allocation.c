// SPDX-License-Identifier: Apache-2.0
// No allocation, no lock, no system call per request: counted, over a million requests of 64 bytes
// with policy, limits and audit on. The allocator and the locks are wrapped by the linker; system
// calls of the serving thread are trapped by a filter of its own, and the handler counts them.
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback.h"
#include "poller.h"
#include "support.h"

#define REQUESTS   1000000u
#define PAYLOAD    64u
#define BATCH      32u
#define IO_BASE    0x8000000ull
#define IO_BYTES   0x40000u
#define QUEUE_SIZE 64u
#define BUFFERS    0x10000u
#define STRIDE     0x200u
#define AUDIT_SIZE (1u << 20)

// A sanitizer's runtime makes system calls of its own: then only the others are counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_CALLS 0
#else
#define COUNTS_CALLS 1
#endif

// Shared between the test and the process in which the filter lives.
struct result {
    uint64_t allocations, locks, calls, last_call;
    uint64_t control_allocations, control_locks, control_calls;
    uint64_t served, records;
    bool clock_is_a_call;
};

static struct result *result;
static _Thread_local bool counting; // only the serving thread, only while it serves

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *old);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *old);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t size)
{
    if (counting)
        result->allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (counting)
        result->allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    if (counting)
        result->allocations++;
    return __real_realloc(old, size);
}

void __wrap_free(void *old)
{
    if (counting)
        result->allocations++;
    __real_free(old);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (counting)
        result->locks++;
    return __real_pthread_mutex_lock(mutex);
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    if (counting)
        result->locks++;
    return __real_pthread_mutex_trylock(mutex);
}

// Where the host's clock is not in the vDSO, reading it is a system call: not the fabric's doing.
// Then, and only then, time comes from a counter.
static uint64_t counted_now(const struct clock *clock)
{
    (void)clock;
    return __builtin_ia32_rdtsc();
}

static const struct clock counted_clock = {counted_now, counted_now, NULL};

static struct {
    uint8_t *io;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct audit_stream audit;
    struct shared_ring reader;
    struct port_fabric fabric;
    struct port *port;
    struct poller poller;
    uint16_t available;
    _Atomic bool done;
} w;

static void on_call(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    result->calls++;
    result->last_call = (uint64_t)info->si_syscall;
}

// From here on every system call of this thread but the return from the handler and the end of the
// process is trapped. Other threads, which exist already, are not concerned.
static void trap_calls(void)
{
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    const struct sock_fprog program = {COUNT(code), code};
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(3);
}

// The reader of the audit ring: looks by itself, and is never woken.
static void *read_audit(void *context)
{
    struct audit_record record;
    (void)context;
    while (!atomic_load(&w.done)) {
        uint64_t available = shared_ring_available(&w.reader);
        for (uint64_t at = 0; at < available; at += sizeof(record)) {
            shared_ring_peek(&w.reader, at, &record, sizeof(record));
            result->records += record.decision == AUDIT_DECISION_ALLOW;
        }
        if (available)
            shared_ring_consume(&w.reader, available);
        else
            sched_yield();
    }
    return NULL;
}

static void raise_event(void *context, unsigned target)
{
    (void)context;
    (void)target;
}

static void build(const struct clock *clock)
{
    // Every bucket is looked at, none is ever empty.
    static const struct limits_config limits = {
        .requests_per_s = 1ull << 40,
        .bytes_per_s = 1ull << 40,
        .requests_total = 1ull << 60,
        .bytes_total = 1ull << 60,
        .reply_bytes_per_s = 1ull << 40,
        .reply_bytes_total = 1ull << 60,
        .capacity_bits_per_s = 1ull << 41,
    };
    struct error err;
    struct virtqueue queue;
    int fd = shared_ring_create("audit", AUDIT_SIZE, &err);
    w.io = (uint8_t *)mmap(NULL, IO_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    w.audit.wake_fd = eventfd(0, EFD_NONBLOCK);
    w.fabric = (struct port_fabric){
        &w.level_supervisor, &w.level_own, &w.audit, clock, {.raise_event = raise_event}};
    const struct port_settings settings = {
        .name = "counted",
        .backend = &loopback_backend,
        .operations = 1u << LOOPBACK_ECHO,
        .max_request_bytes = 4096,
        .max_reply_bytes = 4096,
        .in_flight = PORT_MAX_IN_FLIGHT,
        .limits = &limits,
    };
    bool good =
        shared_ring_map(&w.audit.ring, fd, AUDIT_SIZE, &err) == 0 &&
        shared_ring_map(&w.reader, fd, AUDIT_SIZE, &err) == 0 &&
        guest_memory_add(&w.memory, (struct gpa){IO_BASE}, IO_BYTES, w.io, GUEST_READ | GUEST_WRITE,
                         &err) == 0 &&
        virtqueue_init(&queue, &w.memory, QUEUE_SIZE, 0, (struct gpa){IO_BASE},
                       (struct gpa){IO_BASE + 0x1000}, (struct gpa){IO_BASE + 0x2000}, &err) == 0;
    w.port = good ? port_create(&w.fabric, &settings, &err) : NULL;
    if (!w.port || port_add_queue(w.port, &queue, 0, &err) < 0)
        _exit(4);
    token_bucket_init(&w.audit.budget, 1ull << 40, 1ull << 40, clock_now_ns(clock));
}

// The driver's part, before anything is counted: 32 chains of a request and a reply each.
static void fill_queue(void)
{
    for (unsigned i = 0; i < BATCH; i++) {
        const uint64_t buffer = BUFFERS + i * STRIDE;
        const struct port_request_header header = {
            .operation = LOOPBACK_ECHO, .cookie = i, .length = PAYLOAD};
        const struct virtq_descriptor chain[] = {
            {IO_BASE + buffer, sizeof(header) + PAYLOAD, VIRTQ_DESCRIPTOR_NEXT,
             (uint16_t)(2 * i + 1)},
            {IO_BASE + buffer + STRIDE / 2, sizeof(struct port_reply_header) + PAYLOAD,
             VIRTQ_DESCRIPTOR_WRITE, 0},
        };
        memcpy(w.io + buffer, &header, sizeof(header));
        memset(w.io + buffer + sizeof(header), (int)i, PAYLOAD);
        memcpy(w.io + i * sizeof(chain), chain, sizeof(chain));
    }
}

static uint16_t *ring(unsigned offset)
{
    return (uint16_t *)(void *)(w.io + offset);
}

static void publish(unsigned requests)
{
    for (unsigned i = 0; i < requests; i++)
        ring(0x1000)[2 + w.available++ % QUEUE_SIZE] = (uint16_t)(2 * (i % BATCH));
    __atomic_store_n(&ring(0x1000)[1], w.available, __ATOMIC_RELEASE);
}

// As the poller does it: a pass and a flush, and every so often the ticks.
static void serve_all(const struct clock *clock)
{
    uint64_t tick_ns = 0;
    for (unsigned done = 0; done < REQUESTS; done += BATCH) {
        publish(BATCH);
        for (unsigned served = 0; served < BATCH;) {
            served += port_serve(w.port, POLLER_BUDGET);
            audit_stream_flush(&w.audit);
            if (clock_now_ns(clock) - tick_ns > NS_PER_MS) {
                tick_ns = clock_now_ns(clock);
                port_notify(w.port);
                audit_stream_notify(&w.audit);
            }
        }
        result->served += BATCH;
    }
}

// What is counted is counted.
static void control(void)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    counting = true;
    void *volatile memory = malloc(10);
    free(memory);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    syscall(SYS_getppid);
    clock_now_ns(&clock_host);
    counting = false;
    result->control_allocations = result->allocations;
    result->control_locks = result->locks;
    result->control_calls = result->calls;
    result->clock_is_a_call = result->calls > 1;
    result->allocations = result->locks = result->calls = 0;
}

static void run(void)
{
    pthread_t thread;
    struct timespec time;
    // Whether the clock is a system call has to be known before there is a filter.
    const struct clock *clock = &clock_host;
    build(clock);
    fill_queue();
    if (pthread_create(&thread, NULL, read_audit, NULL))
        _exit(5);
    clock_gettime(CLOCK_BOOTTIME, &time); // whatever is done once is done
    if (COUNTS_CALLS)
        trap_calls();
    control();
    if (result->clock_is_a_call)
        w.fabric.clock = clock = &counted_clock;
    counting = true;
    serve_all(clock);
    counting = false;
    // The last records: the reader has taken all of them when the ring is empty.
    while (shared_ring_space(&w.audit.ring) < AUDIT_SIZE) {
    }
    _exit(0);
}

Test(no_allocation, million_requests, .timeout = 55)
{
    int status;
    result = (struct result *)mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(result, MAP_FAILED);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (!child)
        run();
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
    cr_assert_eq(result->control_allocations, 2u, "the allocator is not counted");
    cr_assert_eq(result->control_locks, 1u, "locks are not counted");
    if (COUNTS_CALLS)
        cr_assert_geq(result->control_calls, 1u, "system calls are not counted");
    cr_expect_eq(result->served, REQUESTS);
    cr_expect_eq(result->records, 2ull * REQUESTS, "%llu records",
                 (unsigned long long)result->records);
    cr_expect_eq(result->allocations, 0u);
    cr_expect_eq(result->locks, 0u);
    cr_expect_eq(result->calls, 0u, "%llu system calls, the last one %llu",
                 (unsigned long long)result->calls, (unsigned long long)result->last_call);
}
