// SPDX-License-Identifier: Apache-2.0
// The compiled policy against a second opinion: an evaluator that walks the document's JSON tree.
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy_document.h"
#include "policy_engine.h"
#include "port_fields_abi.h"

#define POLICIES 2500u
#define REQUESTS 500u // for each policy: 1,250,000 decisions

static uint64_t random_state = 0x243f6a8885a308d3;

static uint32_t rnd(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % below;
}

static uint64_t fake_now;
static uint64_t fake_wall;

static uint64_t now_ns(const struct clock *clock)
{
    (void)clock;
    return fake_now;
}

static uint64_t wall_ns(const struct clock *clock)
{
    (void)clock;
    return fake_wall;
}

static const struct clock fake_clock = {now_ns, wall_ns, NULL};

// Few short words, so that random rules and random requests meet.
static const char *const words[] = {"a", "B", "ab", "aB", "abc", "b", "ba", "7", "12", "120", "x"};
#define WORDS (sizeof(words) / sizeof(words[0]))

// Room for one engine: what was made before is gone.
static struct policy_memory *memory(void)
{
    static struct policy_memory memory;
    struct error err;
    if (memory.base)
        policy_memory_reset(&memory);
    else
        cr_assert_eq(policy_memory_open(&memory, &err), 0, "%s", err.text);
    return &memory;
}

static struct json_object *text(const char *value)
{
    return json_object_new_string(value);
}

static const char *word(void)
{
    return words[rnd(WORDS)];
}

static void random_texts(struct json_object *condition, const char *test)
{
    if (rnd(2)) {
        json_object_object_add(condition, test, text(word()));
        return;
    }
    struct json_object *list = json_object_new_array();
    for (uint32_t i = 0; i <= rnd(3); i++)
        json_object_array_add(list, text(word()));
    json_object_object_add(condition, test, list);
}

static struct json_object *random_condition(void)
{
    static const char *const tests[] = {"equals", "prefix", "suffix", "contains", "pattern"};
    struct json_object *condition = json_object_new_object();
    switch (rnd(7)) {
    case 5:
        json_object_object_add(condition, "present", json_object_new_boolean((int)rnd(2)));
        break;
    case 6:
        json_object_object_add(condition, "min", json_object_new_int64(rnd(20)));
        json_object_object_add(condition, "max", json_object_new_int64(20 + rnd(150)));
        break;
    default:
        random_texts(condition, tests[rnd(5)]);
    }
    if (!rnd(4))
        json_object_object_add(condition, "not", json_object_new_boolean(1));
    if (!rnd(3))
        json_object_object_add(condition, "ignore_case", json_object_new_boolean((int)rnd(2)));
    return condition;
}

static void add_range(struct json_object *rule, const char *key)
{
    struct json_object *range = json_object_new_object();
    uint32_t from = rnd(40);
    if (rnd(2))
        json_object_object_add(range, "min", json_object_new_int64(from));
    json_object_object_add(range, "max", json_object_new_int64(from + rnd(60)));
    json_object_object_add(rule, key, range);
}

static void add_times(struct json_object *rule)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    struct json_object *times = json_object_new_array();
    struct json_object *hours = json_object_new_object();
    struct json_object *list = json_object_new_array();
    char from[16];
    char to[16];
    uint32_t start = rnd(20);
    json_object_array_add(list, text(days[rnd(7)]));
    json_object_array_add(list, text(days[rnd(7)]));
    snprintf(from, sizeof(from), "%02u:%02u", start, rnd(60));
    snprintf(to, sizeof(to), "%02u:%02u", start + 1 + rnd(3), rnd(60));
    json_object_object_add(hours, "days", list);
    json_object_object_add(hours, "from", text(from));
    if (rnd(2))
        json_object_object_add(hours, "to", text(to));
    json_object_array_add(times, hours);
    json_object_object_add(rule, "times", times);
}

static const char *const outcomes[] = {"allow", "deny", "redact", "hold", "escalate"};

