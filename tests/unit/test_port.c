// SPDX-License-Identifier: Apache-2.0
// The one mediation path: what comes before what, and what never happens. What a port does under
// load is in test_port_flow.c, its life in test_port_life.c.
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
    harness_start(&h, (struct harness_options){.queues = 1});
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
    cr_expect_eq(port_serve(h.port, 10), 2u);
    cr_assert_eq(h.submits, 2u);
    cr_expect_eq(h.log[0].length, 5u);
    cr_expect_eq(h.log[0].first, 'h');
    cr_expect_eq(h.log[0].argument, 77u);
    cr_expect_eq(h.log[1].capacity, 100u);
    cr_expect_eq(h.flushes, 1u);
    cr_expect_eq(h.polls, 1u);
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

static void records_are_visible(struct harness *harness)
{
    uint64_t records = 0;
    while (shared_ring_available(&harness->reader)) {
        shared_ring_consume(&harness->reader, sizeof(struct audit_record));
        records++;
    }
    cr_assert_eq(records, 8u, "%llu records are there before the effect",
                 (unsigned long long)records);
}

// What a backend produced becomes visible in flush(): by then the records are.
Test(port, records_are_visible_before_the_effect)
{
    start();
    h.on_flush = records_are_visible;
    for (int round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 4; i++)
            harness_post(&h, 0, i, OPERATION_WRITE, "x", 1, 0, i);
        port_serve(h.port, 100);
    }
    cr_expect_eq(h.flushes, 8u);
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
    harness_start(&h, (struct harness_options){.max_request_bytes = 1000, .limits = &limits});
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
    expect_record(1, AUDIT_COMPLETION, AUDIT_DECISION_GATE, POLICY_RULE_DEFAULT_DENY,
                  PORT_STATUS_CLOSED, 5);
    cr_expect_eq(h.records[0].level, LEVEL_STANDARD);
    cr_expect_eq(h.records[1].level, LEVEL_SEVERED);
    cr_expect_eq(h.records[1].status, (uint32_t)PORT_STATUS_CLOSED);
    cr_expect_eq(h.records[1].length, 0u);
}

// The gate changes while a long reply is copied: a page of the reply faults, the handler acts.
enum interruption {
    RAISE_OWN,
    RAISE_SUPERVISOR,
    RAISE_TO_NONSENSE,
    CLOSE,
    HOLD_OWN,
    HOLD_SUPERVISOR,
};

static uint8_t *trap;
static enum interruption interruption;
static volatile unsigned faults;

static void on_fault(int number)
{
    (void)number;
    faults++;
    mprotect(trap, 4096, PROT_READ | PROT_WRITE);
    switch (interruption) {
    case RAISE_OWN:
        atomic_store(&h.level_own.level, LEVEL_SEVERED);
        break;
    case RAISE_SUPERVISOR:
        atomic_store(&h.level_supervisor.level, LEVEL_IMMOLATION);
        break;
    case RAISE_TO_NONSENSE:
        atomic_store(&h.level_own.level, UINT32_MAX);
        break;
    case CLOSE:
        port_close(h.port);
        break;
    case HOLD_OWN:
        atomic_store(&h.level_own.hold, 1);
        break;
    case HOLD_SUPERVISOR:
        atomic_store(&h.level_supervisor.hold, 1);
        break;
    }
}

static unsigned written_bytes(void)
{
    unsigned written = 0;
    for (unsigned i = 0; i < 0x4010; i++)
        written += harness_reply(&h, 0, 0)[i] != 0xee;
    return written;
}

// Serves one read of 16 KiB whose reply is interrupted in the given page. Returns how many bytes
// were written after that.
static unsigned bytes_after(enum interruption what, unsigned page)
{
    struct sigaction action = {.sa_handler = on_fault};
    start();
    interruption = what;
    faults = 0;
    sigaction(SIGSEGV, &action, NULL);
    harness_prepare_request(&h, 0, 0, OPERATION_READ, NULL, 0, 0x4000, 0x4000, 1);
    trap = harness_reply(&h, 0, 0) + page * 4096;
    cr_assert_eq((uintptr_t)trap % 4096, 0u);
    mprotect(trap, 4096, PROT_NONE);
    harness_available(&h, 0, 0);
    port_serve(h.port, 1);
    cr_assert_eq(faults, 1u);
    cr_expect_eq(harness_used(&h, 0), 0);
    cr_expect_eq(h.events[0], 0u);
    return written_bytes() - page * 4096;
}

