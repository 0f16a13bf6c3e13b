// SPDX-License-Identifier: Apache-2.0
// The one mediation path: what comes before what, and what never happens.
#include <signal.h>

#include "port_harness.h"

static struct harness h;

static void end(void)
{
    harness_end(&h);
}

TestSuite(port, .fini = end);

static void start(void)
{
    harness_start(&h, 1, GRANTED, 4096, NULL, 1 << 20);
}

static void expect_record(unsigned index, enum audit_type type, enum audit_decision decision,
                          uint32_t rule, uint32_t status, uint64_t cookie)
{
    const struct audit_record *record = &h.records[index];
    cr_assert_lt(index, h.record_count, "record %u is missing", index);
    cr_expect_eq(record->type, type, "record %u: type %s", index, audit_type_name(record->type));
    cr_expect_eq(record->decision, decision, "record %u: %s", index,
                 audit_decision_name(record->decision));
    cr_expect_eq(record->rule, rule, "record %u: rule %u", index, record->rule);
    cr_expect_eq(record->status, status, "record %u: status %u", index, record->status);
    cr_expect_eq(record->cookie, cookie);
    cr_expect_eq(record->port, 7);
    cr_expect_eq(record->sequence, index);
}

Test(port, request_and_reply)
{
    start();
    harness_post(&h, 0, 3, OPERATION_WRITE, "hello", 5, 77, 0xabcdef);
    harness_post(&h, 0, 4, OPERATION_READ, NULL, 0, 100, 0x123456);
    cr_expect(port_has_work(h.port));
    cr_expect_eq(port_serve(h.port, 10), 2u);
    cr_expect_not(port_has_work(h.port));
    cr_assert_eq(h.submits, 2u);
    cr_expect_eq(h.log[0].length, 5u);
    cr_expect_eq(h.log[0].first, 'h');
    cr_expect_eq(h.log[0].argument, 77u);
    cr_expect_eq(h.log[1].capacity, 100u);
    cr_expect_eq(h.flushes, 1u);
    cr_expect_eq(h.events[0], 1u, "one event for a batch");
    cr_assert_eq(harness_used(&h, 0), 2);
    cr_expect_eq(harness_used_element(&h, 0, 0).id, 6u);
    cr_expect_eq(harness_used_element(&h, 0, 0).length, 16u);
    cr_expect_eq(harness_used_element(&h, 0, 1).id, 8u);
    cr_expect_eq(harness_used_element(&h, 0, 1).length, 116u);
    struct port_reply_header reply = harness_header(&h, 0, 4);
    cr_expect_eq(reply.status, 0u);
    cr_expect_eq(reply.length, 100u);
    cr_expect_eq(reply.cookie, 0x123456u);
    const uint8_t *bytes = harness_reply(&h, 0, 4);
    for (unsigned i = 16; i < 200; i++)
        cr_assert_eq(bytes[i], i < 116 ? 'r' : 0xee);

    harness_drain(&h);
    cr_assert_eq(h.record_count, 4u);
    expect_record(0, AUDIT_REQUEST, AUDIT_DECISION_ALLOW, POLICY_RULE_GRANT, 0, 0xabcdef);
    expect_record(1, AUDIT_COMPLETION, AUDIT_DECISION_ALLOW, POLICY_RULE_GRANT, 0, 0xabcdef);
    expect_record(2, AUDIT_REQUEST, AUDIT_DECISION_ALLOW, POLICY_RULE_GRANT, 0, 0x123456);
    expect_record(3, AUDIT_COMPLETION, AUDIT_DECISION_ALLOW, POLICY_RULE_GRANT, 0, 0x123456);
    cr_expect_eq(h.records[0].length, 5u);
    cr_expect_eq(h.records[0].argument, 77u);
    cr_expect_eq(h.records[3].length, 100u);
    cr_expect_eq(h.records[0].request, 1u);
    cr_expect_eq(h.records[2].request, 2u);
    const struct port_counters *counters = port_counters(h.port);
    cr_expect_eq(counters->requests, 2u);
    cr_expect_eq(counters->completions, 2u);
    cr_expect_eq(counters->bytes_in, 53u);
    cr_expect_eq(counters->bytes_out, 132u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// The audit record of a request is in the ring before its backend hears of it.
static void record_comes_first(struct harness *harness, struct port_request *request)
{
    (void)request;
    harness_drain(harness);
    cr_assert_geq(harness->record_count, 1u);
    const struct audit_record *last = &harness->records[harness->record_count - 1];
    cr_assert_eq(last->type, AUDIT_REQUEST);
    cr_assert_eq(last->decision, AUDIT_DECISION_ALLOW);
    cr_assert_eq(last->cookie, harness->submits); // cookies count from 1
    cr_assert_eq(last->request, harness->submits);
}

Test(port, audit_precedes_the_backend)
{
    start();
    h.on_submit = record_comes_first;
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i % 32, OPERATION_WRITE, "x", 1, 0, i + 1);
    cr_expect_eq(port_serve(h.port, 100), 32u);
    cr_expect_eq(h.submits, 32u);
}

// Shut by either side, by a level, by a hold or by nonsense: the backend hears nothing, the guest
// sees nothing, the log says 108.
Test(port, shut_gate)
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
            port_serve(h.port, 10);
            cr_expect_eq(h.submits, 0u);
            cr_expect_eq(harness_used(&h, 0), 0);
            harness_untouched(&h, 0, 0);
            harness_drain(&h);
            cr_assert_eq(h.record_count, 2u);
            expect_record(0, AUDIT_REQUEST, AUDIT_DECISION_GATE, 0, 0, 9);
            cr_expect_eq(h.records[1].type, AUDIT_COMPLETION);
            cr_expect_eq(h.records[1].decision, AUDIT_DECISION_GATE);
            cr_expect_eq(h.records[1].status, (uint32_t)PORT_STATUS_CLOSED);
            cr_expect_geq(h.records[0].level, LEVEL_SEVERED);
            cr_expect_eq(h.audit.reserved, 0u);
            if (side != 1 || i + 1 != COUNT(levels))
                harness_end(&h);
        }
}

