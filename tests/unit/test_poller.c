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

static void start(enum poller_mode mode)
{
    struct error err;
    harness_start(&h, 1, GRANTED, 4096, NULL, 1 << 20);
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
    cr_assert_eq(pthread_create(&thread, NULL, run, &poller), 0);
}

static void stop(void)
{
    poller_stop(&poller);
    pthread_join(thread, NULL);
}

static bool soon(bool (*condition)(void))
{
    for (int i = 0; i < 2000; i++) {
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
    cr_expect_eq(port_counters(h.port)->closed, 1u);
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
