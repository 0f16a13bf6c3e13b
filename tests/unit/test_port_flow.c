// SPDX-License-Identifier: Apache-2.0
// Flow through a port: order, turns, bounds, back-pressure, limits.
#include "port_harness.h"

static struct harness h;

static void end(void)
{
    harness_end(&h);
}

TestSuite(port_flow, .fini = end);

static void start(void)
{
    harness_start(&h, (struct harness_options){.queues = 1});
}

Test(port_flow, throttled)
{
    static const struct limits_config limits = {.requests_per_s = 2, .request_burst = 1};
    harness_start(&h, (struct harness_options){.limits = &limits});
    for (unsigned i = 0; i < 5; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, &(char){(char)('a' + i)}, 1, 0, i + 1);
    cr_expect_eq(port_serve(h.port, 10), 2u); // one passes, one is taken and waits
    cr_expect_eq(h.submits, 1u);
    for (int i = 0; i < 100; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(h.submits, 1u);
    for (unsigned expected = 2; expected <= 5; expected++) {
        uint64_t wake = UINT64_MAX;
        cr_expect(port_prepare_sleep(h.port, true, &wake));
        cr_assert_neq(wake, UINT64_MAX);
        cr_expect(wake > h.now && wake <= h.now + 500000001, "%llu",
                  (unsigned long long)(wake - h.now));
        port_wake(h.port);
        h.now = wake - 2000;
        port_serve(h.port, 10);
        cr_expect_eq(h.submits, expected - 1);
        h.now = wake;
        port_serve(h.port, 10);
        cr_expect_eq(h.submits, expected);
        cr_expect_eq(h.log[expected - 1].first, 'a' + expected - 1, "order is lost");
    }
    cr_expect_eq(harness_used(&h, 0), 5);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 5u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 5u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// The reader of the audit ring stands still: nothing is taken that could not be recorded.
Test(port_flow, back_pressure_of_the_audit_ring)
{
    harness_start(&h, (struct harness_options){.audit_bytes = 4096});
    const unsigned room = 4096 / sizeof(struct audit_record) / 2;
    unsigned posted = 0;
    for (; posted < 32; posted++)
        harness_post(&h, 0, posted, OPERATION_WRITE, "x", 1, 0, posted);
    cr_assert_gt(posted, room);
    port_serve(h.port, 1000);
    cr_expect_eq(h.submits, room);
    cr_expect_eq(harness_used(&h, 0), room);
    for (int i = 0; i < 10; i++)
        cr_expect_eq(port_serve(h.port, 1000), 0u);
    cr_expect_eq(h.submits, room);
    harness_drain(&h);
    port_serve(h.port, 1000);
    cr_expect_eq(h.submits, 32u);
    cr_expect_eq(harness_used(&h, 0), 32);
    harness_drain(&h);
    cr_assert_eq(h.record_count, 64u);
    for (unsigned i = 0; i < 64; i++)
        cr_expect_eq(h.records[i].sequence, i);
}

// Requests that pend keep the room of their completions.
Test(port_flow, pending_requests_keep_their_room)
{
    harness_start(&h, (struct harness_options){.audit_bytes = 4096});
    h.pend = true;
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    port_serve(h.port, 1000);
    unsigned first = h.submits;
    cr_expect_eq(first, 4096 / sizeof(struct audit_record) / 2);
    h.finish = 1000;
    port_serve(h.port, 1000); // only completions: their room was reserved
    cr_expect_eq(harness_used(&h, 0), first);
    harness_drain(&h);
    cr_expect_eq(h.record_count, 2 * first);
}

// The budget of audit records is used up: requests wait where they are, and none is lost.
Test(port_flow, back_pressure_of_the_audit_budget)
{
    start();
    // Two requests' worth of records at once, then one request every 10 ms.
    token_bucket_init(&h.audit.budget, 200, 4, h.now);
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, &(char){(char)i}, 1, 0, i);
    cr_expect_eq(port_serve(h.port, 100), 2u);
    for (unsigned expected = 3; expected <= 32; expected++) {
        uint64_t wake = UINT64_MAX;
        cr_expect_eq(port_serve(h.port, 100), 0u);
        cr_expect(port_prepare_sleep(h.port, true, &wake), "awake though nothing can be taken");
        cr_assert(wake > h.now && wake <= h.now + 10000001, "wakes after %llu ns",
                  (unsigned long long)(wake - h.now));
        port_wake(h.port);
        h.now = wake;
        cr_expect_eq(port_serve(h.port, 100), 1u);
        cr_assert_eq(h.submits, expected);
        cr_expect_eq(h.log[expected - 1].first, expected - 1);
    }
    cr_expect_eq(harness_used(&h, 0), 32);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 32u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 32u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// Records that a model can cause, over any time: the budget's burst, its rate, and one request.
Test(port_flow, audit_budget_bounds_records)
{
    struct random random = random_start(53);
    start();
    token_bucket_init(&h.audit.budget, 1000, 50, h.now);
    uint64_t begin = h.now, records = 0;
    bool busy[32] = {false};
    uint16_t seen = 0;
    for (int round = 0; round < 20000; round++) {
        unsigned slot = random_below(&random, 32);
        if (!busy[slot]) {
            busy[slot] = true;
            harness_post(&h, 0, slot, random_chance(&random, 50) ? OPERATION_WRITE : 63, "x", 1, 0,
                         1);
        }
        h.now += random_below(&random, 3000000);
        port_serve(h.port, 1 + random_below(&random, 40));
        for (; seen != harness_used(&h, 0); seen++)
            busy[harness_used_element(&h, 0, seen).id / 2] = false;
        h.record_count = 0;
        harness_drain(&h);
        records += h.record_count;
        cr_assert_leq(records, 50 + (h.now - begin) / 1000000 + 2);
    }
    cr_expect_gt(records, 10000u);
}

Test(port_flow, more_requests_than_slots)
{
    harness_start(&h, (struct harness_options){.queues = 4});
    h.pend = true;
    unsigned posted = 0;
    for (unsigned queue = 0; queue < 4; queue++)
        for (unsigned i = 0; i < 32; i++)
            harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)posted++}, 1, 0, 1);
    port_serve(h.port, 1000);
    unsigned slots = h.submits;
    cr_expect_eq(slots, PORT_MAX_IN_FLIGHT);
    cr_expect_eq(port_serve(h.port, 1000), 0u);
    cr_expect_eq(h.submits, slots);
    // Full: asleep it waits for the backend, not for requests.
    uint64_t wake = UINT64_MAX;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    port_wake(h.port);
    for (int i = 0; i < 100; i++) {
        h.finish = 7;
        port_serve(h.port, 1000);
    }
    cr_expect_eq(h.submits, posted);
    for (unsigned queue = 0; queue < 4; queue++)
        cr_expect_eq(harness_used(&h, queue), 32);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), posted);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), posted);
}

