// SPDX-License-Identifier: Apache-2.0
// The poller on its own thread: every mode serves, sleeps when it may, and ends when told.
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "poller.h"
#include "port_harness.h"

static struct harness h;
static struct poller poller;
static pthread_t thread;

static void *run(void *context)
{
    poller_run((struct poller *)context);
    return NULL;
}

static void prepare(enum poller_mode mode)
{
    struct error err;
    harness_start(&h, (struct harness_options){.queues = 1});
    const struct poller_settings settings = {
        .mode = mode,
        .idle_spin_ns = 100000,
        .doorbell_interval_ns = 1000,
        .doorbell_fd = eventfd(0, EFD_NONBLOCK),
        .wake_fd = eventfd(0, EFD_NONBLOCK),
        .clock = &clock_host,
        .audit = &h.audit,
    };
    poller_init(&poller, &settings);
    cr_assert_eq(poller_add(&poller, h.port, &err), 0);
}

static void start(enum poller_mode mode)
{
    prepare(mode);
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
}

static void stop(void)
{
    poller_stop(&poller);
    pthread_join(thread, NULL);
}

static bool soon(bool (*condition)(void))
{
    for (int i = 0; i < 10000; i++) {
        if (condition())
            return true;
        usleep(1000);
    }
    return false;
}

static unsigned wanted;

static bool all_used(void)
{
    return harness_used(&h, 0) == wanted;
}

