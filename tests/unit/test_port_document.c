// SPDX-License-Identifier: Apache-2.0
// A port under the rules of a policy document: redaction, holds, escalation.
#include <stdio.h>

#include "policy_document.h"
#include "port_harness.h"

static struct harness h;
static struct policy_document document;
static struct policy_document next;
static struct policy_memory next_memory;

static void end(void)
{
    harness_end(&h);
    policy_document_free(&document);
    policy_document_free(&next);
    policy_memory_close(&next_memory);
}

TestSuite(port_document, .fini = end);

// The port is named "test"; its fake backend has the console's operations.
static void parse(const char *rules, struct policy_document *parsed)
{
    char text[4096];
    struct error err;
    snprintf(text, sizeof(text),
             "{\"format\":\"guillotine-policy/1\",\"ports\":{\"test\":{\"kind\":\"console\",%s}}}",
             rules);
    cr_assert_eq(policy_document_parse("t.json", text, strlen(text), parsed, &err), 0, "%s",
                 err.text);
}

static void start(const char *rules, struct harness_options options)
{
    parse(rules, &document);
    options.document = &document.arrays;
    harness_start(&h, options);
}

// Puts other rules in force, once in a test.
static void put_in_force(const char *rules)
{
    struct error err;
    parse(rules, &next);
    cr_assert_eq(policy_memory_open(&next_memory, &err), 0, "%s", err.text);
    struct policy_engine *engine = port_make_engine(h.port, &next.arrays, &next_memory, &err);
    cr_assert_not_null(engine, "%s", err.text);
    port_use_engine(h.port, engine);
}

// Lets what waits for the disk go on.
static void serve_all(void)
{
    for (int i = 0; i < 3; i++) {
        port_serve(h.port, 10);
        harness_drain(&h);
    }
}

static void write_text(unsigned slot, const char *text)
{
    harness_post(&h, 0, slot, OPERATION_WRITE, text, (uint32_t)strlen(text), 0, slot + 1);
}

static uint32_t status(unsigned slot)
{
    return harness_header(&h, 0, slot).status;
}

#define HOLD_ALL "\"rules\":[{\"name\":\"all\",\"outcome\":\"hold\",\"hold_ms\":1000}]"

Test(port_document, verdicts_count_once_and_for_one_request)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    write_text(0, "a");
    write_text(1, "b");
    write_text(2, "c");
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    cr_expect(port_answer(h.port, 99, true), "a number that no request has");
    cr_expect(port_answer(h.port, 2, true));
    cr_expect(port_answer(h.port, 2, false), "the first verdict counts");
    cr_expect(port_answer(h.port, 3, false));
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(h.log[0].first, 'b');
    cr_expect_eq(harness_used(&h, 0), 2);
    cr_expect_eq(status(1), PORT_STATUS_OK);
    cr_expect_eq(status(2), PORT_STATUS_DENIED);
    cr_expect(port_answer(h.port, 2, true), "answered before: nothing happens");
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 3u);
    cr_expect_eq(harness_count(&h, AUDIT_VERDICT), 2u);
    cr_expect_eq(h.records[0].decision, AUDIT_DECISION_HOLD);
    // The whole payload is in the ring whatever the port logs.
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 3u);
    cr_expect_eq(memcmp(h.data, "abc", 3), 0);
}

Test(port_document, no_verdict_in_time_is_a_no)
{
    uint64_t wake = UINT64_MAX;
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(wake, h.now + 1000 * NS_PER_MS);
    port_wake(h.port);
    h.now = wake - 1;
    cr_expect_eq(port_serve(h.port, 10), 0u);
    h.now = wake;
    cr_expect(port_answer(h.port, 1, true), "late");
    cr_expect_not(port_prepare_sleep(h.port, true, &wake), "a verdict is work");
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(status(0), PORT_STATUS_DENIED);
    cr_expect_eq(harness_count(&h, AUDIT_VERDICT), 1u);
    cr_expect_eq(h.records[2].detail, AUDIT_VERDICT_TIMED_OUT);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, too_many_verdicts_are_refused)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    for (uint64_t i = 1; i <= PORT_MAX_IN_FLIGHT; i++)
        cr_expect(port_answer(h.port, i, true));
    cr_expect_not(port_answer(h.port, 100, true));
    write_text(0, "a");
    port_serve(h.port, 10);
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u, "a verdict from before the request");
}