static struct json_object *random_rule(uint32_t index)
{
    struct json_object *rule = json_object_new_object();
    char name[16];
    const char *outcome = outcomes[rnd(5)];
    snprintf(name, sizeof(name), "rule-%u", index);
    json_object_object_add(rule, "name", text(name));
    if (rnd(2)) {
        struct json_object *list = json_object_new_array();
        json_object_array_add(list, text(rnd(2) ? "write" : "read"));
        json_object_object_add(rule, "operations", list);
    }
    if (!rnd(3)) {
        struct json_object *list = json_object_new_array();
        json_object_array_add(list, text(rnd(2) ? "standard" : "probation"));
        json_object_object_add(rule, "levels", list);
    }
    if (!rnd(3))
        add_range(rule, "request_bytes");
    if (!rnd(4))
        add_range(rule, "argument");
    if (!rnd(4))
        add_times(rule);
    if (rnd(4)) {
        struct json_object *where = json_object_new_object();
        struct json_object *payload = random_condition();
        if (!rnd(3)) {
            struct json_object *list = json_object_new_array();
            json_object_array_add(list, payload);
            json_object_array_add(list, random_condition());
            payload = list;
        }
        json_object_object_add(where, "payload", payload);
        json_object_object_add(rule, "where", where);
    }
    json_object_object_add(rule, "outcome", text(outcome));
    if (!strcmp(outcome, "escalate"))
        json_object_object_add(rule, "escalate_to", text("severed"));
    if (!strcmp(outcome, "redact")) {
        struct json_object *redact = json_object_new_object();
        struct json_object *list = json_object_new_array();
        json_object_array_add(list, text("a+"));
        json_object_object_add(redact, "request", list);
        json_object_object_add(rule, "redact", redact);
    }
    return rule;
}

static struct json_object *random_policy(void)
{
    struct json_object *root = json_object_new_object();
    struct json_object *ports = json_object_new_object();
    struct json_object *port = json_object_new_object();
    struct json_object *rules = json_object_new_array();
    uint32_t count = 1 + rnd(12);
    for (uint32_t i = 0; i < count; i++)
        json_object_array_add(rules, random_rule(i));
    json_object_object_add(port, "kind", text("console"));
    json_object_object_add(port, "rules", rules);
    json_object_object_add(ports, "console", port);
    json_object_object_add(root, "format", text("guillotine-policy/1"));
    json_object_object_add(root, "ports", ports);
    return root;
}

struct request {
    bool write;
    bool probation;
    uint32_t argument;
    char payload[64];
};

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

static bool list_has(struct json_object *list, const char *name)
{
    if (!list)
        return true;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name))
            return true;
    }
    return false;
}

static bool in_range(struct json_object *range, uint64_t value)
{
    if (!range)
        return true;
    struct json_object *min = member(range, "min");
    struct json_object *max = member(range, "max");
    return (!min || value >= (uint64_t)json_object_get_int64(min)) &&
           (!max || value <= (uint64_t)json_object_get_int64(max));
}

static bool fits(const char *test, const char *value, const char *wanted, bool ignore_case)
{
    int (*compare)(const char *, const char *, size_t) = ignore_case ? strncasecmp : strncmp;
    size_t length = strlen(value);
    size_t size = strlen(wanted);
    if (!strcmp(test, "equals"))
        return length == size && !compare(value, wanted, size);
    if (!strcmp(test, "prefix"))
        return length >= size && !compare(value, wanted, size);
    if (!strcmp(test, "suffix"))
        return length >= size && !compare(value + length - size, wanted, size);
    // The words mean themselves as patterns.
    return (ignore_case ? strcasestr(value, wanted) : strstr(value, wanted)) != NULL;
}

static bool is_number(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits && digits < 19 && !value[digits] && (value[0] != '0' || digits == 1);
}

