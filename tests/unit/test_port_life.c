// SPDX-License-Identifier: Apache-2.0
// A port's life: gates that shut and open, holds, orders, anomalies, sleep, and what is measured.
#include "port_harness.h"

static struct harness h;

static void end(void)
{
    harness_end(&h);
}

TestSuite(port_life, .fini = end);

static void start(void)
{
    harness_start(&h, (struct harness_options){.queues = 1});
}

static uint32_t state(void)
{
    return port_counters(h.port)->state;
}

static void post_reads(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 100, i);
}

// The next chain that comes back is `slot`, dropped: 0 bytes, nothing in its buffer.
static void expect_dropped(unsigned queue, unsigned slot)
{
    cr_assert_neq(h.used_seen[queue], harness_used(&h, queue), "nothing came back");
    struct virtq_used_element element = harness_used_element(&h, queue, h.used_seen[queue]++);
    cr_expect_eq(element.id, 2 * slot);
    cr_expect_eq(element.length, 0u);
    harness_untouched(&h, queue, slot);
}

// Shut by either side, by a level or by nonsense, or held: nothing is even taken, and what waits is
// served when the gate opens again.
Test(port_life, nothing_is_taken_behind_a_gate)
{
    static const uint32_t levels[] = {2, 3, 4, 5, 6, 255, UINT32_MAX, 0, 1};
    for (unsigned side = 0; side < 2; side++)
        for (size_t i = 0; i < COUNT(levels); i++) {
            start();
            struct level_page *page = side ? &h.level_own : &h.level_supervisor;
            atomic_store(&page->level, levels[i]);
            if (levels[i] < LEVEL_SEVERED)
                atomic_store(&page->hold, 1);
            harness_post(&h, 0, 0, OPERATION_WRITE, "x", 1, 0, 9);
            for (int k = 0; k < 3; k++)
                cr_expect_eq(port_serve(h.port, 10), 0u);
            cr_expect_eq(h.submits, 0u);
            cr_expect_eq(harness_used(&h, 0), 0);
            cr_expect_eq(h.events[0], 0u);
            harness_untouched(&h, 0, 0);
            harness_drain(&h);
            cr_expect_eq(h.record_count, 0u);
            cr_expect_eq(port_counters(h.port)->requests, 0u);
            cr_expect_eq(state(), (uint32_t)PORT_OPEN, "a gate does not close a port");
            uint64_t wake = UINT64_MAX;
            cr_expect(port_prepare_sleep(h.port, true, &wake));
            cr_expect_eq(wake, UINT64_MAX);
            port_wake(h.port);
            atomic_store(&page->level, LEVEL_STANDARD);
            atomic_store(&page->hold, 0);
            cr_expect_eq(port_serve(h.port, 10), 1u);
            cr_expect_eq(h.submits, 1u);
            cr_expect_eq(harness_used_element(&h, 0, 0).length, 16u);
            cr_expect_eq(h.audit.reserved, 0u);
            if (side != 1 || i + 1 != COUNT(levels))
                harness_end(&h);
        }
}

// What is pending when a gate shuts is dropped, with a record, and comes back once, without a byte,
// when it opens again.
Test(port_life, shut_gate_drops_what_is_pending)
{
    start();
    h.pend = true;
    post_reads(0, 8);
    port_serve(h.port, 10);
    atomic_store(&h.level_supervisor.level, LEVEL_SEVERED);
    h.finish = 100;
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    cr_expect_eq(h.forgets, 1u);
    cr_expect_eq(h.resumes, 0u);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 8; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 8u);
    for (unsigned i = 8; i < 16; i++) {
        cr_expect_eq(h.records[i].decision, AUDIT_DECISION_GATE);
        cr_expect_eq(h.records[i].status, (uint32_t)PORT_STATUS_CLOSED);
        cr_expect_eq(h.records[i].cookie, i - 8);
    }
    cr_expect_eq(h.audit.reserved, 0u);
    cr_expect_eq(port_counters(h.port)->in_flight, 0u);
    atomic_store(&h.level_supervisor.level, LEVEL_PROBATION);
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    for (unsigned i = 0; i < 8; i++)
        expect_dropped(0, i);
    cr_expect_eq(harness_used(&h, 0), 8);
    cr_expect_eq(h.events[0], 1u, "the driver hears of it");
    // The buffers are the driver's again.
    h.pend = false;
    post_reads(0, 1);
    for (int i = 0; i < 3; i++) {
        port_serve(h.port, 10);
        harness_drain(&h);
    }
    cr_expect_eq(harness_header(&h, 0, 0).length, 100u);
}

