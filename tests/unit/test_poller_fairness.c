// SPDX-License-Identifier: Apache-2.0
// Fairness by count: what other ports get between the publishing of a request and its service. All
// of it runs on the thread of the test, which is the poller's: every interleaving is one of the
// driver's making, and the same in every run.
#include "poller.h"
#include "port_harness.h"

#define PORTS 4u

static struct harness h;
static struct poller poller;

// One port with a queue of its own, and the driver behind it.
struct flow {
    unsigned index;
    bool storms; // its queue is never empty
    bool pends;  // its backend finishes each request in a later pass
    uint32_t read_bytes;
    unsigned slot;
    uint64_t served;
    // A request whose wait is measured: published, not served yet.
    bool waits;
    uint64_t others[PORTS]; // served by each port when it was published
    uint64_t most;          // of any other port, over all measured waits
    uint64_t measured;
};

static struct flow flows[PORTS];
static struct random random_state;
static uint64_t events_left;
static uint64_t pass_ns; // from one pass to the next: the poller may have slept

static unsigned outstanding(const struct flow *flow)
{
    return (uint16_t)(h.available[flow->index] - harness_used(&h, flow->index));
}

static void publish(struct flow *flow)
{
    harness_prepare_request(&h, flow->index, flow->slot, flow->read_bytes ? OPERATION_READ : 1, "x",
                            !flow->read_bytes, flow->read_bytes, flow->read_bytes, 1);
    harness_available(&h, flow->index, (uint16_t)(2 * flow->slot));
    flow->slot = (flow->slot + 1) % 32;
}

static void measure(struct flow *flow)
{
    if (flow->storms || flow->waits || outstanding(flow))
        return;
    for (unsigned i = 0; i < PORTS; i++)
        flow->others[i] = flows[i].served;
    flow->waits = true;
    publish(flow);
}

// Whenever a backend runs, drivers do.
static void drivers_act(void)
{
    for (unsigned i = 0; i < PORTS; i++) {
        while (flows[i].storms && outstanding(&flows[i]) < 32)
            publish(&flows[i]);
        if (random_chance(&random_state, 10))
            measure(&flows[i]);
    }
}

static void count(struct flow *flow)
{
    flow->served++;
    if (flow->waits) {
        flow->waits = false;
        flow->measured++;
        for (unsigned i = 0; i < PORTS; i++) {
            uint64_t served = flows[i].served - flow->others[i];
            if (i != flow->index && served > flow->most)
                flow->most = served;
        }
    }
    if (!--events_left)
        atomic_store(&poller.stop, 1);
    // The reader of the audit ring keeps up.
    audit_stream_flush(&h.audit);
    shared_ring_consume(&h.reader, shared_ring_available(&h.reader));
}

static enum port_progress flow_submit(void *state, struct port_request *request)
{
    struct flow *flow = (struct flow *)state;
    count(flow);
    drivers_act();
    return flow->pends ? PORT_PENDING : harness_finish(request);
}

static enum port_progress flow_resume(void *state, struct port_request *request)
{
    (void)state;
    drivers_act();
    return harness_finish(request);
}

// Drivers also act between requests, for otherwise nobody might be left to.
static void flow_poll(void *state)
{
    const struct flow *flow = (const struct flow *)state;
    if (flow->index == 0)
        h.now += pass_ns;
    drivers_act();
}

static void nothing(void *state)
{
    (void)state;
}

