// SPDX-License-Identifier: Apache-2.0
// The core of a serve port's backend: calls, what the model gets and says, what clients may see.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "policy_document.h"
#include "port_fields_abi.h"
#include "serve_core.h"
#include "serve_model.h"
#include "serve_text.h"

static struct serve *serve;
static struct level_page supervisor;
static struct level_page vmm;
static uint64_t now;
static struct serve_grant grant;
static struct policy_document document;
static struct policy_memory memory;
static uint8_t reply[65536];
static unsigned changes;

static uint64_t get_now(const struct clock *clock)
{
    (void)clock;
    return now;
}

static const struct clock fake_clock = {get_now, get_now, NULL};

static void count(void *context, struct serve_call *call)
{
    (void)context;
    (void)call;
    changes++;
}

static void start_with(struct policy_engine *engine)
{
    struct error err;
    grant = (struct serve_grant){.model = "m", .queue = 3, .deadline_ms = 1000};
    now = 1000 * NS_PER_S;
    const struct serve_settings_core settings = {
        .grant = &grant,
        .levels = {&supervisor, &vmm, LEVEL_PROBATION},
        .clock = &fake_clock,
        .engine = engine,
        .max_prompt_bytes = 4096,
        .ask_again_ms = 500,
    };
    serve = serve_open(&settings, &err);
    cr_assert_not_null(serve);
    serve_on_change(serve, count, NULL);
}

static void start(void)
{
    start_with(NULL);
}

static void end(void)
{
    serve_close(serve);
    policy_document_free(&document);
    policy_memory_close(&memory);
}

TestSuite(serve, .fini = end);

static struct serve_prompt prompt_of(const char *text)
{
    return (struct serve_prompt){
        .parts = "",
        .text = text,
        .text_length = strlen(text),
        .limit = SERVE_DEFAULT,
        .temperature_milli = SERVE_DEFAULT,
        .top_p_milli = SERVE_DEFAULT,
    };
}

static enum serve_refusal submit(const struct serve_prompt *prompt, struct serve_call **call)
{
    const char *reason;
    uint32_t retry_s;
    return serve_submit(serve, prompt, call, &reason, &retry_s);
}

static struct serve_call *call_with(const char *text)
{
    struct serve_prompt prompt = prompt_of(text);
    struct serve_call *call;
    cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    return call;
}

static struct port_request receive = {
    .operation = SERVE_RECEIVE,
    .reply = reply,
    .reply_capacity = sizeof(reply),
};

static bool take(struct port_fields *fields)
{
    return serve_model_take(serve, &receive, fields);
}

static uint64_t field(const struct port_fields *fields, enum serve_field number)
{
    uint64_t value = UINT64_MAX;
    port_field_number(&fields->field[number], &value);
    return value;
}

static uint32_t say(uint32_t operation, uint64_t call, const char *text, const char *finish)
{
    return serve_model_say(serve, operation, call, text, finish);
}

static uint32_t piece(const struct serve_call *call, const char *text)
{
    return say(SERVE_PIECE, call->number, text, NULL);
}

static void expect_text(const struct serve_call *call, const char *text)
{
    cr_expect_eq(call->text_length, strlen(text), "%.*s", (int)call->text_length, call->text);
    cr_expect_eq(memcmp(call->text, text, call->text_length), 0);
}

Test(serve, a_call_goes_to_the_model_and_back, .init = start)
{
    struct port_fields fields;
    struct serve_prompt prompt = prompt_of("beHello");
    struct serve_call *call;
    prompt.chat = true;
    prompt.parts = "system 2\nuser 5\n";
    prompt.limit = 30;
    prompt.temperature_milli = 700;
    prompt.has_seed = true;
    prompt.seed = 0;
    cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    cr_expect_eq(call->state, SERVE_WAITING);
    cr_assert(take(&fields));
    cr_expect_eq(call->state, SERVE_RUNNING);
    cr_expect_eq(field(&fields, SERVE_FIELD_CALL), call->number);
    cr_expect_null(fields.field[SERVE_FIELD_CLIENT].bytes, "nothing tells it from others");
    cr_expect_eq(field(&fields, SERVE_FIELD_LIMIT), 30);
    cr_expect_eq(field(&fields, SERVE_FIELD_TEMPERATURE), 700);
    cr_expect_eq(field(&fields, SERVE_FIELD_SEED), 0);
    cr_expect_null(fields.field[SERVE_FIELD_TOP_P].bytes);
    cr_expect_eq(memcmp(fields.field[SERVE_FIELD_TEXT].bytes, "beHello", 7), 0);
    cr_expect_not(take(&fields), "it is handed over once");
    cr_expect_eq(piece(call, "Good "), PORT_STATUS_OK);
    expect_text(call, "Good ");
    cr_expect_eq(piece(call, NULL), PORT_STATUS_OK);
    cr_expect_eq(say(SERVE_ANSWER, call->number, "day", "stop"), PORT_STATUS_OK);
    expect_text(call, "Good day");
    cr_expect_eq(call->state, SERVE_ENDED);
    cr_expect_eq(call->end, SERVE_END_STOP);
    cr_expect_eq(call->prompt_tokens, 7);
    cr_expect_eq(call->reply_tokens, 9);
    cr_expect_eq(piece(call, "more"), PORT_STATUS_BROKEN, "it is over");
    expect_text(call, "Good day");
    cr_expect_geq(changes, 3u);
    serve_release(serve, call);
}