Test(port_life, hold_drops_nothing)
{
    start();
    h.pend = true;
    post_reads(0, 8);
    port_serve(h.port, 10);
    atomic_store(&h.level_supervisor.hold, 1);
    h.finish = 100;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 0u);
    cr_expect_eq(port_counters(h.port)->in_flight, 8u);
    atomic_store(&h.level_supervisor.hold, 0);
    port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 8);
    cr_expect_eq(h.forgets, 0u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 8u);
}

// A hold that becomes a level: what it kept is dropped.
Test(port_life, level_raised_during_a_hold)
{
    static const struct limits_config limits = {.requests_per_s = 1, .request_burst = 8};
    harness_start(&h, (struct harness_options){.limits = &limits});
    h.pend = true;
    post_reads(0, 10);
    cr_expect_eq(port_serve(h.port, 100), 9u); // eight pending, one throttled, one not taken
    atomic_store(&h.level_own.hold, 1);
    h.finish = 100;
    port_serve(h.port, 100);
    atomic_store(&h.level_own.level, LEVEL_OFFLINE);
    port_serve(h.port, 100);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 9u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 9u);
    cr_expect_eq(h.audit.reserved, 0u);
    for (unsigned i = 0; i < 10; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(harness_used(&h, 0), 0);
}

// Replies that wait for their rate are in flight as much as any.
Test(port_life, shut_gate_drops_replies_that_wait)
{
    static const struct limits_config limits = {.reply_bytes_per_s = 100, .reply_byte_burst = 100};
    harness_start(&h, (struct harness_options){.limits = &limits});
    post_reads(0, 4);
    port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 1);
    h.used_seen[0] = 1;
    atomic_store(&h.level_own.level, LEVEL_SEVERED);
    h.now += 100000000000;
    port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(h.forgets, 0u, "nothing is at the backend");
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 4u);
    cr_expect_eq(h.audit.reserved, 0u);
    atomic_store(&h.level_own.level, LEVEL_STANDARD);
    port_serve(h.port, 10);
    for (unsigned i = 1; i < 4; i++)
        expect_dropped(0, i);
}

Test(port_life, gate_shuts_while_throttled)
{
    static const struct limits_config limits = {.requests_per_s = 1, .request_burst = 1};
    harness_start(&h, (struct harness_options){.limits = &limits});
    harness_post(&h, 0, 0, OPERATION_WRITE, "a", 1, 0, 1);
    harness_post(&h, 0, 1, OPERATION_WRITE, "b", 1, 0, 2);
    port_serve(h.port, 10);
    atomic_store(&h.level_own.level, LEVEL_OFFLINE);
    h.now += 5000000000;
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    harness_untouched(&h, 0, 1);
    cr_expect_eq(harness_used(&h, 0), 1);
    harness_drain(&h);
    cr_assert_eq(h.record_count, 4u);
    cr_expect_eq(h.records[2].type, AUDIT_REQUEST);
    cr_expect_eq(h.records[2].decision, AUDIT_DECISION_GATE);
    cr_expect_eq(h.records[2].rule, POLICY_RULE_DEFAULT_DENY);
    cr_expect_eq(h.records[2].cookie, 2u);
    cr_expect_geq(h.records[2].level, LEVEL_SEVERED);
    cr_expect_eq(h.records[3].type, AUDIT_COMPLETION);
    cr_expect_eq(h.records[3].status, (uint32_t)PORT_STATUS_CLOSED);
    cr_expect_eq(h.audit.reserved, 0u);
    h.used_seen[0] = 1;
    atomic_store(&h.level_own.level, LEVEL_STANDARD);
    port_serve(h.port, 10);
    expect_dropped(0, 1);
}