// Up to the interruption were whole pages; after it come at most 4 KiB, the rest of the piece that
// is being copied. In page 0 the reply header is part of that piece.
Test(port, gate_shut_within_a_reply)
{
    for (enum interruption what = RAISE_OWN; what <= CLOSE; what++)
        for (unsigned page = 0; page < 5; page++) {
            unsigned after = bytes_after(what, page);
            cr_expect_leq(after, 4096u, "%u bytes after interruption %d in page %u", after, what,
                          page);
            cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 1u);
            cr_expect_eq(h.records[1].decision, AUDIT_DECISION_GATE);
            cr_expect_eq(h.audit.reserved, 0u);
            // Nothing more, ever, while it is shut.
            unsigned written = written_bytes();
            for (int i = 0; i < 5; i++)
                port_serve(h.port, 10);
            cr_expect_eq(written_bytes(), written);
            cr_expect_eq(harness_used(&h, 0), 0);
            if (what != CLOSE || page != 4)
                harness_end(&h);
        }
}

// A hold drops nothing: when it is over, all of the reply is written once more.
Test(port, hold_within_a_reply)
{
    for (enum interruption what = HOLD_OWN; what <= HOLD_SUPERVISOR; what++)
        for (unsigned page = 0; page < 5; page++) {
            unsigned after = bytes_after(what, page);
            cr_expect_leq(after, 4096u, "%u bytes after the hold in page %u", after, page);
            unsigned written = written_bytes();
            for (int i = 0; i < 5; i++)
                cr_expect_eq(port_serve(h.port, 10), 0u);
            cr_expect_eq(written_bytes(), written);
            cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 0u);
            cr_expect_eq(h.forgets, 0u);
            // The guest scribbles over what was there already.
            memset(harness_reply(&h, 0, 0), 0xee, SLOT_BYTES - SLOT_REPLY);
            atomic_store(&h.level_own.hold, 0);
            atomic_store(&h.level_supervisor.hold, 0);
            cr_expect_eq(port_serve(h.port, 10), 1u);
            cr_expect_eq(harness_used(&h, 0), 1);
            cr_expect_eq(harness_used_element(&h, 0, 0).length, 0x4010u);
            cr_expect_eq(harness_header(&h, 0, 0).length, 0x4000u);
            for (unsigned i = 16; i < 0x4010; i++)
                cr_assert_eq(harness_reply(&h, 0, 0)[i], 'r', "byte %u is missing", i);
            cr_expect_eq(h.submits, 1u, "asked twice");
            cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 1u);
            cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 1u);
            cr_expect_eq(h.audit.reserved, 0u);
            if (what != HOLD_SUPERVISOR || page != 4)
                harness_end(&h);
        }
}

static void hold(struct harness *harness, struct port_request *request)
{
    (void)request;
    atomic_store(&harness->level_supervisor.hold, 1);
}

// The backend sets the hold while it carries out the first of several: all of them come out, in
// order, once, when it is over.
Test(port, hold_set_inside_a_backend)
{
    start();
    h.on_submit = hold;
    for (unsigned i = 0; i < 8; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 100, i);
    port_serve(h.port, 100);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(port_serve(h.port, 100), 0u);
    // The second was taken, since the gate is looked at again only in front of the policy.
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 8; i++)
        harness_untouched(&h, 0, i);
    h.on_submit = NULL;
    atomic_store(&h.level_supervisor.hold, 0);
    for (int i = 0; i < 3; i++)
        port_serve(h.port, 100);
    cr_expect_eq(h.submits, 8u);
    cr_assert_eq(harness_used(&h, 0), 8);
    for (unsigned i = 0; i < 8; i++) {
        cr_expect_eq(harness_used_element(&h, 0, i).id, 2 * i, "order is lost");
        cr_expect_eq(harness_header(&h, 0, i).status, 0u);
    }
    harness_drain(&h);
    cr_expect_eq(h.record_count, 16u);
    cr_expect_eq(h.audit.reserved, 0u);
}