Test(serve, a_model_that_waits_gets_the_next_call_or_a_word, .init = start)
{
    struct port_fields fields;
    cr_assert_not(take(&fields));
    now += 499 * NS_PER_MS;
    cr_expect_eq(serve_take_again(serve, &receive), PORT_PENDING);
    now += NS_PER_MS;
    cr_expect_eq(serve_take_again(serve, &receive), PORT_DONE);
    cr_expect_eq(receive.reply_length, 0u);
    cr_assert_not(take(&fields));
    call_with("a");
    cr_expect_eq(serve_take_again(serve, &receive), PORT_DONE);
    cr_expect_gt(receive.reply_length, 0u);
}

Test(serve, a_call_that_does_not_fit_holds_nobody_up, .init = start)
{
    struct port_fields fields;
    struct serve_call *large = call_with("a text that is longer than the other one, by some words");
    struct serve_call *small = call_with("a");
    receive.reply_capacity = 64;
    cr_assert(take(&fields));
    cr_expect_eq(field(&fields, SERVE_FIELD_CALL), small->number);
    cr_expect_eq(large->state, SERVE_ENDED);
    cr_expect_eq(large->end, SERVE_END_FAILED);
    cr_expect_eq(changes, 1u, "its client is told");
    receive.reply_capacity = sizeof(reply);
}

Test(serve, the_queue_is_bounded, .init = start)
{
    struct serve_prompt prompt = prompt_of("a");
    struct port_fields fields;
    struct serve_call *call;
    struct serve_call *first = call_with("a");
    call_with("b");
    call_with("c");
    cr_expect_eq(submit(&prompt, &call), SERVE_BUSY);
    cr_assert(take(&fields));
    cr_expect_eq(submit(&prompt, &call), SERVE_BUSY, "what runs counts too");
    serve_release(serve, first);
    cr_expect_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    cr_expect_eq(serve_open_calls(serve), 3u);
}

Test(serve, a_client_that_leaves_stops_the_model, .init = start)
{
    struct port_fields fields;
    struct serve_call *waits = call_with("a");
    struct serve_call *runs = call_with("b");
    uint64_t number = runs->number;
    serve_release(serve, waits);
    cr_assert(take(&fields));
    cr_expect_eq(field(&fields, SERVE_FIELD_CALL), number, "the other one is never asked");
    serve_release(serve, runs);
    serve_tick(serve);
    cr_expect_eq(say(SERVE_PIECE, number, "x", NULL), PORT_STATUS_BROKEN);
    cr_expect_eq(say(SERVE_ANSWER, number, "x", "stop"), PORT_STATUS_BROKEN);
}

Test(serve, the_model_reaches_no_call_but_those_it_has, .init = start)
{
    struct port_fields fields;
    struct serve_call *one = call_with("a");
    struct serve_call *other = call_with("b");
    cr_assert(take(&fields));
    cr_expect_eq(piece(other, "x"), PORT_STATUS_BROKEN, "it waits still");
    expect_text(other, "");
    cr_expect_eq(say(SERVE_PIECE, 999, "x", NULL), PORT_STATUS_BROKEN);
    cr_expect_eq(piece(one, "y"), PORT_STATUS_OK);
}

Test(serve, clients_are_told_apart_by_what_they_are, .init = start)
{
    struct port_fields fields;
    struct serve_prompt prompt = prompt_of("a");
    struct serve_call *call;
    uint64_t numbers[4];
    static const char *const names[] = {"alice", "bob", "alice", ""};
    for (unsigned i = 0; i < 4; i++) {
        prompt.client = names[i];
        prompt.client_length = strlen(names[i]);
        cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
        cr_assert(take(&fields));
        numbers[i] = field(&fields, SERVE_FIELD_CLIENT);
        serve_release(serve, call);
    }
    cr_expect_eq(numbers[0], numbers[2]);
    cr_expect_neq(numbers[0], numbers[1]);
    cr_expect_eq(numbers[3], 0, "none");
    // Others push it out; it never gets a number that was somebody's.
    for (unsigned i = 0; i < SERVE_IDENTITIES; i++) {
        prompt.client = &i;
        prompt.client_length = sizeof(i);
        cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
        cr_assert(take(&fields));
        cr_expect_gt(field(&fields, SERVE_FIELD_CLIENT), numbers[1]);
        numbers[1] = field(&fields, SERVE_FIELD_CLIENT);
        serve_release(serve, call);
    }
    prompt.client = "alice";
    prompt.client_length = 5;
    cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    cr_assert(take(&fields));
    cr_expect_gt(field(&fields, SERVE_FIELD_CLIENT), numbers[1]);
}