// The orders, from any thread: in force with the next call of port_serve.
Test(port_life, close_and_open)
{
    start();
    h.pend = true;
    post_reads(0, 6);
    port_serve(h.port, 4);
    cr_expect_eq(h.submits, 4u);
    port_close(h.port);
    h.finish = 100;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ORDER);
    cr_expect_eq(h.submits, 4u);
    cr_expect_eq(h.resumes, 0u);
    cr_expect_eq(h.forgets, 1u);
    cr_expect_eq(h.polls, 4u, "a backend is polled also while its port is closed");
    cr_expect_eq(harness_used(&h, 0), 0);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 4u);
    cr_expect_eq(h.audit.reserved, 0u, "%llu bytes stay reserved",
                 (unsigned long long)h.audit.reserved);
    uint64_t wake = UINT64_MAX;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(h.sleeps, 0u);
    cr_expect_eq(wake, UINT64_MAX);
    port_close(h.port); // once more is no more
    port_serve(h.port, 10);
    cr_expect_eq(h.forgets, 1u);

    port_open(h.port);
    cr_expect_not(port_prepare_sleep(h.port, true, &wake), "asleep with an order to carry out");
    port_wake(h.port);
    h.pend = false;
    cr_expect_eq(port_serve(h.port, 10), 2u);
    cr_expect_eq(state(), (uint32_t)PORT_OPEN);
    for (unsigned i = 0; i < 4; i++)
        expect_dropped(0, i);
    // What was published and not taken is served: nothing was wrong with it.
    cr_assert_eq(harness_used(&h, 0), 6);
    cr_expect_eq(harness_used_element(&h, 0, 4).id, 8u);
    cr_expect_eq(harness_header(&h, 0, 5).length, 100u);
    cr_expect_eq(h.submits, 6u);
    port_open(h.port);
    port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 6);
}

static void close_port(struct harness *harness, struct port_request *request)
{
    (void)request;
    port_close(harness->port);
}

static void raise_level(struct harness *harness, struct port_request *request)
{
    (void)request;
    atomic_store(&harness->level_own.level, LEVEL_SEVERED);
}

// Closed while the backend works on a request: the request and those behind it stay here.
Test(port_life, close_inside_a_backend)
{
    start();
    h.on_submit = close_port;
    post_reads(0, 4);
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    h.on_submit = NULL;
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ORDER);
    unsigned dropped = harness_count(&h, AUDIT_COMPLETION);
    cr_expect(dropped >= 1 && dropped <= 4);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), dropped);
    cr_expect_eq(h.audit.reserved, 0u);
    port_open(h.port);
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    for (unsigned i = 0; i < dropped; i++)
        expect_dropped(0, i);
    cr_expect_eq(harness_used(&h, 0), 4);
    cr_expect_eq(h.submits, 1 + 4 - dropped);
}

// The gate shuts and opens again within one call: what was dropped meanwhile comes back all the
// same.
Test(port_life, shut_for_a_moment)
{
    for (int order = 0; order < 2; order++) {
        start();
        h.on_submit = order ? close_port : raise_level;
        post_reads(0, 1);
        port_serve(h.port, 10);
        port_open(h.port);
        atomic_store(&h.level_own.level, LEVEL_STANDARD);
        for (int i = 0; i < 3; i++)
            port_serve(h.port, 10);
        cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 1u);
        expect_dropped(0, 0);
        cr_expect_eq(h.events[0], 1u);
        if (!order)
            harness_end(&h);
    }
}

// An open order waits for the gate, and the other way round.
Test(port_life, order_and_gate_together)
{
    for (int order_first = 0; order_first < 2; order_first++) {
        start();
        h.pend = true;
        post_reads(0, 3);
        port_serve(h.port, 10);
        atomic_store(&h.level_own.level, LEVEL_SEVERED);
        port_serve(h.port, 10);
        port_close(h.port);
        port_serve(h.port, 10);
        cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ORDER);
        for (int step = 0; step < 2; step++) {
            cr_expect_eq(harness_used(&h, 0), 0);
            if (step == order_first)
                atomic_store(&h.level_own.level, LEVEL_STANDARD);
            else
                port_open(h.port);
            for (int i = 0; i < 3; i++)
                port_serve(h.port, 10);
        }
        for (unsigned i = 0; i < 3; i++)
            expect_dropped(0, i);
        cr_expect_eq(harness_used(&h, 0), 3, "returned twice");
        cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 3u);
        if (!order_first)
            harness_end(&h);
    }
}