Test(port, denied)
{
    static const struct limits_config limits = {.requests_total = 3};
    static const struct {
        uint32_t operation, length, status, rule;
    } cases[] = {
        {OPERATION_OTHER, 1, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {0, 1, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {3, 0, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {63, 0, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {64, 0, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {65, 0, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {UINT32_MAX, 0, PORT_STATUS_DENIED, POLICY_RULE_DEFAULT_DENY},
        {OPERATION_WRITE, 1001, PORT_STATUS_TOO_LARGE, POLICY_RULE_REQUEST_SIZE},
        {OPERATION_READ, 1, PORT_STATUS_TOO_LARGE, POLICY_RULE_REQUEST_SIZE}, // the operation's own
    };
    static uint8_t payload[2000];
    harness_start(&h, 1, GRANTED, 1000, &limits, 1 << 20);
    for (unsigned i = 0; i < COUNT(cases); i++) {
        harness_post(&h, 0, i, cases[i].operation, payload, cases[i].length, 0, i + 1);
        cr_expect_eq(port_serve(h.port, 10), 1u);
        cr_expect_eq(harness_used(&h, 0), i + 1);
        struct port_reply_header reply = harness_header(&h, 0, i);
        cr_expect_eq(reply.status, cases[i].status, "case %u: status %u", i, reply.status);
        cr_expect_eq(reply.length, 0u);
        cr_expect_eq(reply.cookie, i + 1u);
        harness_drain(&h);
        expect_record(2 * i, AUDIT_REQUEST, AUDIT_DECISION_DENY, cases[i].rule, 0, i + 1);
        cr_expect_eq(h.records[2 * i].length, cases[i].length);
        cr_expect_eq(h.records[2 * i + 1].status, cases[i].status);
    }
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(port_counters(h.port)->denied, COUNT(cases));
    // The size that the operation refuses was charged by policy: two requests are left of three.
    for (unsigned i = 0; i < 4; i++) {
        harness_post(&h, 0, 20 + i, OPERATION_WRITE, payload, 1000, 0, 1);
        port_serve(h.port, 10);
    }
    cr_expect_eq(harness_header(&h, 0, 23).status, (uint32_t)PORT_STATUS_EXHAUSTED);
    cr_expect_leq(h.submits, 3u);
    cr_expect_geq(h.submits, 2u);
}

static void raise_level(struct harness *harness, struct port_request *request)
{
    (void)request;
    atomic_store(&harness->level_own.level, LEVEL_SEVERED);
}

// Raised while the backend works: what it did stays here.
Test(port, level_raised_before_completion)
{
    start();
    h.on_submit = raise_level;
    harness_post(&h, 0, 0, OPERATION_READ, NULL, 0, 1000, 5);
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(harness_used(&h, 0), 0);
    cr_expect_eq(h.events[0], 0u);
    harness_untouched(&h, 0, 0);
    harness_drain(&h);
    cr_assert_eq(h.record_count, 2u);
    expect_record(0, AUDIT_REQUEST, AUDIT_DECISION_ALLOW, POLICY_RULE_GRANT, 0, 5);
    expect_record(1, AUDIT_COMPLETION, AUDIT_DECISION_GATE, POLICY_RULE_GRANT, 0, 5);
    cr_expect_eq(h.records[1].level, LEVEL_SEVERED);
}

Test(port, level_raised_while_pending)
{
    start();
    h.pend = true;
    for (unsigned i = 0; i < 8; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 100, i);
    port_serve(h.port, 10);
    atomic_store(&h.level_supervisor.hold, 1);
    h.finish = 100;
    port_serve(h.port, 10);
    cr_expect_eq(h.resumes, 8u);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 8; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 8u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// The level rises while a long reply is copied: a page of the reply faults, the handler raises.
static uint8_t *trap;

static void on_fault(int number)
{
    (void)number;
    mprotect(trap, 4096, PROT_READ | PROT_WRITE);
    atomic_store(&h.level_own.level, LEVEL_SEVERED);
}

static unsigned bytes_after_raise(unsigned page)
{
    start();
    struct sigaction action = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, NULL);
    harness_prepare_request(&h, 0, 0, OPERATION_READ, NULL, 0, 0x4000, 0x4000, 1);
    trap = harness_reply(&h, 0, 0) + page * 4096;
    cr_assert_eq((uintptr_t)trap % 4096, 0u);
    mprotect(trap, 4096, PROT_NONE);
    harness_available(&h, 0, 0);
    port_serve(h.port, 1);
    cr_assert_eq(level_effective(&h.level_own, &h.level_supervisor), LEVEL_SEVERED);
    cr_expect_eq(harness_used(&h, 0), 0);
    unsigned written = 0;
    for (unsigned i = 0; i < 0x4010; i++)
        written += harness_reply(&h, 0, 0)[i] != 0xee;
    return written - page * 4096;
}

Test(port, level_raised_within_a_reply)
{
    // Up to here were whole pages; after the raise at most 4 KiB.
    cr_expect_leq(bytes_after_raise(1), 4096u);
    harness_end(&h);
    cr_expect_leq(bytes_after_raise(2), 4096u);
}

// Header and first part of the payload are 4112 bytes between two looks at the gate.
Test(port, level_raised_at_the_reply_header)
{
    unsigned written = bytes_after_raise(0);
    cr_expect_leq(written, 4096u, "%u bytes", written);
}

Test(port, throttled)
{
    static const struct limits_config limits = {.requests_per_s = 2, .request_burst = 1};
    harness_start(&h, 1, GRANTED, 4096, &limits, 1 << 20);
    for (unsigned i = 0; i < 5; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, &(char){(char)('a' + i)}, 1, 0, i + 1);
    cr_expect_eq(port_serve(h.port, 10), 2u); // one passes, one is taken and waits
    cr_expect_eq(h.submits, 1u);
    for (int i = 0; i < 100; i++)
        cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(h.submits, 1u);
    cr_expect(port_has_work(h.port));
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

Test(port, gate_shuts_while_throttled)
{
    static const struct limits_config limits = {.requests_per_s = 1, .request_burst = 1};
    harness_start(&h, 1, GRANTED, 4096, &limits, 1 << 20);
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
    expect_record(2, AUDIT_REQUEST, AUDIT_DECISION_GATE, 0, 0, 2);
}

// The reader of the audit ring stands still: nothing is taken that could not be recorded.
Test(port, back_pressure_of_the_audit_ring)
{
    harness_start(&h, 1, GRANTED, 4096, NULL, 4096);
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
Test(port, pending_requests_keep_their_room)
{
    harness_start(&h, 1, GRANTED, 4096, NULL, 4096);
    h.pend = true;
    for (unsigned i = 0; i < 32; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    port_serve(h.port, 1000);
    unsigned first = h.submits;
    cr_expect_eq(first, 4096 / sizeof(struct audit_record) / 2);
    h.finish = 1000;
    port_serve(h.port, 0); // only completions: their room was reserved
    cr_expect_eq(harness_used(&h, 0), first);
    harness_drain(&h);
    cr_expect_eq(h.record_count, 2 * first);
}

static void expect_anomaly(enum queue_rule rule, uint16_t descriptor)
{
    cr_expect_eq(port_serve(h.port, 10), 0u);
    const struct port_counters *counters = port_counters(h.port);
    cr_expect_eq(counters->closed, 1u, "rule %s", queue_rule_name(rule));
    cr_expect_eq(counters->anomalies, 1u);
    cr_expect_eq(counters->anomaly_rule, rule, "%s, not %s",
                 queue_rule_name(counters->anomaly_rule), queue_rule_name(rule));
    cr_expect_eq(counters->anomaly_descriptor, descriptor);
    // Closed for good, whatever comes.
    harness_post(&h, 0, 9, OPERATION_WRITE, "x", 1, 0, 1);
    cr_expect_not(port_has_work(h.port));
    cr_expect_eq(port_serve(h.port, 10), 0u);
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(harness_used(&h, 0), 0);
    harness_untouched(&h, 0, 0);
    harness_drain(&h);
    cr_assert_eq(h.record_count, 1u, "%u records", h.record_count);
    cr_expect_eq(h.records[0].type, AUDIT_ANOMALY);
    cr_expect_eq(h.records[0].detail, rule);
    cr_expect_eq(h.records[0].argument, descriptor);
    cr_expect_eq(h.audit.reserved, 0u);
    uint64_t wake = UINT64_MAX;
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(wake, UINT64_MAX);
}

Test(port, anomalies_close_the_port)
{
    for (unsigned i = 0; i < 12; i++) {
        start();
        harness_prepare_request(&h, 0, 0, OPERATION_WRITE, "hello", 5, 0, 0, 1);
        struct port_request_header *header = (void *)harness_buffer(&h, 0, 0);
        struct virtq_descriptor *first = harness_descriptor(&h, 0, 0);
        struct virtq_descriptor *second = harness_descriptor(&h, 0, 1);
        enum queue_rule rule = QUEUE_RULE_REQUEST_HEADER;
        uint16_t descriptor = 0;
        switch (i) {
        case 0:
            header->length = 6;
            break;
        case 1:
            header->length = 4;
            break;
        case 2:
            header->length = UINT32_MAX - 18;
            break;
        case 3:
            first->length = 23; // no room for the header
            break;
        case 4:
            first->length = 1;
            break;
        case 5:
            first->flags = VIRTQ_DESCRIPTOR_WRITE; // nothing to read at all
            break;
        case 6:
            second->length = 15;
            rule = QUEUE_RULE_REPLY_HEADER;
            break;
        case 7:
            first->flags = 0; // nothing to write
            rule = QUEUE_RULE_REPLY_HEADER;
            break;
        case 8:
            header->flags = 1;
            rule = QUEUE_RULE_RESERVED;
            break;
        case 9:
            header->flags = 0x80000000;
            rule = QUEUE_RULE_RESERVED;
            break;
        case 10:
            second->address = IO_BASE + IO_BYTES - 15;
            rule = QUEUE_RULE_ADDRESS;
            descriptor = 1;
            break;
        default:
            first->next = QUEUE_SIZE;
            rule = QUEUE_RULE_NEXT_RANGE;
            break;
        }
        harness_available(&h, 0, 0);
        expect_anomaly(rule, descriptor);
        if (i != 11)
            harness_end(&h);
    }
}

// An anomaly on one queue stops what was pending on the others, and leaves no second record.
Test(port, anomaly_drops_what_is_pending)
{
    harness_start(&h, 2, GRANTED, 4096, NULL, 1 << 20);
    h.pend = true;
    for (unsigned i = 0; i < 4; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 10, i);
    port_serve(h.port, 10);
    harness_available(&h, 1, 0xffff);
    h.finish = 0;
    port_serve(h.port, 10);
    cr_expect_eq(port_counters(h.port)->closed, 1u);
    h.finish = 100;
    for (int i = 0; i < 5; i++)
        port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(harness_count(&h, AUDIT_ANOMALY), 1u);
}

// Closing a port gives the room back that its requests in flight had reserved, so that the other
// ports of the VM do not lose it, and says what became of them.
Test(port, close_settles_the_audit)
{
    start();
    h.pend = true;
    for (unsigned i = 0; i < 20; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    port_serve(h.port, 100);
    port_close(h.port);
    port_serve(h.port, 100);
    cr_expect_eq(h.audit.reserved, 0u, "%llu bytes stay reserved",
                 (unsigned long long)h.audit.reserved);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 20u);
}

Test(port, more_requests_than_slots)
{
    harness_start(&h, 4, GRANTED, 4096, NULL, 1 << 20);
    h.pend = true;
    unsigned posted = 0;
    for (unsigned queue = 0; queue < 4; queue++)
        for (unsigned i = 0; i < 32; i++)
            harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)posted++}, 1, 0, 1);
    port_serve(h.port, 1000);
    unsigned slots = h.submits;
    cr_expect_lt(slots, posted);
    cr_expect_gt(slots, 0u);
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

// A busy queue does not starve the others.
Test(port, queues_take_turns)
{
    harness_start(&h, 4, GRANTED, 4096, NULL, 1 << 20);
    for (unsigned queue = 0; queue < 4; queue++)
        for (unsigned i = 0; i < 32; i++)
            harness_post(&h, queue, i, OPERATION_WRITE, &(char){(char)queue}, 1, 0, 1);
    port_serve(h.port, 16);
    unsigned seen[4] = {0};
    for (unsigned i = 0; i < h.submits; i++)
        seen[h.log[i].first]++;
    for (unsigned queue = 0; queue < 4; queue++)
        cr_expect_eq(seen[queue], 4u, "queue %u: %u", queue, seen[queue]);
}

Test(port, pending_order)
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
        unsigned resumable = waiting - add < 64 ? waiting : 0;
        (void)resumable;
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

Test(port, pending_finish_in_any_order)
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
Test(port, records_are_complete, .timeout = 50)
{
    static const struct limits_config limits = {.bytes_per_s = 200000, .byte_burst = 5000};
    static uint8_t payload[3000];
    harness_start(&h, 4, GRANTED, 2000, &limits, 4096);
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

// The guest changes its request after it was taken: nobody notices.
Test(port, payload_is_a_private_copy)
{
    start();
    h.pend = true;
    harness_post(&h, 0, 0, OPERATION_WRITE, "good", 4, 0, 42);
    port_serve(h.port, 10);
    memset(harness_buffer(&h, 0, 0), 'X', 100);
    memset(harness_descriptor(&h, 0, 0), 0xff, 32);
    h.finish = 1;
    port_serve(h.port, 10);
    cr_expect_eq(h.resumed[0], 'g');
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(harness_header(&h, 0, 0).cookie, 42u);
    harness_drain(&h);
    cr_expect_eq(h.records[1].cookie, 42u);
    cr_expect_eq(h.records[1].operation, (uint32_t)OPERATION_WRITE);
}

Test(port, reply_fits_the_room)
{
    static const uint32_t rooms[] = {0, 1, 100, 4096, 0x4000, 0x4fe0};
    start();
    for (unsigned i = 0; i < COUNT(rooms); i++) {
        harness_prepare_request(&h, 0, i, OPERATION_READ, NULL, 0, UINT32_MAX, rooms[i], i);
        harness_available(&h, 0, (uint16_t)(2 * i));
        port_serve(h.port, 10);
        uint32_t expected = rooms[i] < 0x4000 ? rooms[i] : 0x4000;
        cr_expect_eq(h.log[i].capacity, expected);
        cr_expect_eq(harness_header(&h, 0, i).length, expected);
        cr_expect_eq(harness_used_element(&h, 0, i).length, 16 + expected);
        const uint8_t *reply = harness_reply(&h, 0, i);
        cr_expect(!expected || reply[16 + expected - 1] == 'r');
        cr_expect(16 + expected >= SLOT_BYTES - SLOT_REPLY || reply[16 + expected] == 0xee);
    }
}

Test(port, sleep_and_doorbells)
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
}

Test(port, budget)
{
    start();
    for (unsigned i = 0; i < 20; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
    cr_expect_eq(port_serve(h.port, 0), 0u);
    cr_expect_eq(port_serve(h.port, 7), 7u);
    cr_expect_eq(h.submits, 7u);
    cr_expect_eq(port_serve(h.port, 100), 13u);
}

Test(port, create_checks_the_grant)
{
    start();
    struct error err;
    static const struct limits_config unlimited;
    struct port_settings settings = {
        .name = "x", .backend = &harness_backend, .backend_state = &h, .limits = &unlimited};
    static const unsigned missing[] = {0, 3, 4, 6, 63};
    for (size_t i = 0; i < COUNT(missing); i++) {
        settings.operations = GRANTED | 1ull << missing[i];
        cr_expect_null(port_create(&h.fabric, &settings, &err));
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    }
    settings.operations = 0;
    struct port *none = port_create(&h.fabric, &settings, &err);
    cr_assert_not_null(none);
    port_destroy(none);
    port_destroy(NULL);
    struct virtqueue queue;
    cr_assert_eq(virtqueue_init(&queue, &h.memory, 4, (struct gpa){IO_BASE},
                                (struct gpa){IO_BASE + 64}, (struct gpa){IO_BASE + 128}, &err),
                 0);
    for (unsigned i = 1; i < PORT_MAX_QUEUES; i++)
        cr_expect_eq(port_add_queue(h.port, &queue, 0, &err), 0);
    cr_expect_eq(port_add_queue(h.port, &queue, 0, &err), -1);
}