// Never more than granted are in flight, whatever comes and however they end; the gauge says how
// many.
Test(port_flow, in_flight_is_bounded)
{
    static const uint32_t bounds[] = {1, 2, 3, 7, 31, 64};
    struct random random = random_start(54);
    for (size_t b = 0; b < COUNT(bounds); b++) {
        harness_start(&h, (struct harness_options){.queues = 4, .in_flight = bounds[b]});
        bool busy[4][32] = {{false}};
        unsigned most = 0, posted = 0, returned = 0;
        for (int round = 0; round < 3000; round++) {
            for (unsigned i = random_below(&random, 12); i > 0; i--) {
                unsigned queue = random_below(&random, 4), slot = random_below(&random, 32);
                if (busy[queue][slot])
                    continue;
                busy[queue][slot] = true;
                posted++;
                harness_post(&h, queue, slot, OPERATION_WRITE, "x", 1, 0, 1);
            }
            h.pend = random_chance(&random, 80);
            h.finish = random_below(&random, 4);
            port_serve(h.port, 1 + random_below(&random, 100));
            const struct port_counters *counters = port_counters(h.port);
            unsigned in_flight = h.submits - counters->completions;
            cr_assert_leq(in_flight, bounds[b]);
            cr_assert_eq(counters->in_flight, in_flight);
            cr_assert_eq(h.audit.reserved, in_flight * sizeof(struct audit_record));
            most = in_flight > most ? in_flight : most;
            for (unsigned q = 0; q < 4; q++)
                for (; h.used_seen[q] != harness_used(&h, q); h.used_seen[q]++, returned++)
                    busy[q][harness_used_element(&h, q, h.used_seen[q]).id / 2] = false;
            h.record_count = 0;
            harness_drain(&h);
        }
        cr_expect_eq(most, bounds[b], "only %u of %u were in flight", most, bounds[b]);
        h.pend = false;
        h.finish = UINT32_MAX;
        for (int i = 0; i < 10; i++)
            port_serve(h.port, 100);
        cr_expect_eq(port_counters(h.port)->in_flight, 0u);
        cr_expect_eq(port_counters(h.port)->completions, posted);
        if (b + 1 < COUNT(bounds))
            harness_end(&h);
    }
}