Test(port_document, what_is_held_is_dropped_with_the_gate)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    cr_expect(port_answer(h.port, 1, true));
    h.level_supervisor.level = LEVEL_SEVERED;
    port_serve(h.port, 10);
    h.level_supervisor.level = LEVEL_STANDARD;
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(harness_count(&h, AUDIT_VERDICT), 0u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 1u);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, a_hold_of_the_gate_lets_nothing_approved_pass)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    cr_expect(port_answer(h.port, 1, true));
    h.level_supervisor.hold = 1;
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    h.level_supervisor.hold = 0;
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
}

Test(port_document, an_approval_is_no_way_around_the_rules_of_probation)
{
    start("\"rules\":[{\"name\":\"a\",\"levels\":[\"standard\"],\"outcome\":\"hold\"}]",
          (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    h.level_supervisor.level = LEVEL_PROBATION;
    cr_expect(port_answer(h.port, 1, true));
    for (int i = 0; i < 3; i++) {
        port_serve(h.port, 10);
        harness_drain(&h);
    }
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(status(0), PORT_STATUS_DENIED);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, redacts_what_backend_guest_and_log_see)
{
    start("\"rules\":[{\"name\":\"r\",\"outcome\":\"redact\","
          "\"redact\":{\"request\":[\"[0-9]+\"],\"reply\":[\"rr\"]}}]",
          (struct harness_options){.queues = 1, .logs_payloads = true});
    write_text(0, "7 is 42");
    harness_post(&h, 0, 1, OPERATION_READ, NULL, 0, 5, 2);
    port_serve(h.port, 10);
    cr_expect_eq(h.log[0].first, '*');
    cr_expect_eq(memcmp(harness_reply(&h, 0, 1) + sizeof(struct port_reply_header), "****r", 5), 0);
    harness_drain(&h);
    cr_expect_eq(memcmp(h.data, "* is **", 7), 0);
    cr_expect_eq(memcmp(h.data + 7, "****r", 5), 0);
    cr_expect_eq(h.records[0].decision, AUDIT_DECISION_REDACT);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, a_level_rises_before_the_answer)
{
    start("\"denials\":{\"count\":2,\"within_ms\":1000,\"escalate_to\":\"severed\"},\"rules\":"
          "[{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":\"p\"}},\"outcome\":\"escalate\","
          "\"escalate_to\":\"probation\"}]",
          (struct harness_options){.queues = 1});
    write_text(0, "p");
    port_serve(h.port, 10);
    cr_expect_eq(h.escalations, 1u);
    cr_expect_eq(h.escalated_to, (unsigned)LEVEL_PROBATION);
    h.level_own.level = LEVEL_STANDARD;
    write_text(1, "x");
    port_serve(h.port, 10);
    cr_expect_eq(h.escalations, 1u);
    write_text(2, "x");
    port_serve(h.port, 10);
    cr_expect_eq(h.escalations, 2u);
    cr_expect_eq(h.escalated_to, (unsigned)LEVEL_SEVERED);
    harness_untouched(&h, 0, 2);
    port_serve(h.port, 10);
    harness_drain(&h);
    cr_expect_eq(h.records[h.record_count - 1].decision, AUDIT_DECISION_GATE);
    cr_expect_eq(h.audit.reserved, 0u);
}

#define REDACT_NUMBERS                                                                             \
    "{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"request\":[\"[0-9]+\"]}}"

Test(port_document, an_approval_is_no_way_around_a_redaction_of_probation)
{
    start(
        "\"rules\":[{\"name\":\"a\",\"levels\":[\"standard\"],\"outcome\":\"hold\"}," REDACT_NUMBERS
        "]",
        (struct harness_options){.queues = 1});
    write_text(0, "42");
    port_serve(h.port, 10);
    h.level_supervisor.level = LEVEL_PROBATION;
    cr_expect(port_answer(h.port, 1, true));
    serve_all();
    cr_expect_eq(h.submits, 0u, "what nobody blotted out has reached the backend");
    cr_expect_eq(status(0), PORT_STATUS_DENIED);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, an_approval_is_no_way_around_a_redaction_of_another_document)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    write_text(0, "42");
    port_serve(h.port, 10);
    put_in_force("\"rules\":[" REDACT_NUMBERS "]");
    cr_expect(port_answer(h.port, 1, true));
    serve_all();
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(status(0), PORT_STATUS_DENIED);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, what_is_approved_can_still_escalate)
{
    start("\"rules\":[{\"name\":\"a\",\"levels\":[\"standard\"],\"outcome\":\"hold\"},"
          "{\"name\":\"e\",\"outcome\":\"escalate\",\"escalate_to\":\"severed\"}]",
          (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    h.level_supervisor.level = LEVEL_PROBATION;
    cr_expect(port_answer(h.port, 1, true));
    serve_all();
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(h.escalated_to, (unsigned)LEVEL_SEVERED);
    harness_untouched(&h, 0, 0);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, at_probation_the_verdict_is_on_the_disk_before_the_effect)
{
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    h.level_supervisor.level = LEVEL_PROBATION;
    write_text(0, "a");
    port_serve(h.port, 10);
    harness_drain(&h);
    cr_expect(port_answer(h.port, 1, true));
    port_serve(h.port, 10);
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u, "the verdict is not on the disk");
    serve_all();
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(status(0), PORT_STATUS_OK);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, a_verdict_that_nothing_waits_for_keeps_nobody_awake)
{
    uint64_t wake = UINT64_MAX;
    start(HOLD_ALL, (struct harness_options){.queues = 1});
    put_in_force("\"rules\":[]");
    port_serve(h.port, 10);
    cr_expect(port_answer(h.port, 1, true));
    port_serve(h.port, 10);
    cr_expect(port_prepare_sleep(h.port, true, &wake));
}

Test(port_document, what_is_held_counts_for_the_limits_of_another_document)
{
    start("\"rules\":[{\"name\":\"a\",\"outcome\":\"hold\",\"limits\":{\"requests_total\":9}}]",
          (struct harness_options){.queues = 1});
    write_text(0, "a");
    write_text(1, "b");
    port_serve(h.port, 10);
    put_in_force(
        "\"rules\":[{\"name\":\"b\",\"outcome\":\"hold\",\"limits\":{\"requests_total\":1}}]");
    port_answer(h.port, 1, true);
    port_answer(h.port, 2, true);
    serve_all();
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(status(1), PORT_STATUS_DENIED);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, what_is_approved_waits_for_the_rate_of_another_document_no_longer_than_it_says)
{
    uint64_t wake = UINT64_MAX;
    start("\"rules\":[{\"name\":\"a\",\"outcome\":\"hold\"}]",
          (struct harness_options){.queues = 1});
    write_text(0, "a");
    port_serve(h.port, 10);
    put_in_force(
        "\"rules\":[{\"name\":\"a\",\"outcome\":\"hold\",\"limits\":{\"requests_per_s\":1}}]");
    port_answer(h.port, 1, true);
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    cr_expect(port_prepare_sleep(h.port, true, &wake));
    cr_expect_eq(wake, h.now + NS_PER_S);
    h.now = wake;
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 1u);
    cr_expect_eq(h.audit.reserved, 0u);
}

Test(port_document, what_cannot_be_blotted_out_is_a_denial_like_others)
{
    start("\"denials\":{\"count\":1,\"within_ms\":1000,\"escalate_to\":\"severed\"},\"rules\":"
          "[{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"request\":[\"(a+)+[xy]\"]}}]",
          (struct harness_options){.queues = 1});
    write_text(0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    port_serve(h.port, 10);
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(h.escalations, 1u);
    cr_expect_eq(h.escalated_to, (unsigned)LEVEL_SEVERED);
    port_serve(h.port, 10);
    harness_drain(&h);
    cr_expect_eq(h.records[0].decision, AUDIT_DECISION_ESCALATE);
    cr_expect_eq(h.audit.reserved, 0u);
}

#define ONCE(name)                                                                                 \
    "{\"name\":\"" name "\",\"where\":{\"payload\":{\"equals\":\"" name                            \
    "\"}},\"outcome\":\"allow\","                                                                  \
    "\"limits\":{\"requests_total\":1}}"

Test(port_document, totals_go_on_in_another_document_whatever_the_order)
{
    start("\"rules\":[" ONCE("a") "," ONCE("b") "," ONCE("c") "]",
          (struct harness_options){.queues = 1});
    write_text(0, "a");
    write_text(1, "c");
    port_serve(h.port, 10);
    put_in_force("\"rules\":[" ONCE("c") "," ONCE("a") ",{\"name\":\"d\",\"operations\":[\"read\"],"
                                                       "\"outcome\":\"allow\"}," ONCE("b") "]");
    write_text(2, "a");
    write_text(3, "b");
    write_text(4, "c");
    serve_all();
    cr_expect_eq(h.submits, 3u);
    cr_expect_eq(h.log[2].first, 'b');
    cr_expect_eq(status(2), PORT_STATUS_DENIED);
    cr_expect_eq(status(4), PORT_STATUS_DENIED);
    cr_expect_eq(h.audit.reserved, 0u);
}

static uint32_t rnd(uint32_t below)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

// Any order of requests, verdicts, levels, holds and time: what reached the backend was allowed, or
// approved, and every request ends once.
Test(port_document, property_of_random_lives)
{
    static const uint32_t levels[] = {LEVEL_STANDARD, LEVEL_STANDARD, LEVEL_STANDARD,
                                      LEVEL_PROBATION, LEVEL_SEVERED};
    start("\"rules\":[{\"name\":\"h\",\"where\":{\"payload\":{\"prefix\":\"h\"}},\"outcome\":"
          "\"hold\","
          "\"hold_ms\":1000},{\"name\":\"a\",\"where\":{\"payload\":{\"prefix\":\"a\"}},"
          "\"outcome\":\"allow\"}]",
          (struct harness_options){.queues = 1});
    static const char *const texts[] = {"h", "a", "deny"};
    for (unsigned step = 0; step < 1500; step++) {
        if ((uint16_t)(h.available[0] - harness_used(&h, 0)) < 8)
            write_text(h.available[0] % (QUEUE_SIZE / 2), texts[rnd(3)]);
        if (!rnd(3))
            port_answer(h.port, 1 + rnd(step + 1), rnd(2));
        if (!rnd(20))
            h.level_supervisor.level = levels[rnd(COUNT(levels))];
        h.level_supervisor.hold = !rnd(15);
        h.now += rnd(200) * NS_PER_MS;
        port_serve(h.port, 1 + rnd(8));
        if (rnd(2))
            harness_drain(&h);
    }
    h.level_supervisor.level = LEVEL_STANDARD;
    h.level_supervisor.hold = 0;
    for (unsigned i = 0; i < 20; i++) {
        h.now += 1000 * NS_PER_MS;
        port_serve(h.port, 64);
        harness_drain(&h);
    }
    static bool ends[4096];
    unsigned passed = 0;
    unsigned ended = 0;
    for (unsigned i = 0; i < h.record_count; i++) {
        const struct audit_record *record = &h.records[i];
        passed += (record->type == AUDIT_REQUEST || record->type == AUDIT_VERDICT) &&
                  audit_decision_passes(record->decision);
        // A completion that was on the disk and did not reach the guest is taken back by another.
        if (record->type == AUDIT_COMPLETION && !ends[record->request]) {
            ends[record->request] = true;
            ended++;
        }
    }
    cr_expect_gt(h.submits, 100u);
    cr_expect_leq(h.submits, passed);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), ended);
    cr_expect_gt(harness_count(&h, AUDIT_VERDICT), 100u);
    cr_expect_eq(h.audit.reserved, 0u);
}
