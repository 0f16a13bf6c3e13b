// SPDX-License-Identifier: Apache-2.0
// What comes from outside, in replies, passes the rules of the policy document first.
#include <stdio.h>

#include "policy_document.h"
#include "port_fields_abi.h"
#include "port_harness.h"

static struct harness h;
static struct policy_document document;
static struct policy_document next;
static struct policy_memory next_memory;
static const char *said; // what the next reply holds

static void end(void)
{
    harness_end(&h);
    policy_document_free(&document);
    policy_document_free(&next);
    policy_memory_close(&next_memory);
}

TestSuite(port_inward, .fini = end);

static enum port_progress answer(void *state, struct port_request *request)
{
    (void)state;
    if (!said)
        return PORT_PENDING;
    cr_assert(port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                                 SERVE_FIELD_TEXT, said, (uint32_t)strlen(said)));
    said = NULL;
    return PORT_DONE;
}

static const struct port_operation operations[] = {
    {SERVE_RECEIVE, 0, 0x4000, "receive"},
    {SERVE_PIECE, 4096, 0, "piece"},
};

static const struct port_backend backend = {
    .kind = PORT_KIND_SERVE,
    .name = "serve",
    .operations = operations,
    .operation_count = COUNT(operations),
    .outward = SERVE_RECEIVE,
    .inward = SERVE_PROMPT,
    .submit = answer,
    .resume = answer,
    .flush = harness_flush,
    .prepare_sleep = harness_prepare,
    .forget = harness_forget,
};

static void parse(const char *rules, struct policy_document *parsed)
{
    char text[4096];
    struct error err;
    snprintf(text, sizeof(text),
             "{\"format\":\"guillotine-policy/1\",\"ports\":{\"test\":{\"kind\":\"serve\","
             "\"rules\":[{\"name\":\"ask\",\"operations\":[\"receive\"],\"outcome\":\"allow\"},"
             "%s]}}}",
             rules);
    cr_assert_eq(policy_document_parse("t.json", text, strlen(text), parsed, &err), 0, "%s",
                 err.text);
}

static void start_with(const char *rules, struct harness_options options)
{
    options.operations = 1ull << SERVE_RECEIVE | 1ull << SERVE_PIECE;
    options.backend = &backend;
    options.state = &h;
    options.decides_inward = true;
    if (rules) {
        parse(rules, &document);
        options.document = &document.arrays;
    }
    harness_start(&h, options);
}

static void start(const char *rules)
{
    start_with(rules, (struct harness_options){.queues = 1});
}

static void post(unsigned slot, uint32_t operation)
{
    harness_prepare_request(&h, 0, slot, operation, NULL, 0, 0, 0x800, slot + 1);
    harness_available(&h, 0, (uint16_t)(2 * slot));
}

static void ask(unsigned slot, const char *text)
{
    said = text;
    post(slot, SERVE_RECEIVE);
    port_serve(h.port, 10);
    harness_drain(&h);
}

static void expect_text(unsigned slot, const char *text)
{
    struct port_fields fields;
    struct port_reply_header header = harness_header(&h, 0, slot);
    cr_expect_eq(header.status, PORT_STATUS_OK);
    cr_assert(
        port_fields_read(&fields, harness_reply(&h, 0, slot) + sizeof(header), header.length));
    cr_assert_eq(fields.field[SERVE_FIELD_TEXT].length, strlen(text));
    cr_expect_eq(memcmp(fields.field[SERVE_FIELD_TEXT].bytes, text, strlen(text)), 0);
}

static void expect_denied(unsigned slot)
{
    struct port_reply_header header = harness_header(&h, 0, slot);
    cr_expect_eq(header.status, PORT_STATUS_DENIED);
    cr_expect_eq(header.length, 0u);
}

static const struct audit_record *last_completion(void)
{
    for (unsigned i = h.record_count; i > 0; i--) {
        if (h.records[i - 1].type == AUDIT_COMPLETION)
            return &h.records[i - 1];
    }
    cr_assert(false, "no completion");
    return NULL;
}

#define ALLOW_REST "{\"name\":\"rest\",\"operations\":[\"prompt\"],\"outcome\":\"allow\"}"
#define DENY_BAD                                                                                   \
    "{\"name\":\"bad\",\"operations\":[\"prompt\"],\"outcome\":\"deny\","                          \
    "\"where\":{\"text\":{\"contains\":\"bad\"}}},"