Test(serve, what_is_late_ends, .init = start)
{
    struct port_fields fields;
    struct serve_call *call = call_with("a");
    cr_assert(take(&fields));
    now += 999 * NS_PER_MS;
    serve_tick(serve);
    cr_expect_eq(call->state, SERVE_RUNNING);
    now += NS_PER_MS;
    serve_tick(serve);
    cr_expect_eq(call->state, SERVE_ENDED);
    cr_expect_eq(call->end, SERVE_END_DEADLINE);
    cr_expect_eq(piece(call, "x"), PORT_STATUS_BROKEN);
}

Test(serve, an_isolated_vm_tells_everybody, .init = start)
{
    struct port_fields fields;
    struct serve_prompt prompt = prompt_of("a");
    struct serve_call *refused;
    struct serve_call *runs = call_with("a");
    struct serve_call *waits = call_with("b");
    const char *reason;
    uint32_t retry_s;
    cr_assert(take(&fields));
    piece(runs, "so far");
    atomic_store(&supervisor.level, LEVEL_SEVERED);
    cr_expect_eq(serve_submit(serve, &prompt, &refused, &reason, &retry_s), SERVE_ISOLATED);
    cr_expect_str_eq(reason, "severed");
    serve_tick(serve);
    cr_expect(serve_is_isolated(serve));
    cr_expect_eq(runs->end, SERVE_END_ISOLATED);
    cr_expect_eq(waits->end, SERVE_END_ISOLATED);
    cr_expect_str_eq(runs->reason, "severed");
    expect_text(runs, "so far");
    cr_expect_not(take(&fields));
    atomic_store(&supervisor.level, LEVEL_STANDARD);
    serve_tick(serve);
    cr_expect_eq(submit(&prompt, &refused), SERVE_ACCEPTED);
}

Test(serve, errors_of_the_model_are_plain_text, .init = start)
{
    struct port_fields fields;
    struct serve_call *call = call_with("a");
    cr_assert(take(&fields));
    cr_expect_eq(say(SERVE_ANSWER, call->number, "too \033[2Jlong\xc3\xa9", "error"),
                 PORT_STATUS_OK);
    cr_expect_eq(call->end, SERVE_END_FAILED);
    cr_expect_str_eq(call->reason, "too ?[2Jlong??");
}

Test(serve, nonsense_changes_nothing, .init = start)
{
    struct port_fields fields;
    struct serve_call *call = call_with("a");
    cr_assert(take(&fields));
    cr_expect_eq(say(SERVE_ANSWER, call->number, "x", "whatever"), PORT_STATUS_INVALID);
    cr_expect_eq(say(SERVE_ANSWER, call->number, "x", NULL), PORT_STATUS_INVALID);
    struct port_request request = {
        .operation = SERVE_PIECE, .payload = (const uint8_t *)"garbage!", .length = 8};
    cr_assert_eq(serve_take(serve, &request), PORT_DONE);
    cr_expect_eq(request.status, PORT_STATUS_INVALID);
    request = (struct port_request){.operation = SERVE_PROMPT};
    cr_assert_eq(serve_take(serve, &request), PORT_DONE);
    cr_expect_eq(request.status, PORT_STATUS_INVALID);
    cr_expect_eq(call->state, SERVE_RUNNING);
    expect_text(call, "");
}

Test(serve, a_prompt_that_does_not_fit_is_refused, .init = start)
{
    static char large[5000];
    struct serve_call *call;
    memset(large, 'a', sizeof(large) - 1);
    struct serve_prompt prompt = prompt_of(large);
    cr_expect_eq(submit(&prompt, &call), SERVE_TOO_LARGE);
    cr_expect_null(call);
    cr_expect_eq(serve_open_calls(serve), 0u);
}

Test(serve, the_grant_bounds_the_tokens, .init = start)
{
    struct port_fields fields;
    struct serve_prompt prompt = prompt_of("a");
    struct serve_call *call;
    grant.max_tokens = 50;
    cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    cr_assert(take(&fields));
    cr_expect_eq(field(&fields, SERVE_FIELD_LIMIT), 50);
    prompt.limit = 20;
    cr_assert_eq(submit(&prompt, &call), SERVE_ACCEPTED);
    cr_assert(take(&fields));
    cr_expect_eq(field(&fields, SERVE_FIELD_LIMIT), 20);
}