static bool never_ready(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

static const struct port_backend flow_backend = {
    .kind = PORT_KIND_CONSOLE,
    .name = "flow",
    .operations = harness_operations,
    .operation_count = COUNT(harness_operations),
    .submit = flow_submit,
    .resume = flow_resume,
    .poll = flow_poll,
    .flush = nothing,
    .prepare_sleep = never_ready,
    .forget = nothing,
};

static void start(void)
{
    struct error err;
    harness_start(&h, (struct harness_options){.backend = &flow_backend, .state = &flows[0]});
    const struct poller_settings settings = {
        .mode = POLLER_BUSY,
        .doorbell_fd = -1,
        .wake_fd = eventfd(0, EFD_NONBLOCK),
        .clock = &h.clock,
        .audit = &h.audit,
    };
    poller_init(&poller, &settings);
    for (unsigned i = 0; i < PORTS; i++) {
        flows[i].index = i;
        struct harness_options options = {.backend = &flow_backend, .state = &flows[i]};
        struct port *port = i ? harness_make_port(&h, i, options) : h.port;
        cr_assert_eq(poller_add(&poller, port, &err), 0);
    }
    random_state = random_start(70);
}

static void end(void)
{
    for (unsigned i = 1; i < PORTS; i++)
        port_destroy(poller.ports[i]);
    close(poller.settings.wake_fd);
    harness_end(&h);
    memset(flows, 0, sizeof(flows));
}

TestSuite(poller_fairness, .fini = end);

// Runs until `events` requests were served. `storming` and `pending` are bits by port.
static void run(unsigned storming, unsigned pending, uint32_t read_bytes, uint64_t events)
{
    start();
    events_left = events;
    for (unsigned i = 0; i < PORTS; i++) {
        flows[i].storms = storming >> i & 1;
        flows[i].pends = pending >> i & 1;
        flows[i].read_bytes = flows[i].storms ? read_bytes : 0;
        if (flows[i].storms)
            publish(&flows[i]);
    }
    poller_run(&poller);
}

// One port in a storm, wherever it stands among the others: at most POLLER_BUDGET of its requests
// pass between the publishing of another port's request and its service.
Test(poller_fairness, one_storm)
{
    for (unsigned storm = 0; storm < PORTS; storm++) {
        if (storm)
            end();
        run(1u << storm, 0, 0, 100000);
        for (unsigned i = 0; i < PORTS; i++) {
            if (i == storm)
                continue;
            cr_expect_gt(flows[i].measured, 500u);
            cr_expect_leq(flows[i].most, POLLER_BUDGET, "port %u waited for %llu of port %u", i,
                          (unsigned long long)flows[i].most, storm);
        }
        cr_expect_gt(flows[storm].served, 10000u);
    }
}

// The bound is for each other port: three of them cost three times as much, and no more.
Test(poller_fairness, three_storms)
{
    for (unsigned quiet = 0; quiet < PORTS; quiet++) {
        if (quiet)
            end();
        run(0xf & ~(1u << quiet), 0, 0, 200000);
        cr_expect_gt(flows[quiet].measured, 500u);
        cr_expect_leq(flows[quiet].most, POLLER_BUDGET);
        // And the storms among themselves have equal shares.
        uint64_t share = (200000 - flows[quiet].served) / 3;
        for (unsigned i = 0; i < PORTS; i++)
            if (i != quiet)
                cr_expect(flows[i].served > share * 9 / 10 && flows[i].served < share * 11 / 10,
                          "port %u: %llu of %llu", i, (unsigned long long)flows[i].served,
                          (unsigned long long)share);
    }
}

// The same with backends that finish later.
Test(poller_fairness, storms_that_pend)
{
    for (unsigned pending = 0; pending < 16; pending++) {
        if (pending)
            end();
        run(5, pending, 0, 50000);
        for (unsigned i = 1; i < PORTS; i += 2) {
            cr_expect_gt(flows[i].measured, 100u);
            cr_expect_leq(flows[i].most, POLLER_BUDGET);
        }
    }
}

// Large replies: a port hands on after PORT_SERVE_BYTES, long before its budget of requests.
Test(poller_fairness, storm_of_large_replies)
{
    const uint64_t bound = PORT_SERVE_BYTES / 0x4000 + 1;
    run(1, 0, 0x4000, 20000);
    for (unsigned i = 1; i < PORTS; i++) {
        cr_expect_gt(flows[i].measured, 100u);
        cr_expect_leq(flows[i].most, bound, "waited for %llu replies of 16 KiB",
                      (unsigned long long)flows[i].most);
    }
}

// What is scarce is shared too: with a budget of audit records that a storm would use up alone, the
// others have their turns. Between passes the poller sleeps until there is budget for one request.
Test(poller_fairness, storm_under_an_audit_budget)
{
    for (unsigned storm = 0; storm < PORTS; storm++) {
        if (storm)
            end();
        start();
        pass_ns = 2000000;
        token_bucket_init(&h.audit.budget, 1000, 100, h.now);
        events_left = 5000;
        flows[storm].storms = true;
        publish(&flows[storm]);
        poller_run(&poller);
        for (unsigned i = 0; i < PORTS; i++) {
            if (i == storm)
                continue;
            cr_expect_gt(flows[i].measured, 50u, "port %u starves behind port %u", i, storm);
            cr_expect_leq(flows[i].most, POLLER_BUDGET, "port %u waited for %llu", i,
                          (unsigned long long)flows[i].most);
        }
    }
}

// While it is another port's turn, a port's requests wait as those of the other one do: nobody has
// to stay awake for them.
Test(poller_fairness, sleeps_while_it_is_another_ones_turn)
{
    start();
    token_bucket_init(&h.audit.budget, 100, 2, h.now);
    events_left = UINT64_MAX;
    random_state = random_start(71);
    flows[0].storms = flows[1].storms = true;
    drivers_act();
    unsigned served = 0;
    for (int pass = 0; pass < 100; pass++) {
        uint64_t wake_ns = UINT64_MAX;
        unsigned now = 0;
        for (unsigned i = 0; i < 2; i++)
            now += port_serve(poller.ports[i], POLLER_BUDGET);
        served += now;
        if (now)
            continue;
        for (unsigned i = 0; i < 2; i++) {
            cr_assert(port_prepare_sleep(poller.ports[i], true, &wake_ns));
            port_wake(poller.ports[i]);
        }
        // A request's records are worth 20 ms.
        cr_assert(wake_ns > h.now && wake_ns <= h.now + 20000001, "wakes after %lld ns",
                  (long long)(wake_ns - h.now));
        h.now = wake_ns;
    }
    cr_expect_gt(served, 40u);
    cr_expect_leq(flows[0].served > flows[1].served ? flows[0].served - flows[1].served
                                                    : flows[1].served - flows[0].served,
                  1u, "%llu and %llu", (unsigned long long)flows[0].served,
                  (unsigned long long)flows[1].served);
}