// A busy queue does not starve the others, from wherever the last call stopped.
Test(port_flow, queues_take_turns)
{
    harness_start(&h, (struct harness_options){.queues = 4});
    for (unsigned queue = 0; queue < 4; queue++)
        for (unsigned i = 0; i < 32; i++)
            harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)queue}, 1, 0, 1);
    port_serve(h.port, 16);
    unsigned seen[4] = {0};
    for (unsigned i = 0; i < h.submits; i++)
        seen[h.log[i].first]++;
    for (unsigned queue = 0; queue < 4; queue++)
        cr_expect_eq(seen[queue], 4u, "queue %u: %u", queue, seen[queue]);
    for (unsigned call = 0; call < 16; call++) {
        unsigned before = h.submits;
        cr_expect_eq(port_serve(h.port, 7), 7u);
        for (unsigned i = before; i + 4 < h.submits; i++)
            cr_expect_eq((h.log[i].first + 1) % 4, h.log[i + 1].first);
    }
    cr_expect_eq(port_serve(h.port, 1000), 0u);
    cr_expect_eq(h.submits, 128u);
}

// With one queue in a storm, the request of another one waits for one request of each at most.
Test(port_flow, other_queues_wait_for_one_request)
{
    struct random random = random_start(55);
    harness_start(&h, (struct harness_options){.queues = 4});
    for (int round = 0; round < 1000; round++) {
        bool all = round % 2;
        for (unsigned i = 0; i < 32; i++)
            for (unsigned queue = 0; queue < 3; queue++)
                if (queue == 0 || all)
                    harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)queue}, 1, 0, 1);
        port_serve(h.port, random_below(&random, 8)); // the turn is anywhere
        unsigned before = h.submits;
        harness_post(&h, 3, 0, OPERATION_WRITE, &(char){3}, 1, 0, 1);
        port_serve(h.port, 100);
        unsigned waited = 0;
        while (h.log[(before + waited) % COUNT(h.log)].first != 3)
            cr_assert_lt(waited++, 3u);
        while (port_serve(h.port, 100)) {
        }
        h.record_count = 0;
        harness_drain(&h);
    }
}

Test(port_flow, pending_order)
{
    start();
    h.pend = true;
    struct random random = random_start(50);
    uint8_t queue[64];
    unsigned waiting = 0, posted = 0, done = 0;
    bool busy[32] = {false};
    for (int round = 0; round < 3000; round++) {
        unsigned add = random_below(&random, 4);
        for (unsigned i = 0; i < add && waiting < 32; i++) {
            unsigned slot = 0;
            while (busy[slot])
                slot++;
            busy[slot] = true;
            queue[waiting++] = (uint8_t)posted;
            harness_post(&h, 0, slot, OPERATION_WRITE, &(uint8_t){(uint8_t)posted++}, 1, 0, slot);
        }
        h.finish = random_below(&random, 4);
        h.resumed_count = 0;
        uint16_t before = harness_used(&h, 0);
        port_serve(h.port, 100);
        // resume() goes through what waits from the oldest to the youngest.
        for (unsigned i = 0; i < h.resumed_count; i++)
            cr_assert_eq(h.resumed[i], queue[i], "round %d: resumed out of order", round);
        uint16_t finished = (uint16_t)(harness_used(&h, 0) - before);
        for (unsigned i = 0; i < finished; i++) {
            struct virtq_used_element element = harness_used_element(&h, 0, before + i);
            cr_assert(busy[element.id / 2]);
            busy[element.id / 2] = false;
        }
        memmove(queue, queue + finished, waiting - finished);
        waiting -= finished;
        done += finished;
        harness_drain(&h);
        h.record_count = 0;
    }
    cr_expect_gt(done, 1000u);
}

// Any request may finish before older ones: the list of what waits stays whole and in order.
static uint32_t finish_mask;

static bool finish_by_mask(const struct port_request *request)
{
    return finish_mask >> request->payload[0] & 1;
}