static bool holds(struct json_object *condition, const char *value)
{
    bool ignore_case = json_object_get_boolean(member(condition, "ignore_case"));
    bool result = false;
    if (member(condition, "present"))
        result = json_object_get_boolean(member(condition, "present"));
    if (member(condition, "min"))
        result = is_number(value) && in_range(condition, strtoull(value, NULL, 10));
    json_object_object_foreach(condition, key, wanted)
    {
        if (!strcmp(key, "not") || !strcmp(key, "ignore_case") || !strcmp(key, "present") ||
            !strcmp(key, "min") || !strcmp(key, "max"))
            continue;
        if (json_object_is_type(wanted, json_type_string)) {
            result = fits(key, value, json_object_get_string(wanted), ignore_case);
            continue;
        }
        for (size_t i = 0; i < json_object_array_length(wanted); i++)
            result = result ||
                     fits(key, value, json_object_get_string(json_object_array_get_idx(wanted, i)),
                          ignore_case);
    }
    return result != (bool)json_object_get_boolean(member(condition, "not"));
}

static bool where_holds(struct json_object *where, const char *value)
{
    struct json_object *payload = where ? member(where, "payload") : NULL;
    if (!payload)
        return true;
    if (!json_object_is_type(payload, json_type_array))
        return holds(payload, value);
    for (size_t i = 0; i < json_object_array_length(payload); i++) {
        if (!holds(json_object_array_get_idx(payload, i), value))
            return false;
    }
    return true;
}

static unsigned minutes(struct json_object *value, unsigned otherwise)
{
    unsigned hour;
    unsigned minute;
    if (!value || sscanf(json_object_get_string(value), "%u:%u", &hour, &minute) != 2)
        return otherwise;
    return hour * 60 + minute;
}

static bool in_hours(struct json_object *times)
{
    static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    if (!times)
        return true;
    time_t seconds = (time_t)(fake_wall / NS_PER_S);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    unsigned minute = (unsigned)parts.tm_hour * 60 + (unsigned)parts.tm_min;
    for (size_t i = 0; i < json_object_array_length(times); i++) {
        struct json_object *hours = json_object_array_get_idx(times, i);
        if (list_has(member(hours, "days"), days[parts.tm_wday]) &&
            minute >= minutes(member(hours, "from"), 0) &&
            minute < minutes(member(hours, "to"), 1440))
            return true;
    }
    return false;
}

// Which rule decides: the first of which everything holds; -1: none.
static int second_opinion(struct json_object *policy, const struct request *request)
{
    struct json_object *rules = member(member(member(policy, "ports"), "console"), "rules");
    for (size_t i = 0; i < json_object_array_length(rules); i++) {
        struct json_object *rule = json_object_array_get_idx(rules, i);
        if (list_has(member(rule, "operations"), request->write ? "write" : "read") &&
            list_has(member(rule, "levels"), request->probation ? "probation" : "standard") &&
            in_range(member(rule, "request_bytes"), strlen(request->payload)) &&
            in_range(member(rule, "argument"), request->argument) &&
            in_hours(member(rule, "times")) && where_holds(member(rule, "where"), request->payload))
            return (int)i;
    }
    return -1;
}

static void random_request(struct request *request)
{
    *request = (struct request){.write = rnd(2), .probation = rnd(2), .argument = rnd(60)};
    for (uint32_t i = rnd(4); i > 0; i--)
        strcat(request->payload, word());
    fake_wall = 1700000000ull * NS_PER_S + (uint64_t)rnd(7 * 24 * 3600) * NS_PER_S;
}

static void compare(struct json_object *policy, const struct policy_document *document,
                    struct policy_engine *engine, const struct request *request, uint64_t *allowed)
{
    const struct policy_view view = {
        .operation = request->write ? 1 : 2,
        .argument = request->argument,
        .length = (uint32_t)strlen(request->payload),
        .payload = (const uint8_t *)request->payload,
    };
    uint32_t taken = 0;
    const struct policy_result result =
        policy_engine_decide(engine, &view, request->probation, fake_now, &taken);
    int expected = second_opinion(policy, request);
    int found = result.finding == POLICY_FINDING_RULE ? (int)result.rule : -1;
    cr_assert(result.finding == POLICY_FINDING_RULE || result.finding == POLICY_FINDING_NONE);
    cr_assert_eq(found, expected, "rule %d, expected %d, payload '%s' argument %u: %s", found,
                 expected, request->payload, request->argument, json_object_to_json_string(policy));
    if (found < 0)
        return;
    cr_assert_str_eq(policy_action_name(result.action),
                     outcomes[document->arrays.rules[found].action]);
    *allowed += result.action == POLICY_ACTION_ALLOW;
    uint32_t condition;
    cr_assert_eq(policy_engine_explain(engine, &view, request->probation, result.rule, &condition),
                 POLICY_REASON_MATCHES);
}