// After an anomaly only an order opens the port, and it passes over all that the driver left.
Test(port_life, open_after_an_anomaly)
{
    harness_start(&h, (struct harness_options){.queues = 2});
    h.pend = true;
    post_reads(0, 2);
    port_serve(h.port, 10);
    post_reads(2, 4);
    harness_post(&h, 1, 0, OPERATION_WRITE, "x", 1, 0, 1);
    h.pend = false;
    harness_available(&h, 0, 0xffff);
    post_reads(4, 6);
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ANOMALY);
    cr_expect_eq(port_counters(h.port)->anomalies, 1u);
    cr_expect_eq(port_counters(h.port)->anomaly_rule, (uint32_t)QUEUE_RULE_HEAD_RANGE);
    cr_expect_eq(harness_count(&h, AUDIT_ANOMALY), 1u);
    unsigned before = h.submits;
    uint16_t served = harness_used(&h, 0);
    // A close order changes nothing: it is still the anomaly that opening has to deal with.
    port_close(h.port);
    port_serve(h.port, 10);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ANOMALY);
    port_open(h.port);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(state(), (uint32_t)PORT_OPEN);
    cr_expect_eq(h.submits, before, "what was published before is served");
    for (h.used_seen[0] = served; h.used_seen[0] != harness_used(&h, 0); h.used_seen[0]++)
        cr_expect_eq(harness_used_element(&h, 0, h.used_seen[0]).length, 0u);
    // What comes now is served.
    post_reads(10, 12);
    harness_post(&h, 1, 1, OPERATION_WRITE, "y", 1, 0, 1);
    cr_expect_eq(port_serve(h.port, 10), 3u);
    cr_expect_eq(h.submits, before + 3);
    cr_expect_eq(harness_header(&h, 0, 11).length, 100u);
    // And the next anomaly is another one.
    harness_available(&h, 1, 0xffff);
    port_serve(h.port, 10);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ANOMALY);
    cr_expect_eq(port_counters(h.port)->anomalies, 2u);
    cr_expect_eq(harness_count(&h, AUDIT_ANOMALY), 2u);
}

// Only the queue that broke a rule is passed over: the others did nothing wrong.
Test(port_life, other_queues_after_an_anomaly)
{
    for (unsigned broken = 0; broken < 3; broken++) {
        harness_start(&h, (struct harness_options){.queues = 3});
        harness_available(&h, broken, 0xffff);
        while (state() == PORT_OPEN)
            port_serve(h.port, 10);
        for (unsigned queue = 0; queue < 3; queue++)
            for (unsigned i = 0; i < 4; i++)
                harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)queue}, 1, 0, 1);
        port_serve(h.port, 10);
        cr_expect_eq(h.submits, 0u);
        port_open(h.port);
        for (int i = 0; i < 5; i++)
            port_serve(h.port, 10);
        cr_expect_eq(state(), (uint32_t)PORT_OPEN);
        cr_expect_eq(h.submits, 8u);
        for (unsigned queue = 0; queue < 3; queue++)
            cr_expect_eq(harness_used(&h, queue), queue == broken ? 0 : 4, "queue %u", queue);
        if (broken < 2)
            harness_end(&h);
    }
}

// A port that Probation does not leave open, and one that it does.
Test(port_life, probation)
{
    for (int closed = 0; closed < 2; closed++) {
        harness_start(&h, (struct harness_options){.closed_at_probation = closed});
        h.pend = true;
        post_reads(0, 2);
        port_serve(h.port, 10);
        atomic_store(&h.level_supervisor.level, LEVEL_PROBATION);
        h.finish = 10;
        for (int i = 0; i < 4; i++) {
            port_serve(h.port, 10);
            harness_drain(&h); // what Probation leaves open waits for the log
        }
        cr_expect_eq(harness_used(&h, 0), closed ? 0 : 2);
        cr_expect_eq(h.forgets, (unsigned)closed);
        cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 2u);
        unsigned completion = closed ? 2 : 5; // behind the marks of both, and a reply
        cr_expect_eq(h.records[completion].type, AUDIT_COMPLETION);
        cr_expect_eq(h.records[completion].decision,
                     closed ? AUDIT_DECISION_GATE : AUDIT_DECISION_ALLOW);
        atomic_store(&h.level_supervisor.level, LEVEL_STANDARD);
        port_serve(h.port, 10);
        cr_expect_eq(harness_used(&h, 0), 2);
        for (unsigned i = 0; closed && i < 2; i++)
            expect_dropped(0, i);
        if (!closed)
            harness_end(&h);
    }
}