Test(port_flow, pending_finish_in_any_order)
{
    struct random random = random_start(52);
    for (int round = 0; round < 2000; round++) {
        if (round)
            harness_end(&h);
        start();
        h.pend = true;
        h.may_finish = finish_by_mask;
        finish_mask = 0;
        uint32_t waiting = 0;
        unsigned posted = 0;
        for (int step = 0; step < 6; step++) {
            for (unsigned i = 0; i < 5; i++, posted++) {
                waiting |= 1u << posted;
                harness_post(&h, 0, posted, OPERATION_WRITE, &(uint8_t){(uint8_t)posted}, 1, 0, 1);
            }
            finish_mask = (uint32_t)random_next(&random);
            uint32_t before = waiting & ((1u << (posted - 5)) - 1);
            h.resumed_count = 0;
            port_serve(h.port, 100);
            unsigned seen = 0;
            for (unsigned i = 0; i < 30; i++) {
                if (before >> i & 1)
                    cr_assert_eq(h.resumed[seen++], i, "lost or out of order");
            }
            cr_assert_eq(h.resumed_count, seen);
            waiting &= ~(before & finish_mask);
        }
        finish_mask = ~0u;
        port_serve(h.port, 100);
        cr_assert_eq(harness_used(&h, 0), posted);
        cr_assert_eq(h.audit.reserved, 0u);
    }
}

// Exactly one request and one completion record each, whatever happens on the way.
Test(port_flow, records_are_complete, .timeout = 50)
{
    static const struct limits_config limits = {.bytes_per_s = 200000, .byte_burst = 5000};
    static uint8_t payload[3000];
    harness_start(
        &h, (struct harness_options){
                .queues = 4, .max_request_bytes = 2000, .limits = &limits, .audit_bytes = 4096});
    struct random random = random_start(51);
    bool busy[4][32] = {{false}};
    uint64_t posted = 0, completed = 0;
    static uint8_t requests[1 << 20], completions[1 << 20];
    for (int round = 0; round < 20000; round++) {
        unsigned queue = random_below(&random, 4), slot = random_below(&random, 32);
        if (!busy[queue][slot]) {
            static const uint32_t operations[] = {OPERATION_WRITE, OPERATION_WRITE, OPERATION_READ,
                                                  OPERATION_OTHER, 99};
            uint32_t operation = operations[random_below(&random, COUNT(operations))];
            uint32_t length = operation == OPERATION_READ ? 0 : random_below(&random, 2500);
            uint64_t cookie = posted++;
            harness_post(&h, queue, slot, operation, payload, length,
                         operation == OPERATION_READ ? random_below(&random, 9000) : 0, cookie);
            busy[queue][slot] = true;
        }
        h.pend = random_chance(&random, 30);
        h.finish = random_below(&random, 3);
        h.now += random_below(&random, 5000000);
        if (random_chance(&random, 50))
            port_serve(h.port, 1 + random_below(&random, 8));
        if (random_chance(&random, 30)) {
            h.record_count = 0;
            harness_drain(&h);
            for (unsigned i = 0; i < h.record_count; i++) {
                const struct audit_record *record = &h.records[i];
                cr_assert_lt(record->cookie, posted);
                uint8_t *seen = record->type == AUDIT_REQUEST ? requests : completions;
                cr_assert(record->type == AUDIT_REQUEST || record->type == AUDIT_COMPLETION);
                cr_assert_eq(seen[record->cookie]++, 0, "two records");
                cr_assert(record->type == AUDIT_REQUEST || requests[record->cookie] == 1);
            }
        }
        for (unsigned q = 0; q < 4; q++)
            for (; h.used_seen[q] != harness_used(&h, q); h.used_seen[q]++) {
                struct virtq_used_element element = harness_used_element(&h, q, h.used_seen[q]);
                struct port_reply_header reply = harness_header(&h, q, element.id / 2);
                cr_assert(busy[q][element.id / 2]);
                cr_assert_eq(element.length, sizeof(reply) + reply.length);
                busy[q][element.id / 2] = false;
                completed++;
            }
    }
    h.pend = false;
    for (int i = 0; i < 2000; i++) {
        h.finish = 1000;
        h.now += 100000000;
        port_serve(h.port, 100);
        h.record_count = 0;
        harness_drain(&h);
        for (unsigned k = 0; k < h.record_count; k++) {
            uint8_t *seen = h.records[k].type == AUDIT_REQUEST ? requests : completions;
            cr_assert_eq(seen[h.records[k].cookie]++, 0);
        }
    }
    for (uint64_t cookie = 0; cookie < posted; cookie++)
        cr_assert(requests[cookie] == 1 && completions[cookie] == 1, "request %llu",
                  (unsigned long long)cookie);
    cr_expect_eq(h.audit.sequence, 2 * posted);
    cr_expect_eq(h.audit.reserved, 0u);
    cr_expect_gt(completed, 1000u);
    cr_expect_gt(posted, 3000u);
}