// A driver that rings if it is asked to, as virtio 1.2, 2.7.13.4 says.
static void ring(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(harness_ring(&h, 0, true), __ATOMIC_ACQUIRE) & VIRTQ_USED_NO_NOTIFY)
        return;
    uint64_t one = 1;
    cr_assert_eq(write(poller.settings.doorbell_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static void serves(enum poller_mode mode)
{
    start(mode);
    for (unsigned i = 0; i < 200; i++) {
        harness_post(&h, 0, i % 32, OPERATION_WRITE, "x", 1, 0, i);
        ring();
        wanted = i + 1;
        cr_assert(soon(all_used), "request %u was not served", i);
        if (i % 20 == 0)
            usleep(2000); // it falls asleep
    }
    stop();
    harness_drain(&h);
    cr_expect_eq(h.record_count, 400u);
    cr_expect_eq(mode != POLLER_BUSY, atomic_load(&poller.sleeps) > 0);
    // After the stop nothing is served.
    harness_post(&h, 0, 0, OPERATION_WRITE, "x", 1, 0, 1);
    cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(port_counters(h.port)->state, (uint32_t)PORT_CLOSED_ORDER);
}

Test(poller, adaptive, .timeout = 30)
{
    serves(POLLER_ADAPTIVE);
}

Test(poller, busy, .timeout = 30)
{
    serves(POLLER_BUSY);
}

Test(poller, doorbell, .timeout = 30)
{
    serves(POLLER_DOORBELL);
}

Test(poller, stops_while_it_sleeps, .timeout = 30)
{
    start(POLLER_DOORBELL);
    usleep(20000);
    stop();
    cr_expect_eq(port_counters(h.port)->state, (uint32_t)PORT_CLOSED_ORDER);
}

static bool anomaly_published(void)
{
    return shared_ring_available(&h.reader) > 0;
}

static void reports_anomaly(enum poller_mode mode)
{
    start(mode);
    harness_available(&h, 0, 0xffff);
    ring();
    cr_expect(soon(anomaly_published), "the supervisor does not hear of it");
    stop();
}

Test(poller, anomaly_is_published_when_adaptive, .timeout = 30)
{
    reports_anomaly(POLLER_ADAPTIVE);
}

// A busy poller has no idle moment in which it would publish what was written meanwhile.
Test(poller, anomaly_is_published_when_busy, .timeout = 30)
{
    reports_anomaly(POLLER_BUSY);
}

// ppoll of a test that waits for nothing but time.
static void nap(unsigned us)
{
    struct timespec time = {0, us * 1000};
    nanosleep(&time, NULL);
}

// What was stored before is in force after it, whether the poller polls or sleeps.
static void quiesces(enum poller_mode mode)
{
    start(mode);
    for (unsigned i = 0; i < 200; i++) {
        if (i % 10 == 0)
            nap(1000); // it falls asleep
        port_close(h.port);
        cr_assert(poller_quiesce(&poller, 5 * NS_PER_S), "stuck in round %u", i);
        harness_post(&h, 0, i % 32, OPERATION_WRITE, "x", 1, 0, i);
        ring();
        uint16_t before = harness_used(&h, 0);
        nap(50);
        cr_assert_eq(harness_used(&h, 0), before, "served after the close");
        port_open(h.port);
        cr_assert(poller_quiesce(&poller, 5 * NS_PER_S));
        wanted = i + 1;
        cr_assert(soon(all_used), "not served after the open");
    }
    stop();
    cr_expect(poller_quiesce(&poller, 0), "nothing runs any more");
}

Test(poller, quiesces_when_adaptive, .timeout = 30)
{
    quiesces(POLLER_ADAPTIVE);
}

Test(poller, quiesces_when_busy, .timeout = 30)
{
    quiesces(POLLER_BUSY);
}

Test(poller, quiesces_when_doorbell, .timeout = 30)
{
    quiesces(POLLER_DOORBELL);
}

static void take_time(struct harness *harness)
{
    (void)harness;
    nap(300);
}

// Not only seen but acted on, at every port, however long the others take.
Test(poller, quiesce_waits_until_every_port_has_acted, .timeout = 30)
{
    struct error err;
    prepare(POLLER_BUSY);
    h.on_poll = take_time;
    struct port *last = harness_make_port(&h, 1, (struct harness_options){.queues = 1});
    cr_assert_eq(poller_add(&poller, last, &err), 0);
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
    for (int i = 0; i < 100; i++) {
        port_close(last);
        cr_assert(poller_quiesce(&poller, 5 * NS_PER_S));
        cr_assert_eq(port_counters(last)->state, (uint32_t)PORT_CLOSED_ORDER, "round %d", i);
        port_open(last);
        cr_assert(poller_quiesce(&poller, 5 * NS_PER_S));
        cr_assert_eq(port_counters(last)->state, (uint32_t)PORT_OPEN, "round %d", i);
    }
    stop();
    port_destroy(last);
}

static _Atomic uint64_t rung;

static bool heard(void)
{
    return atomic_load(&rung) >= wanted;
}

// Also those that nobody listened to when they were rung.
Test(poller, counts_doorbells, .timeout = 30)
{
    prepare(POLLER_ADAPTIVE);
    poller.settings.doorbells = &rung;
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
    uint64_t one = 1;
    for (wanted = 1; wanted <= 500; wanted++)
        cr_assert_eq(write(poller.settings.doorbell_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
    wanted--;
    cr_expect(soon(heard), "%llu of 500", (unsigned long long)atomic_load(&rung));
    stop();
    cr_expect_eq(atomic_load(&rung), 500u, "none twice");
}

static _Atomic uint32_t observed;

static bool observes(void)
{
    return atomic_load(&observed) == wanted;
}

Test(poller, says_which_level_it_acts_on, .timeout = 30)
{
    prepare(POLLER_BUSY);
    poller.settings.observed = &observed;
    poller.settings.level_supervisor = &h.level_supervisor;
    poller.settings.level_own = &h.level_own;
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
    static const unsigned levels[] = {LEVEL_PROBATION, LEVEL_SEVERED, LEVEL_OFFLINE};
    for (unsigned i = 0; i < COUNT(levels); i++) {
        wanted = levels[i];
        atomic_store(i % 2 ? &h.level_supervisor.level : &h.level_own.level, wanted);
        cr_assert(soon(observes), "level %u", wanted);
        if (wanted < LEVEL_SEVERED)
            continue;
        // Served by nobody from now on, however long one looks.
        unsigned requests = atomic_load(&port_counters(h.port)->requests);
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
        uint64_t epoch = atomic_load(&poller.epoch);
        while (atomic_load(&poller.epoch) < epoch + 100)
            usleep(100);
        cr_expect_eq(atomic_load(&port_counters(h.port)->requests), requests);
    }
    stop();
}

Test(poller, takes_as_many_ports_as_a_vm_has)
{
    struct error err;
    prepare(POLLER_BUSY);
    for (unsigned i = 1; i < POLLER_MAX_PORTS; i++)
        cr_assert_eq(poller_add(&poller, h.port, &err), 0);
    cr_expect_eq(poller_add(&poller, h.port, &err), -1);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
}

static _Atomic bool released;
static _Atomic bool inside;

static void get_stuck(struct harness *harness, struct port_request *request)
{
    (void)harness;
    (void)request;
    atomic_store(&inside, true);
    while (!atomic_load(&released))
        nap(100);
}

static bool is_inside(void)
{
    return atomic_load(&inside);
}

// A poller that does not come back from a backend: whoever asks is told so.
Test(poller, quiesce_tells_of_a_stuck_poller, .timeout = 30)
{
    start(POLLER_ADAPTIVE);
    h.on_submit = get_stuck;
    harness_post(&h, 0, 0, OPERATION_WRITE, "x", 1, 0, 1);
    ring();
    cr_assert(soon(is_inside));
    for (int i = 0; i < 3; i++)
        cr_expect_not(poller_quiesce(&poller, 5 * NS_PER_MS));
    cr_expect_not(poller_quiesce(&poller, 0));
    atomic_store(&released, true);
    cr_expect(poller_quiesce(&poller, 5 * NS_PER_S));
    stop();
}

// A level that rises while the poller sleeps: what was pending is dropped once it is woken.
Test(poller, drops_when_woken, .timeout = 30)
{
    start(POLLER_DOORBELL);
    h.pend = true;
    for (unsigned i = 0; i < 4; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 10, i);
    ring();
    nap(5000);
    atomic_store(&h.level_supervisor.level, LEVEL_SEVERED);
    cr_assert(poller_quiesce(&poller, 5 * NS_PER_S));
    stop();
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 4u);
    cr_expect_eq(harness_used(&h, 0), 0);
}

// The audit ring is full: the poller sleeps until its reader made room, and goes on then.
Test(poller, sleeps_for_room_in_the_audit_ring, .timeout = 30)
{
    prepare(POLLER_ADAPTIVE);
    // All but three records are taken.
    uint64_t fill = (1 << 20) / sizeof(struct audit_record) - 3;
    cr_assert(audit_stream_reserve(&h.audit, (unsigned)fill, 0));
    for (uint64_t i = 0; i < fill; i++) {
        struct audit_record record = {.type = AUDIT_REQUEST};
        audit_stream_append(&h.audit, &record, NULL, 0);
    }
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
    for (unsigned i = 0; i < 4; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    ring();
    wanted = 1;
    cr_assert(soon(all_used));
    nap(20000);
    uint64_t sleeps = atomic_load(&poller.sleeps);
    nap(20000);
    cr_expect_leq(atomic_load(&poller.sleeps), sleeps + 1, "it does not sleep");
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect(shared_ring_consume(&h.reader, fill / 2 * sizeof(struct audit_record)),
              "nobody asked for a wake-up");
    uint64_t one = 1;
    cr_assert_eq(write(poller.settings.wake_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
    wanted = 4;
    cr_expect(soon(all_used));
    stop();
}

// The rest runs on the thread of the test, with a clock that moves when it is read.

static uint64_t step_ns;

static uint64_t stepping_now(const struct clock *clock)
{
    struct harness *harness = (struct harness *)clock->context;
    return harness->now += step_ns;
}

static unsigned passes, armed;
static uint64_t begun_ns, last_armed_ns;

// A model that rings without end: doorbells are heard, and armed again, once in each interval.
static void count_arms(struct harness *harness)
{
    uint64_t one = 1;
    if (passes++ && !(*harness_ring(harness, 0, true) & VIRTQ_USED_NO_NOTIFY)) {
        armed++;
        cr_assert(!last_armed_ns || harness->now - last_armed_ns >= 99000);
        last_armed_ns = harness->now;
    }
    if (passes == 20000)
        atomic_store(&poller.stop, 1);
    // Whatever the poller waits for is there.
    cr_assert_gt(write(poller.settings.wake_fd, &one, sizeof(one)), 0);
    cr_assert_gt(write(poller.settings.doorbell_fd, &one, sizeof(one)), 0);
}

Test(poller, doorbells_are_armed_once_in_an_interval, .timeout = 30)
{
    prepare(POLLER_DOORBELL);
    poller.settings.clock = &h.clock;
    poller.settings.doorbell_interval_ns = 100000;
    h.clock.now_ns = stepping_now;
    h.on_poll = count_arms;
    step_ns = 500;
    begun_ns = h.now;
    poller_run(&poller);
    cr_expect_leq(armed, (h.now - begun_ns) / 100000 + 1);
    cr_expect_geq(armed, (h.now - begun_ns) / 100000 / 2, "%u times in %llu us", armed,
                  (unsigned long long)((h.now - begun_ns) / 1000));
}