// Opened and closed again before the port was served: what its driver left is still not trusted.
Test(port_life, anomaly_is_not_forgotten)
{
    start();
    harness_available(&h, 0, 0xffff);
    post_reads(0, 2);
    port_serve(h.port, 10);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ANOMALY);
    port_open(h.port);
    port_close(h.port);
    port_serve(h.port, 10);
    cr_expect_neq(state(), (uint32_t)PORT_OPEN);
    port_open(h.port);
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 10);
    cr_expect_eq(state(), (uint32_t)PORT_OPEN,
                 "what was published before the anomaly is looked at");
    cr_expect_eq(h.submits, 0u);
}

// Each rule that a request breaks after its chain was taken: the chain comes back with 0 bytes.
Test(port_life, chain_of_a_bad_header_comes_back)
{
    start();
    harness_prepare_request(&h, 0, 0, OPERATION_READ, NULL, 0, 10, 10, 1);
    ((struct port_request_header *)(void *)harness_buffer(&h, 0, 0))->flags = 1;
    harness_available(&h, 0, 0);
    port_serve(h.port, 10);
    cr_expect_eq(port_counters(h.port)->anomaly_rule, (uint32_t)QUEUE_RULE_RESERVED);
    cr_expect_eq(port_counters(h.port)->requests, 0u);
    cr_expect_eq(harness_used(&h, 0), 0);
    port_open(h.port);
    port_serve(h.port, 10);
    expect_dropped(0, 0);
    post_reads(0, 1);
    port_serve(h.port, 10);
    cr_expect_eq(harness_header(&h, 0, 0).length, 100u);
}

// Orders, levels and holds at random, between calls and inside a backend: each chain comes back
// exactly once, with all of its reply or with nothing, and each request has its two records.
static struct random orders;

static void give_order(unsigned percent)
{
    if (!random_chance(&orders, percent))
        return;
    switch (random_below(&orders, 3)) {
    case 0:
        port_close(h.port);
        break;
    case 1:
        atomic_store(&h.level_own.level, LEVEL_SEVERED);
        break;
    default:
        atomic_store(&h.level_supervisor.hold, 1);
        break;
    }
}

static void order_inside(struct harness *harness, struct port_request *request)
{
    (void)harness;
    (void)request;
    give_order(5);
}

static void open_all(void)
{
    port_open(h.port);
    atomic_store(&h.level_own.level, LEVEL_STANDARD);
    atomic_store(&h.level_supervisor.hold, 0);
}

// `settled`: the port has its turn between an order and its opposite, as when each order is
// followed by poller_quiesce.
static void orders_at_random(bool settled)
{
    static const struct limits_config limits = {.reply_bytes_per_s = 200000};
    struct random random = random_start(59);
    orders = random_start(63);
    harness_start(&h, (struct harness_options){.queues = 3, .in_flight = 12, .limits = &limits});
    h.on_submit = order_inside;
    bool busy[3][32] = {{false}};
    uint64_t posted = 0, returned = 0, empty = 0;
    for (int round = 0; round < 30000; round++) {
        unsigned queue = random_below(&random, 3), slot = random_below(&random, 32);
        bool last = round > 29900;
        if (!busy[queue][slot]) {
            busy[queue][slot] = true;
            harness_post(&h, queue, slot, OPERATION_READ, NULL, 0, random_below(&random, 500),
                         posted++);
        }
        h.pend = !last && random_chance(&random, 50);
        h.finish = last ? 1000 : random_below(&random, 4);
        h.on_submit = last ? NULL : order_inside;
        h.now += last ? 100000000 : random_below(&random, 2000000);
        port_serve(h.port, 1 + random_below(&random, 8));
        if (settled) {
            h.on_submit = NULL;
            port_serve(h.port, 1);
        }
        if (last || random_chance(&random, 20))
            open_all();
        else
            give_order(3);
        for (unsigned q = 0; q < 3; q++)
            for (; h.used_seen[q] != harness_used(&h, q); h.used_seen[q]++, returned++) {
                struct virtq_used_element element = harness_used_element(&h, q, h.used_seen[q]);
                unsigned s = element.id / 2;
                cr_assert(busy[q][s], "came back twice");
                busy[q][s] = false;
                empty += !element.length;
                if (element.length)
                    cr_assert_eq(element.length, 16 + harness_header(&h, q, s).length);
            }
        h.record_count = 0;
        harness_drain(&h);
    }
    for (int i = 0; i < 10; i++)
        port_serve(h.port, 1000);
    for (unsigned q = 0; q < 3; q++)
        returned += (uint16_t)(harness_used(&h, q) - h.used_seen[q]);
    cr_expect_eq(returned, posted, "%llu chains never came back",
                 (unsigned long long)(posted - returned));
    cr_expect_gt(empty, 100u);
    cr_expect_gt(returned - empty, 3000u);
    harness_drain(&h);
    cr_expect_eq(h.audit.sequence, 2 * port_counters(h.port)->requests);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_life, every_chain_comes_back_once)
{
    orders_at_random(true);
}