static void expect_anomaly(enum queue_rule rule, uint16_t descriptor)
{
    cr_expect_eq(port_serve(h.port, 10), 0u);
    const struct port_counters *counters = port_counters(h.port);
    cr_expect_eq(counters->state, (uint32_t)PORT_CLOSED_ANOMALY, "rule %s", queue_rule_name(rule));
    cr_expect_eq(counters->anomalies, 1u);
    cr_expect_eq(counters->anomaly_rule, rule, "%s, not %s",
                 queue_rule_name(counters->anomaly_rule), queue_rule_name(rule));
    cr_expect_eq(counters->anomaly_descriptor, descriptor);
    // Closed, whatever comes.
    harness_post(&h, 0, 9, OPERATION_WRITE, "x", 1, 0, 1);
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
    harness_start(&h, (struct harness_options){.queues = 2});
    h.pend = true;
    for (unsigned i = 0; i < 4; i++)
        harness_post(&h, 0, i, OPERATION_READ, NULL, 0, 10, i);
    port_serve(h.port, 10);
    harness_available(&h, 1, 0xffff);
    h.finish = 0;
    port_serve(h.port, 10);
    cr_expect_eq(port_counters(h.port)->state, (uint32_t)PORT_CLOSED_ANOMALY);
    h.finish = 100;
    for (int i = 0; i < 5; i++)
        port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        harness_untouched(&h, 0, i);
    cr_expect_eq(h.forgets, 1u);
    cr_expect_eq(harness_count(&h, AUDIT_ANOMALY), 1u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 4u);
    cr_expect_eq(h.audit.reserved, 0u);
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

// The grant's bound counts, and the operation's own.
Test(port, reply_capacity_is_granted)
{
    harness_start(&h, (struct harness_options){.max_reply_bytes = 100});
    harness_prepare_request(&h, 0, 0, OPERATION_READ, NULL, 0, UINT32_MAX, 0x4000, 1);
    harness_prepare_request(&h, 0, 1, OPERATION_WRITE, "x", 1, 0, 0x4000, 1);
    harness_prepare_request(&h, 0, 2, OPERATION_READ, NULL, 0, UINT32_MAX, 99, 1);
    for (unsigned i = 0; i < 3; i++)
        harness_available(&h, 0, (uint16_t)(2 * i));
    port_serve(h.port, 10);
    cr_expect_eq(h.log[0].capacity, 100u);
    cr_expect_eq(h.log[1].capacity, 0u);
    cr_expect_eq(h.log[2].capacity, 99u);
    cr_expect_eq(harness_header(&h, 0, 0).length, 100u);
}

static const struct port_request *last_request;

static void keep(struct harness *harness, struct port_request *request)
{
    (void)harness;
    cr_assert_not_null(request->clearance);
    cr_assert_geq(request->number, 1u);
    last_request = request;
}

// Payload and reply of the requests in flight are the fabric's own memory and do not overlap.
Test(port, buffers_are_private_and_apart)
{
    harness_start(&h, (struct harness_options){
                          .max_request_bytes = 33, .max_reply_bytes = 77, .in_flight = 32});
    const uint8_t *from[64], *to[64];
    h.on_submit = keep;
    h.pend = true;
    for (unsigned i = 0; i < 32; i++) {
        harness_prepare_request(&h, 0, i, i % 2 ? OPERATION_READ : OPERATION_WRITE, "payload",
                                i % 2 ? 0 : 7, 77, 77, i);
        harness_available(&h, 0, (uint16_t)(2 * i));
        cr_assert_eq(port_serve(h.port, 1), 1u);
        from[2 * i] = last_request->payload;
        to[2 * i] = last_request->payload + 33;
        from[2 * i + 1] = last_request->reply;
        to[2 * i + 1] = last_request->reply + 77;
    }
    for (unsigned i = 0; i < 64; i++) {
        cr_expect(to[i] <= h.io || from[i] >= h.io + IO_BYTES, "guest memory");
        for (unsigned k = 0; k < i; k++)
            cr_assert(to[i] <= from[k] || from[i] >= to[k], "%u and %u overlap", i, k);
    }
}

Test(port, create_checks_the_grant)
{
    start();
    struct error err;
    static const struct limits_config unlimited;
    struct port_settings settings = {.name = "x",
                                     .backend = &harness_backend,
                                     .backend_state = &h,
                                     .in_flight = 1,
                                     .limits = &unlimited};
    static const unsigned missing[] = {0, 3, 4, 6, 63};
    for (size_t i = 0; i < COUNT(missing); i++) {
        settings.operations = GRANTED | 1ull << missing[i];
        cr_expect_null(port_create(&h.fabric, &settings, &err));
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    }
    settings.operations = 0;
    static const uint32_t in_flight[] = {0, PORT_MAX_IN_FLIGHT + 1, UINT32_MAX};
    for (size_t i = 0; i < COUNT(in_flight); i++) {
        settings.in_flight = in_flight[i];
        cr_expect_null(port_create(&h.fabric, &settings, &err));
    }
    settings.in_flight = PORT_MAX_IN_FLIGHT;
    settings.max_request_bytes = PORT_MAX_BYTES + 1;
    cr_expect_null(port_create(&h.fabric, &settings, &err));
    settings.max_request_bytes = 0;
    settings.max_reply_bytes = PORT_MAX_BYTES + 1;
    cr_expect_null(port_create(&h.fabric, &settings, &err));
    settings.max_reply_bytes = 0;
    struct port *none = port_create(&h.fabric, &settings, &err);
    cr_assert_not_null(none);
    port_destroy(none);
    port_destroy(NULL);
    struct virtqueue queue;
    cr_assert_eq(virtqueue_init(&queue, &h.memory, 4, 0, (struct gpa){IO_BASE},
                                (struct gpa){IO_BASE + 64}, (struct gpa){IO_BASE + 128}, &err),
                 0);
    for (unsigned i = 1; i < PORT_MAX_QUEUES; i++)
        cr_expect_eq(port_add_queue(h.port, &queue, 0, &err), 0);
    cr_expect_eq(port_add_queue(h.port, &queue, 0, &err), -1);
}