Test(serve, what_policy_denies_is_told_at_once_and_recorded_by_the_vmm)
{
    static const char text[] =
        "{\"format\":\"guillotine-policy/1\",\"ports\":{\"test\":{\"kind\":\"serve\",\"rules\":["
        "{\"name\":\"bad\",\"operations\":[\"prompt\"],\"outcome\":\"deny\","
        "\"where\":{\"text\":{\"contains\":\"bad\"}}},"
        "{\"name\":\"rest\",\"outcome\":\"allow\"}]}}}";
    struct error err;
    struct port_fields fields;
    struct serve_call *call;
    cr_assert_eq(policy_document_parse("t.json", text, sizeof(text) - 1, &document, &err), 0, "%s",
                 err.text);
    cr_assert_eq(policy_memory_open(&memory, &err), 0);
    start_with(policy_engine_create(&document.arrays, "test", &fake_clock, &memory, &err));
    struct serve_prompt prompt = prompt_of("a bad one");
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(submit(&prompt, &call), SERVE_DENIED);
    cr_expect_null(call);
    cr_expect_eq(submit(&prompt, &call), SERVE_BUSY, "they are bounded");
    struct serve_prompt good = prompt_of("good");
    cr_assert(take(&fields));
    cr_expect_eq(memcmp(fields.field[SERVE_FIELD_TEXT].bytes, "a bad one", 9), 0);
    cr_expect_eq(submit(&good, &call), SERVE_ACCEPTED, "and take no other's place");
    uint64_t denied = field(&fields, SERVE_FIELD_CALL);
    cr_expect_eq(say(SERVE_PIECE, denied, "x", NULL), PORT_STATUS_BROKEN);
    for (unsigned i = 1; i < 16; i++)
        cr_assert(take(&fields));
    cr_assert(take(&fields));
    cr_expect_eq(field(&fields, SERVE_FIELD_CALL), call->number);
}

// Text.

static struct serve_text text_with(const char *stop)
{
    struct serve_text text;
    size_t length = strlen(stop);
    cr_assert(serve_text_open(&text, &stop, &length, length ? 1 : 0));
    return text;
}

static enum serve_text_state add(struct serve_text *text, const char *bytes)
{
    return serve_text_add(text, (const uint8_t *)bytes, strlen(bytes));
}

Test(serve_text, stops_are_found_however_the_text_is_cut)
{
    static const char whole[] = "one two three";
    for (size_t cut = 0; cut <= strlen(whole); cut++) {
        struct serve_text text = text_with("two");
        enum serve_text_state state = serve_text_add(&text, (const uint8_t *)whole, cut);
        cr_expect_leq(serve_text_shown(&text), 4u, "nothing of the stop is ever shown");
        if (state == SERVE_TEXT_OPEN)
            state = add(&text, whole + cut);
        cr_expect_eq(state, SERVE_TEXT_STOPPED);
        cr_expect_eq(serve_text_shown(&text), 4u);
        cr_expect_eq(add(&text, "more"), SERVE_TEXT_STOPPED);
        serve_text_free(&text);
    }
}

Test(serve_text, what_only_begins_like_a_stop_is_shown_in_the_end)
{
    struct serve_text text = text_with("###");
    cr_expect_eq(add(&text, "a ##"), SERVE_TEXT_OPEN);
    cr_expect_eq(serve_text_shown(&text), 2u);
    cr_expect_eq(add(&text, " b #"), SERVE_TEXT_OPEN);
    cr_expect_eq(serve_text_shown(&text), 7u);
    serve_text_end(&text);
    cr_expect_eq(serve_text_shown(&text), 8u);
    serve_text_free(&text);
}

Test(serve_text, only_utf8_gets_out)
{
    struct serve_text text = text_with("");
    cr_expect_eq(add(&text, "\xff\xc3\xa9\xed\xa0\x80"), SERVE_TEXT_OPEN);
    serve_text_add(&text, (const uint8_t *)"\0", 1);
    cr_expect_eq(text.length, 3u + 2 + 9 + 3);
    cr_expect_eq(memcmp(text.bytes, "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd", 8), 0);
    serve_text_free(&text);
}

Test(serve_text, replies_are_bounded)
{
    static uint8_t block[65536];
    struct serve_text text = text_with("");
    memset(block, 'a', sizeof(block));
    enum serve_text_state state = SERVE_TEXT_OPEN;
    for (unsigned i = 0; i < 65 && state == SERVE_TEXT_OPEN; i++)
        state = serve_text_add(&text, block, sizeof(block));
    cr_expect_eq(state, SERVE_TEXT_FULL);
    cr_expect_eq(text.length, SERVE_REPLY_MAX);
    serve_text_free(&text);
}