Test(port_life, every_chain_comes_back_once_whatever_overtakes_what)
{
    orders_at_random(false);
}

// port_stop is for good: no order opens the port again, and no chain comes back.
Test(port_life, stop_is_final)
{
    start();
    h.pend = true;
    post_reads(0, 4);
    port_serve(h.port, 2);
    port_stop(h.port);
    cr_expect_eq(h.forgets, 1u);
    cr_expect_eq(state(), (uint32_t)PORT_CLOSED_ORDER);
    port_open(h.port);
    h.finish = 100;
    for (int i = 0; i < 5; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    port_stop(h.port);
    cr_expect_eq(h.submits, 2u);
    cr_expect_eq(h.forgets, 1u);
    cr_expect_eq(harness_used(&h, 0), 0);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 2u);
    uint64_t wake = UINT64_MAX;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
}

Test(port_life, sleep_and_doorbells)
{
    start();
    const uint16_t *used = harness_ring(&h, 0, true);
    uint64_t wake = UINT64_MAX;
    cr_expect_eq(used[0], VIRTQ_USED_NO_NOTIFY);
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(used[0], 0);
    port_wake(h.port);
    cr_expect_eq(used[0], VIRTQ_USED_NO_NOTIFY);
    cr_expect(port_prepare_sleep(h.port, false, &wake));
    cr_expect_eq(used[0], VIRTQ_USED_NO_NOTIFY, "a storm re-arms the doorbell");
    harness_post(&h, 0, 0, OPERATION_WRITE, "x", 1, 0, 1);
    cr_expect_not(port_prepare_sleep(h.port, true, &wake));
    h.pend = true;
    port_serve(h.port, 10);
    h.ready = true;
    cr_expect_not(port_prepare_sleep(h.port, true, &wake));
    h.ready = false;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(wake, UINT64_MAX);
    h.wake_ns = h.now + 12345;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(wake, h.now + 12345, "the backend's deadline");
}

// With event indices the same by avail_event, which names the next entry.
Test(port_life, sleep_and_event_index)
{
    harness_start(&h, (struct harness_options){.features = PORT_FEATURE_EVENT_INDEX});
    const uint16_t *event = harness_ring(&h, 0, true) + 2 + QUEUE_SIZE * 4;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t wake = UINT64_MAX;
        cr_expect(port_prepare_sleep(h.port, true, &wake));
        cr_expect_eq(*event, i);
        port_wake(h.port);
        harness_post(&h, 0, i % 32, OPERATION_WRITE, "x", 1, 0, i);
        cr_expect_not(port_prepare_sleep(h.port, true, &wake));
        port_serve(h.port, 10);
    }
}

// A backend that is asked only while something is pending there.
Test(port_life, backend_hooks)
{
    start();
    uint64_t wake = UINT64_MAX;
    port_serve(h.port, 10);
    port_prepare_sleep(h.port, true, &wake);
    cr_expect_eq(h.sleeps, 0u);
    cr_expect_eq(h.flushes, 0u, "nothing to show");
    cr_expect_eq(h.notifies, 0u);
    port_notify(h.port);
    cr_expect_eq(h.notifies, 1u);
    h.pend = true;
    post_reads(0, 1);
    port_serve(h.port, 10);
    cr_expect_eq(h.flushes, 1u);
    port_prepare_sleep(h.port, true, &wake);
    cr_expect_eq(h.sleeps, 1u);
    h.finish = 1;
    port_serve(h.port, 10);
    cr_expect_eq(h.flushes, 2u);
    port_serve(h.port, 10);
    cr_expect_eq(h.flushes, 2u);
    cr_expect_eq(h.polls, 4u);
    atomic_store(&h.level_own.level, LEVEL_SEVERED);
    port_serve(h.port, 10);
    cr_expect_eq(h.polls, 5u, "polled also behind a gate");
    cr_expect_eq(h.forgets, 0u, "nothing was pending");
}