Test(policy_engine, agrees_with_a_second_opinion, .timeout = 120)
{
    uint64_t allowed = 0;
    uint64_t decisions = 0;
    for (unsigned i = 0; i < POLICIES; i++) {
        struct json_object *policy = random_policy();
        struct policy_document document = {0};
        struct error err = {0};
        const char *written = json_object_to_json_string(policy);
        int result = policy_document_parse("random", written, strlen(written), &document, &err);
        if (result < 0) { // "min" above "max", "from" not before "to"
            json_object_put(policy);
            cr_assert(strstr(err.text, "is above") || strstr(err.text, "is not before") ||
                          strstr(err.text, "a time is expected"),
                      "%s", err.text);
            continue;
        }
        struct policy_engine *engine =
            policy_engine_create(&document.arrays, "console", &fake_clock, memory(), &err);
        cr_assert(engine, "%s", err.text);
        for (unsigned j = 0; j < REQUESTS; j++) {
            struct request request;
            random_request(&request);
            compare(policy, &document, engine, &request, &allowed);
            decisions++;
        }
        policy_document_free(&document);
        json_object_put(policy);
    }
    cr_assert_geq(decisions, 1000000u);
    cr_assert_gt(allowed, decisions / 20); // the test meets rules, not only their absence
}

static struct policy_document document;
static struct policy_engine *engine;

static void prepare(const char *ports, const char *port)
{
    char written[4096];
    struct error err;
    snprintf(written, sizeof(written), "{\"format\":\"guillotine-policy/1\",\"ports\":%s}", ports);
    cr_assert_eq(policy_document_parse("t", written, strlen(written), &document, &err), 0, "%s",
                 err.text);
    engine = policy_engine_create(&document.arrays, port, &fake_clock, memory(), &err);
    cr_assert(engine, "%s", err.text);
}

static struct policy_result decide(const char *payload, uint32_t *taken)
{
    const struct policy_view view = {1, 0, (uint32_t)strlen(payload), (const uint8_t *)payload};
    return policy_engine_decide(engine, &view, false, fake_now, taken);
}

Test(policy_engine, accounts_limits_once_and_per_rule)
{
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":["
            "{\"name\":\"slow\",\"where\":{\"payload\":{\"prefix\":\"s\"}},\"outcome\":\"allow\","
            "\"limits\":{\"requests_per_s\":1,\"requests_total\":2}},"
            "{\"name\":\"fast\",\"outcome\":\"allow\"}]}}",
            "console");
    uint32_t taken = 0;
    uint32_t other = 0;
    cr_expect_eq(decide("s", &taken).finding, POLICY_FINDING_RULE);
    cr_expect_eq(decide("s", &taken).finding, POLICY_FINDING_RULE); // the same request, asked again
    struct policy_result result = decide("s", &other);
    cr_expect_eq(result.finding, POLICY_FINDING_WAIT);
    cr_expect_eq(result.retry_ns, fake_now + NS_PER_S);
    uint32_t third = 0;
    cr_expect_eq(decide("f", &third).finding, POLICY_FINDING_RULE);
    fake_now += NS_PER_S;
    cr_expect_eq(decide("s", &other).finding, POLICY_FINDING_RULE);
    fake_now += NS_PER_S;
    third = 0;
    cr_expect_eq(decide("s", &third).finding, POLICY_FINDING_EXHAUSTED);
}