Test(port_flow, budget)
{
    start();
    for (unsigned i = 0; i < 20; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    cr_expect_eq(port_serve(h.port, 0), 0u);
    cr_expect_eq(port_serve(h.port, 7), 7u);
    cr_expect_eq(h.submits, 7u);
    cr_expect_eq(port_serve(h.port, 100), 13u);
}

// Payload counts too: a call stops once PORT_SERVE_BYTES have moved, and one request may exceed it.
Test(port_flow, byte_budget)
{
    static uint8_t payload[4096];
    start();
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 0x4000, i);
    // A request moves 24 bytes in and 16400 out: 256 KiB are more than 15 and less than 16 of them.
    cr_expect_eq(port_serve(h.port, 100), 16u);
    cr_expect_eq(port_serve(h.port, 100), 16u);
    cr_expect_eq(port_serve(h.port, 100), 0u);
    // The same for replies that were waiting.
    h.pend = true;
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 0x4000, i);
    cr_expect_eq(port_serve(h.port, 100), 32u);
    h.finish = 100;
    cr_expect_eq(port_serve(h.port, 100), 16u);
    cr_expect_eq(port_serve(h.port, 100), 16u);
    cr_expect_eq(port_serve(h.port, 100), 0u);
    // Requests as well.
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, payload, 4096, 0, i);
    h.pend = false;
    cr_expect_eq(port_serve(h.port, 100), 32u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// Whatever waits in which way: a call serves no more than its budget.
Test(port_flow, budget_is_never_exceeded)
{
    static const struct limits_config limits = {
        .requests_per_s = 5000, .request_burst = 3, .reply_bytes_per_s = 20000};
    struct random random = random_start(56);
    harness_start(&h, (struct harness_options){.queues = 4, .limits = &limits});
    bool busy[4][32] = {{false}};
    for (int round = 0; round < 50000; round++) {
        unsigned queue = random_below(&random, 4), slot = random_below(&random, 32);
        if (!busy[queue][slot]) {
            busy[queue][slot] = true;
            harness_post(&h, queue, slot, OPERATION_READ, NULL, 0, random_below(&random, 200), 1);
        }
        h.pend = random_chance(&random, 50);
        h.finish = random_below(&random, 10);
        h.now += random_below(&random, 500000);
        unsigned budget = random_below(&random, 4);
        unsigned served = port_serve(h.port, budget);
        cr_assert_leq(served, budget, "%u served with a budget of %u", served, budget);
        for (unsigned q = 0; q < 4; q++)
            for (; h.used_seen[q] != harness_used(&h, q); h.used_seen[q]++)
                busy[q][harness_used_element(&h, q, h.used_seen[q]).id / 2] = false;
        h.record_count = 0;
        harness_drain(&h);
    }
    cr_expect_gt(h.submits, 1000u);
}

// Replies over their rate wait, come later, in order, and hold nothing back but each other.
Test(port_flow, reply_rate)
{
    static const struct limits_config limits = {.reply_bytes_per_s = 1000, .reply_byte_burst = 100};
    harness_start(&h, (struct harness_options){.limits = &limits});
    for (unsigned i = 0; i < 10; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 100, i);
    port_serve(h.port, 100);
    cr_expect_eq(h.submits, 10u, "the requests themselves are within their limits");
    for (unsigned expected = 1; expected <= 10; expected++) {
        cr_assert_eq(harness_used(&h, 0), expected);
        cr_expect_eq(harness_used_element(&h, 0, expected - 1).id, 2 * (expected - 1));
        for (unsigned i = expected; i < 10; i++)
            harness_untouched(&h, 0, i);
        if (expected == 10)
            break;
        uint64_t wake = UINT64_MAX;
        cr_expect_eq(port_serve(h.port, 100), 0u);
        cr_expect(port_prepare_sleep(h.port, true, &wake));
        cr_assert(wake > h.now && wake <= h.now + 100000001, "wakes after %llu ns",
                  (unsigned long long)(wake - h.now));
        port_wake(h.port);
        h.now = wake - 2000;
        cr_expect_eq(port_serve(h.port, 100), 0u);
        h.now = wake;
        cr_expect_eq(port_serve(h.port, 100), 1u);
    }
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 10u);
    cr_expect_eq(port_counters(h.port)->denied, 0u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// What ends behind a reply that waits keeps its place, whether it has a payload or not.
Test(port_flow, reply_rate_keeps_order)
{
    static const struct limits_config limits = {.reply_bytes_per_s = 1000, .reply_byte_burst = 10};
    harness_start(&h, (struct harness_options){.limits = &limits});
    harness_post(&h, 0, 0, OPERATION_READ, NULL, 0, 10, 0);
    harness_post(&h, 0, 1, OPERATION_READ, NULL, 0, 10, 1);
    harness_post(&h, 0, 2, OPERATION_WRITE, "x", 1, 0, 2);
    harness_post(&h, 0, 3, 63, "x", 1, 0, 3); // denied
    port_serve(h.port, 100);
    cr_expect_eq(harness_used(&h, 0), 1);
    h.now += 10000000;
    port_serve(h.port, 100);
    cr_assert_eq(harness_used(&h, 0), 4);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(harness_used_element(&h, 0, i).id, 2 * i);
    cr_expect_eq(harness_header(&h, 0, 3).status, (uint32_t)PORT_STATUS_DENIED);
}

// Once the total of reply bytes is used up, a reply says so and carries nothing.
Test(port_flow, reply_total)
{
    static const struct limits_config limits = {.reply_bytes_total = 250};
    static const uint32_t lengths[] = {100, 100, 51, 50, 1, 0};
    harness_start(&h, (struct harness_options){.limits = &limits});
    for (unsigned i = 0; i < COUNT(lengths); i++) {
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, lengths[i], i);
        cr_expect_eq(port_serve(h.port, 10), 1u);
        bool exhausted = i == 2 || i == 4;
        struct port_reply_header header = harness_header(&h, 0, i);
        cr_expect_eq(header.status, exhausted ? (uint32_t)PORT_STATUS_EXHAUSTED : 0, "reply %u", i);
        cr_expect_eq(header.length, exhausted ? 0 : lengths[i]);
        cr_expect_eq(harness_used_element(&h, 0, i).length, 16 + header.length);
        for (unsigned k = 16 + header.length; k < 200; k++)
            cr_assert_eq(harness_reply(&h, 0, i)[k], 0xee);
    }
    cr_expect_eq(port_counters(h.port)->denied, 2u);
    harness_drain(&h);
    cr_expect_eq(h.records[5].status, (uint32_t)PORT_STATUS_EXHAUSTED);
    cr_expect_eq(h.records[4].decision, AUDIT_DECISION_ALLOW);
    cr_expect_eq(h.records[5].decision, AUDIT_DECISION_DENY);
    cr_expect_eq(h.records[5].rule, POLICY_RULE_REPLY_TOTAL);
    cr_expect_eq(h.records[5].length, 0u);
}

// Totals are of the VM's lifetime: what was used before counts.
Test(port_flow, totals_go_on)
{
    static const struct limits_config limits = {
        .requests_total = 10, .bytes_total = 100, .reply_bytes_total = 100};
    static const struct harness_options used[] = {
        {.requests_used = 9}, {.bytes_used = 99}, {.reply_bytes_used = 99}};
    for (unsigned i = 0; i < COUNT(used); i++) {
        struct harness_options options = used[i];
        options.limits = &limits;
        harness_start(&h, options);
        uint32_t operation = i == 2 ? OPERATION_READ : OPERATION_WRITE;
        for (unsigned k = 0; k < 2; k++) {
            harness_post(&h, 0, k, operation, "x", i != 2, i == 2, k);
            port_serve(h.port, 10);
            cr_expect_eq(harness_header(&h, 0, k).status,
                         k ? (uint32_t)PORT_STATUS_EXHAUSTED : (uint32_t)PORT_STATUS_OK);
        }
        if (i + 1 < COUNT(used))
            harness_end(&h);
    }
}

// The capacity bounds all that requests tell, denied ones included: over any time no more bits
// than rate * time + burst + one request.
Test(port_flow, capacity_holds)
{
    struct random random = random_start(57);
    static uint8_t payload[3000];
    for (int port = 0; port < 12; port++) {
        const uint64_t rate = 300 + random_below(&random, port % 2 ? 1000000 : 5000);
        const struct limits_config limits = {.capacity_bits_per_s = rate};
        harness_start(&h, (struct harness_options){
                              .queues = 2, .max_request_bytes = 2000, .limits = &limits});
        const uint64_t begin = h.now, largest = limits_request_bits(2000);
        uint64_t bits = 0, served = 0;
        bool busy[2][32] = {{false}};
        for (int round = 0; round < 4000; round++) {
            unsigned queue = random_below(&random, 2), slot = random_below(&random, 32);
            if (!busy[queue][slot]) {
                static const uint32_t operations[] = {OPERATION_WRITE, OPERATION_WRITE,
                                                      OPERATION_READ, 63};
                busy[queue][slot] = true;
                uint32_t operation = operations[random_below(&random, 4)];
                uint32_t length =
                    random_chance(&random, 50) ? 0 : (uint32_t)random_below(&random, 2500);
                harness_post(&h, queue, slot, operation, payload,
                             operation == OPERATION_READ ? 0 : length, 10, 1);
            }
            h.now += random_below(&random, 4 * 1000000000ull * 500 / rate);
            port_serve(h.port, 1 + random_below(&random, 40));
            h.record_count = 0;
            harness_drain(&h);
            for (unsigned i = 0; i < h.record_count; i++) {
                if (h.records[i].type != AUDIT_REQUEST)
                    continue;
                uint32_t length = h.records[i].length;
                bits += limits_request_bits(length <= 2000 ? length : 0);
                served++;
            }
            double bound = (double)rate * (double)(h.now - begin) / 1e9 + (double)rate;
            cr_assert_leq((double)bits, bound + (double)largest, "rate %llu: %llu bits",
                          (unsigned long long)rate, (unsigned long long)bits);
            for (unsigned q = 0; q < 2; q++)
                for (; h.used_seen[q] != harness_used(&h, q); h.used_seen[q]++)
                    busy[q][harness_used_element(&h, q, h.used_seen[q]).id / 2] = false;
        }
        // And it is a bound, not a wall.
        double fair = (double)rate * (double)(h.now - begin) / 1e9;
        cr_expect_gt((double)bits, fair * 0.5, "port %d: %llu of %.0f bits", port,
                     (unsigned long long)bits, fair);
        cr_expect_gt(served, 100u);
        if (port < 11)
            harness_end(&h);
    }
}

static uint64_t last_number;

static void number_rises(struct harness *harness, struct port_request *request)
{
    (void)harness;
    cr_assert_gt(request->number, last_number);
    last_number = request->number;
}

// A request's number is never used twice, whatever happens to the port.
Test(port_flow, numbers_are_never_used_twice)
{
    struct random random = random_start(58);
    harness_start(&h, (struct harness_options){.queues = 2, .in_flight = 8});
    h.on_submit = number_rises;
    uint64_t audited = 0;
    unsigned slot = 0;
    for (int round = 0; round < 5000; round++) {
        unsigned queue = random_below(&random, 2);
        if ((uint16_t)(h.available[queue] - harness_used(&h, queue)) < 20)
            harness_post(&h, queue, slot++ % 32, OPERATION_WRITE, "x", 1, 0, 1);
        h.pend = random_chance(&random, 50);
        h.finish = random_below(&random, 3);
        port_serve(h.port, 10);
        switch (random_below(&random, 40)) {
        case 0:
            port_close(h.port);
            port_serve(h.port, 10);
            port_open(h.port);
            break;
        case 1:
            atomic_store(&h.level_own.level, LEVEL_SEVERED);
            port_serve(h.port, 10);
            atomic_store(&h.level_own.level, LEVEL_STANDARD);
            break;
        default:
            break;
        }
        h.record_count = 0;
        harness_drain(&h);
        for (unsigned i = 0; i < h.record_count; i++) {
            if (h.records[i].type == AUDIT_REQUEST)
                cr_assert_gt(h.records[i].request, audited);
            if (h.records[i].type == AUDIT_REQUEST)
                audited = h.records[i].request;
        }
    }
    cr_expect_gt(last_number, 1000u);
    cr_expect_geq(audited, last_number);
}