// The gauges: what was taken, what waits in the queues.
Test(port_life, queued_gauge)
{
    harness_start(&h, (struct harness_options){.queues = 2, .in_flight = 3});
    h.pend = true;
    post_reads(0, 10);
    harness_post(&h, 1, 0, OPERATION_WRITE, "x", 1, 0, 1);
    const struct port_counters *counters = port_counters(h.port);
    port_notify(h.port);
    cr_expect_eq(counters->queued, 11u);
    port_serve(h.port, 100);
    port_notify(h.port);
    cr_expect_eq(counters->in_flight, 3u);
    cr_expect_eq(counters->queued, 8u);
    h.finish = 3;
    port_serve(h.port, 100);
    port_notify(h.port);
    cr_expect_eq(counters->queued, 5u);
    // A driver that lies about what it published.
    __atomic_store_n(&harness_ring(&h, 0, false)[1], 0xfff0, __ATOMIC_RELEASE);
    port_notify(h.port);
    cr_expect_leq(counters->queued, 2 * QUEUE_SIZE);
}

// Latencies to an eighth: known ones by the clock of the test, each percentile by counting.
static uint64_t sorted_latency[1000];

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(uint64_t ns)
{
    h.pend = true;
    post_reads(0, 1);
    port_serve(h.port, 10);
    h.now += ns;
    h.finish = 1;
    port_serve(h.port, 10);
    h.record_count = 0;
    harness_drain(&h);
}

Test(port_life, latency_of_one_request)
{
    static const uint64_t more[] = {0, 1, 7, 8, 9, 15, 16, 17, 1023, 1024, 1025};
    struct random random = random_start(61);
    start();
    cr_expect_eq(port_latency_ns(port_counters(h.port), 0.5), 0u);
    for (unsigned i = 0; i < 500; i++) {
        uint64_t ns = i < COUNT(more) ? more[i] : random_next(&random) >> (24 + i % 39);
        harness_end(&h);
        start();
        measure(ns);
        for (unsigned k = 0; k < 3; k++) {
            uint64_t said = port_latency_ns(port_counters(h.port), k ? 0.99 * k / 2 : 0.0);
            cr_assert(said >= ns && said <= ns + ns / 8 + 1, "%llu ns for %llu ns",
                      (unsigned long long)said, (unsigned long long)ns);
        }
    }
}

Test(port_life, latency_percentiles)
{
    static const double fractions[] = {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999};
    struct random random = random_start(62);
    start();
    for (unsigned i = 0; i < COUNT(sorted_latency); i++) {
        sorted_latency[i] = random_next(&random) >> (28 + random_below(&random, 30));
        measure(sorted_latency[i]);
    }
    qsort(sorted_latency, COUNT(sorted_latency), sizeof(uint64_t), by_value);
    for (size_t i = 0; i < COUNT(fractions); i++) {
        uint64_t exact = sorted_latency[(size_t)(fractions[i] * COUNT(sorted_latency))];
        uint64_t said = port_latency_ns(port_counters(h.port), fractions[i]);
        cr_expect(said >= exact && said <= exact + exact / 8 + 1, "%g: %llu ns, not %llu ns",
                  fractions[i], (unsigned long long)said, (unsigned long long)exact);
    }
}

// Requests that were dropped have no latency; those that were refused have.
Test(port_life, latency_counts_what_was_answered)
{
    start();
    h.pend = true;
    post_reads(0, 4);
    port_serve(h.port, 10);
    port_close(h.port);
    h.now += 1000000;
    port_serve(h.port, 10);
    cr_expect_eq(port_latency_ns(port_counters(h.port), 0.5), 0u);
    cr_expect_eq(port_counters(h.port)->completions, 4u);
    port_open(h.port);
    harness_post(&h, 0, 9, 63, NULL, 0, 0, 1);
    port_serve(h.port, 10);
    cr_expect_gt(port_latency_ns(port_counters(h.port), 0.5), 0u);
}