Test(port_inward, without_a_document_everything_comes_in)
{
    start(NULL);
    ask(0, "bad");
    expect_text(0, "bad");
}

Test(port_inward, what_a_rule_denies_never_reaches_the_guest)
{
    start(DENY_BAD ALLOW_REST);
    ask(0, "a good text");
    expect_text(0, "a good text");
    cr_expect_eq(last_completion()->decision, AUDIT_DECISION_ALLOW);
    cr_expect_eq(last_completion()->rule, POLICY_RULE_DOCUMENT + 2);
    ask(1, "a bad text");
    expect_denied(1);
    cr_expect_eq(last_completion()->decision, AUDIT_DECISION_DENY);
    cr_expect_eq(last_completion()->rule, POLICY_RULE_DOCUMENT + 1);
    cr_expect_eq(atomic_load(&port_counters(h.port)->denied), 1u);
    // Not a byte of it is anywhere in the buffer.
    cr_expect_null(memmem(harness_reply(&h, 0, 1), 0x800, "bad", 3));
}

Test(port_inward, what_no_rule_allows_is_denied)
{
    start("{\"name\":\"out\",\"operations\":[\"piece\"],\"outcome\":\"allow\"}");
    ask(0, "text");
    expect_denied(0);
}

Test(port_inward, redaction_blots_out_what_comes_in)
{
    start("{\"name\":\"hide\",\"operations\":[\"prompt\"],\"outcome\":\"redact\","
          "\"redact\":{\"request\":[\"[0-9]{4}\"]}}");
    ask(0, "pin 1234.");
    expect_text(0, "pin ****.");
    cr_expect_eq(last_completion()->decision, AUDIT_DECISION_REDACT);
}

Test(port_inward, nobody_can_be_asked_so_a_hold_denies)
{
    start("{\"name\":\"wait\",\"operations\":[\"prompt\"],\"outcome\":\"hold\",\"hold_ms\":1000}");
    ask(0, "text");
    expect_denied(0);
}

Test(port_inward, a_rule_raises_the_level_before_the_answer)
{
    start("{\"name\":\"alarm\",\"operations\":[\"prompt\"],\"outcome\":\"escalate\","
          "\"escalate_to\":\"severed\"}");
    ask(0, "text");
    cr_expect_eq(h.escalations, 1u);
    cr_expect_eq(h.escalated_to, LEVEL_SEVERED);
    cr_expect_eq(harness_used(&h, 0), 0, "the gate is shut: nothing, not even the denial");
}

Test(port_inward, what_waits_passes_the_rules_of_now)
{
    struct error err;
    start(ALLOW_REST);
    said = NULL;
    post(0, SERVE_RECEIVE);
    port_serve(h.port, 10);
    // It is decided, and its reply does not get through: the gate is held.
    said = "bad";
    atomic_store(&h.level_own.hold, 1);
    port_serve(h.port, 10);
    cr_expect_eq(harness_used(&h, 0), 0);
    parse(DENY_BAD ALLOW_REST, &next);
    cr_assert_eq(policy_memory_open(&next_memory, &err), 0, "%s", err.text);
    struct policy_engine *engine = port_make_engine(h.port, &next.arrays, &next_memory, &err);
    cr_assert_not_null(engine, "%s", err.text);
    port_use_engine(h.port, engine);
    atomic_store(&h.level_own.hold, 0);
    port_serve(h.port, 10);
    port_serve(h.port, 10);
    expect_denied(0);
}

Test(port_inward, probation_has_rules_of_its_own)
{
    start("{\"name\":\"calm\",\"operations\":[\"prompt\"],\"outcome\":\"allow\","
          "\"levels\":[\"standard\"]}");
    ask(0, "text");
    expect_text(0, "text");
    said = NULL;
    post(1, SERVE_RECEIVE);
    port_serve(h.port, 10);
    harness_drain(&h);
    atomic_store(&h.level_supervisor.level, LEVEL_PROBATION);
    said = "text";
    for (int i = 0; i < 4; i++) {
        port_serve(h.port, 10);
        harness_drain(&h);
    }
    expect_denied(1);
}

Test(port_inward, a_guest_cannot_ask_as_if_it_were_outside)
{
    start(ALLOW_REST);
    post(0, SERVE_PROMPT);
    port_serve(h.port, 10);
    cr_expect_neq(harness_header(&h, 0, 0).status, PORT_STATUS_OK);
    cr_expect_null(said);
}