Test(policy_engine, finds_fields_and_denies_what_has_none)
{
    struct error err;
    policy_document_free(&document);
    static struct policy_table_port *port;
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"any\","
            "\"outcome\":\"allow\"}]}}",
            "console");
    port = (struct policy_table_port *)(uintptr_t)&document.arrays.table->ports[0];
    port->structured = 1;
    engine = policy_engine_create(&document.arrays, "console", &fake_clock, memory(), &err);
    uint32_t taken = 0;
    cr_expect_eq(decide("not fields", &taken).finding, POLICY_FINDING_MALFORMED);
    cr_expect_eq(decide("", &taken).finding, POLICY_FINDING_RULE);
    uint8_t payload[64] = {0};
    uint32_t used = 0;
    cr_assert(port_fields_append(payload, sizeof(payload), &used, 3, "abc", 3));
    cr_assert(port_fields_append(payload, sizeof(payload), &used, 5, "", 0));
    struct policy_view view = {1, 0, used, payload};
    cr_expect_eq(policy_engine_decide(engine, &view, false, 0, &taken).finding,
                 POLICY_FINDING_RULE);
    payload[12] = 1; // padding
    cr_expect_eq(policy_engine_decide(engine, &view, false, 0, &taken).finding,
                 POLICY_FINDING_MALFORMED);
}

Test(policy_engine, denies_ports_without_a_section)
{
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"any\","
            "\"outcome\":\"allow\"}]}}",
            "other");
    uint32_t taken = 0;
    cr_expect_eq(decide("x", &taken).finding, POLICY_FINDING_NONE);
    cr_expect_eq(policy_engine_count_denial(engine, 0), 0);
}

// (a+)+$ backtracks without end on a's before something else: the search stops, and the request is
// denied, although the rule would deny nothing.
Test(policy_engine, bounds_patterns)
{
    static char text_of_a[4000];
    memset(text_of_a, 'a', sizeof(text_of_a) - 1);
    text_of_a[sizeof(text_of_a) - 2] = '!';
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":["
            "{\"name\":\"bad\",\"where\":{\"payload\":{\"pattern\":\"(a+)+$\"}},"
            "\"outcome\":\"deny\"},{\"name\":\"any\",\"outcome\":\"allow\"}]}}",
            "console");
    uint32_t taken = 0;
    cr_expect_eq(decide(text_of_a, &taken).finding, POLICY_FINDING_EFFORT);
    cr_expect_eq(decide("xaa", &taken).action, POLICY_ACTION_DENY);
    cr_expect_eq(decide("x", &taken).action, POLICY_ACTION_ALLOW);
}

Test(policy_engine, redacts_both_directions)
{
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"mail\","
            "\"outcome\":\"redact\",\"redact\":{\"request\":[\"[a-z]+@[a-z.]+\"],"
            "\"reply\":[\"key-[0-9]*\",\"^\"]}}]}}",
            "console");
    char request[] = "to me@a.org, you@b.org.";
    char reply[] = "key-17 key- keys";
    cr_expect(policy_engine_redact(engine, 0, POLICY_DIRECTION_REQUEST, (uint8_t *)request,
                                   (uint32_t)strlen(request)));
    cr_expect_str_eq(request, "to ********, **********");
    cr_expect(policy_engine_redact(engine, 0, POLICY_DIRECTION_REPLY, (uint8_t *)reply,
                                   (uint32_t)strlen(reply)));
    cr_expect_str_eq(reply, "****** **** keys");
    cr_expect_not(policy_engine_redact(engine, 0, POLICY_DIRECTION_REPLY, (uint8_t *)reply,
                                       POLICY_SEARCH_MAX_BYTES + 1));
}

// What one pattern blots out does not hide the rest of what another one finds, in any order.
Test(policy_engine, redacts_what_patterns_find_in_each_others_texts)
{
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"key\","
            "\"outcome\":\"redact\",\"redact\":{\"request\":[\"secret\",\"secret-key=[0-9]+\","
            "\"(?<=9)[a-z]\"]}}]}}",
            "console");
    char request[] = "the secret-key=149x and more";
    cr_expect(policy_engine_redact(engine, 0, POLICY_DIRECTION_REQUEST, (uint8_t *)request,
                                   (uint32_t)strlen(request)));
    cr_expect_str_eq(request, "the *************** and more");
}

// Each look at the clock takes a millisecond.
static uint64_t slow_now_ns(const struct clock *clock)
{
    (void)clock;
    return fake_now += NS_PER_MS;
}

static const struct clock slow_clock = {slow_now_ns, wall_ns, NULL};

Test(policy_engine, bounds_redactions_that_find_nothing)
{
    struct error err;
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"r\",\"outcome\":\"redact\","
            "\"redact\":{\"request\":[\"q\",\"r\",\"s\",\"t\",\"u\",\"v\",\"w\",\"x\"]}}]}}",
            "console");
    char request[] = "nothing of it";
    engine = policy_engine_create(&document.arrays, "console", &slow_clock, memory(), &err);
    cr_expect_not(policy_engine_redact(engine, 0, POLICY_DIRECTION_REQUEST, (uint8_t *)request,
                                       (uint32_t)strlen(request)));
}

// Texts in long fields count as patterns do.
Test(policy_engine, bounds_searches_for_texts)
{
    static uint8_t payload[2000];
    struct error err;
    prepare(
        "{\"console\":{\"kind\":\"console\",\"rules\":[{\"name\":\"d\",\"where\":{\"payload\":"
        "{\"contains\":[\"q\",\"r\",\"s\",\"t\",\"u\",\"v\",\"w\",\"x\"]}},\"outcome\":\"deny\"},"
        "{\"name\":\"any\",\"outcome\":\"allow\"}]}}",
        "console");
    engine = policy_engine_create(&document.arrays, "console", &slow_clock, memory(), &err);
    struct policy_view view = {1, 0, sizeof(payload), payload};
    uint32_t taken = 0;
    cr_expect_eq(policy_engine_decide(engine, &view, false, 0, &taken).finding,
                 POLICY_FINDING_EFFORT);
    view.length = 20;
    cr_expect_eq(policy_engine_decide(engine, &view, false, 0, &taken).finding,
                 POLICY_FINDING_RULE);
}

Test(policy_engine, counts_denials_in_their_window)
{
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":[],\"denials\":{\"count\":3,"
            "\"within_ms\":1000,\"escalate_to\":\"severed\"}}}",
            "console");
    cr_expect_eq(policy_engine_count_denial(engine, 10), 0);
    cr_expect_eq(policy_engine_count_denial(engine, 20), 0);
    cr_expect_eq(policy_engine_count_denial(engine, 20 + 1000 * NS_PER_MS), 0);
    cr_expect_eq(policy_engine_count_denial(engine, 21 + 1000 * NS_PER_MS), 0);
    cr_expect_eq(policy_engine_count_denial(engine, 22 + 1000 * NS_PER_MS), 2);
}

// Any damage is refused, or harmless: nothing outside the table is read (the sanitizers look on).
Test(policy_engine, refuses_damaged_tables, .timeout = 60)
{
    struct error err;
    prepare("{\"console\":{\"kind\":\"console\",\"rules\":["
            "{\"name\":\"one\",\"where\":{\"payload\":{\"pattern\":\"a\"}},\"outcome\":\"redact\","
            "\"redact\":{\"reply\":[\"b\"]},\"times\":[{\"from\":\"01:00\"}]}]}}",
            "console");
    uint8_t *copy = malloc(document.bytes);
    for (uint64_t i = 0; i < document.bytes * 8; i++) {
        struct policy_arrays arrays;
        memcpy(copy, document.memory, document.bytes);
        copy[i / 8] ^= (uint8_t)(1u << i % 8);
        if (policy_table_open(&arrays, copy, document.bytes, &err) < 0)
            continue;
        struct policy_engine *other =
            policy_engine_create(&arrays, "console", &fake_clock, memory(), &err);
        if (!other)
            continue;
        const struct policy_view view = {1, 0, 3, (const uint8_t *)"abc"};
        uint32_t taken = 0;
        policy_engine_decide(other, &view, true, 0, &taken);
    }
    for (uint64_t bytes = 0; bytes < document.bytes; bytes++) {
        struct policy_arrays arrays;
        cr_assert_lt(policy_table_open(&arrays, copy, bytes, &err), 0);
    }
    free(copy);
}
