// SPDX-License-Identifier: Apache-2.0
// The policy document (guillotine-policy/1): read, checked, compiled.
#include "policy_document.h"

#include <inttypes.h>
#include <json-c/linkhash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "level.h"
#include "policy_builder.h"
#include "policy_pattern.h"
#include "port_fields_abi.h"
#include "vm_file_internal.h"
#include "whole_file.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define KINDS      32u // numbers of kinds of ports are below
#define OPERATIONS 64u
#define HOLD_MS    300000u
#define DAY        (24u * 60)

// Fields of structured payloads, by kind. The whole payload is a field of every kind.
static const struct {
    const char *kind;
    const char *names[POLICY_FIELDS];
} field_names[] = {
    {"store",
     {[STORE_FIELD_NAME] = "name",
      [STORE_FIELD_OFFSET] = "offset",
      [STORE_FIELD_BYTES] = "bytes",
      [STORE_FIELD_QUERY] = "query",
      [STORE_FIELD_LIMIT] = "limit",
      [STORE_FIELD_DATA] = "data",
      [STORE_FIELD_AFTER] = "after"}},
    {"http",
     {[HTTP_FIELD_METHOD] = "method",
      [HTTP_FIELD_SCHEME] = "scheme",
      [HTTP_FIELD_HOST] = "host",
      [HTTP_FIELD_PORT] = "port",
      [HTTP_FIELD_PATH] = "path",
      [HTTP_FIELD_HEADERS] = "headers",
      [HTTP_FIELD_BODY] = "body"}},
    {"tool", {[TOOL_FIELD_TOOL] = "tool", [TOOL_FIELD_ARGUMENTS] = "arguments"}},
    {"serve",
     {[SERVE_FIELD_CALL] = "call",
      [SERVE_FIELD_CLIENT] = "client",
      [SERVE_FIELD_KIND] = "kind",
      [SERVE_FIELD_PARTS] = "parts",
      [SERVE_FIELD_LIMIT] = "limit",
      [SERVE_FIELD_TEMPERATURE] = "temperature",
      [SERVE_FIELD_TOP_P] = "top_p",
      [SERVE_FIELD_SEED] = "seed",
      [SERVE_FIELD_TEXT] = "text",
      [SERVE_FIELD_FINISH] = "finish"}},
};

// Texts of a condition that stand for a test.
static const char *const test_names[POLICY_TESTS] = {
    [POLICY_TEST_EQUALS] = "equals",   [POLICY_TEST_PREFIX] = "prefix",
    [POLICY_TEST_SUFFIX] = "suffix",   [POLICY_TEST_CONTAINS] = "contains",
    [POLICY_TEST_PATTERN] = "pattern", [POLICY_TEST_PRESENT] = "present",
    [POLICY_TEST_NUMBER] = "number",
};

struct document_reader {
    struct policy_builder *builder;
    struct policy_table_port *port; // being read
    uint32_t kind;
};

struct rule_reader {
    struct document_reader *document;
    struct policy_table_rule rule;
    const char *name;
    bool escalates;
    bool redacts;
    bool holds;
};

struct condition_reader {
    struct document_reader *document;
    struct policy_table_condition conditions[POLICY_TESTS];
    uint32_t tests; // bit n: test n is there
    bool negate;
    bool ignore_case;
};

static const char *const *fields_of(uint32_t kind)
{
    const char *name = vm_port_kind_name(kind);
    for (size_t i = 0; name && i < COUNT(field_names); i++) {
        if (!strcmp(field_names[i].kind, name))
            return field_names[i].names;
    }
    return NULL;
}

const char *policy_field_name(uint32_t kind, uint32_t field)
{
    const char *const *names = fields_of(kind);
    if (field == POLICY_FIELD_PAYLOAD)
        return "payload";
    return names && field < POLICY_FIELDS ? names[field] : NULL;
}

int policy_field_number(uint32_t kind, const char *name)
{
    for (uint32_t field = 0; field < POLICY_FIELDS; field++) {
        const char *known = policy_field_name(kind, field);
        if (known && !strcmp(known, name))
            return (int)field;
    }
    return -1;
}

const char *policy_rule_text(const struct policy_arrays *arrays, uint32_t rule)
{
    return arrays->bytes + arrays->texts[arrays->rules[rule].name].at;
}

static int read_level(const struct json_place *place, uint32_t *level, struct error *err)
{
    static const char *const names[] = {"probation", "severed", "offline"};
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    *level = (uint32_t)index + LEVEL_PROBATION;
    return 0;
}

// A range of 32-bit numbers.
struct range {
    uint32_t min;
    uint32_t max;
};

static int read_range(const struct json_place *place, uint32_t *min, uint32_t *max,
                      struct error *err)
{
    static const struct json_field fields[] = {
        {"min", json_field_u32, false, offsetof(struct range, min), 0, UINT32_MAX},
        {"max", json_field_u32, false, offsetof(struct range, max), 0, UINT32_MAX},
    };
    struct range range = {0, UINT32_MAX};
    if (json_read_object(place, fields, COUNT(fields), &range, err))
        return -1;
    if (range.min > range.max)
        return json_refuse(place, JSON_PART_VALUE, err, "min is above max: nothing matches");
    *min = range.min;
    *max = range.max;
    return 0;
}

static int read_request_bytes(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    return read_range(place, &reader->rule.request_min, &reader->rule.request_max, err);
}

static int read_argument(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    return read_range(place, &reader->rule.argument_min, &reader->rule.argument_max, err);
}

static int read_rule_name(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    char name[VM_NAME_SIZE];
    if (vm_file_read_name(place, name, sizeof(name), err) ||
        json_read_text(place, &reader->name, err))
        return -1;
    const struct policy_builder *builder = reader->document->builder;
    const struct policy_table_rule *rules = builder->rules.items;
    const struct policy_table_text *texts = builder->texts.items;
    for (uint32_t i = reader->document->port->first_rule; i < builder->rules.count; i++) {
        if (!strcmp((const char *)builder->bytes.items + texts[rules[i].name].at, name))
            return json_refuse(place, JSON_PART_VALUE, err, "another rule is named '%s'", name);
    }
    return 0;
}

static int read_operation(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    const char *names[OPERATIONS];
    uint32_t numbers[OPERATIONS];
    size_t count = 0;
    size_t index;
    for (uint32_t number = 0; number < OPERATIONS; number++) {
        const char *name = vm_port_operation_name(reader->document->kind, number);
        if (name) {
            names[count] = name;
            numbers[count++] = number;
        }
    }
    if (json_read_name(place, names, count, &index, err))
        return -1;
    reader->rule.operations |= 1ull << numbers[index];
    return 0;
}

static int read_operations(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    reader->rule.operations = 0;
    return json_read_array(place, OPERATIONS, read_operation, reader, err);
}

static int read_rule_level(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"standard", "probation"};
    struct rule_reader *reader = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->rule.levels |= (uint8_t)(1u << index);
    return 0;
}

static int read_rule_levels(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    reader->rule.levels = 0;
    return json_read_array(place, 2, read_rule_level, reader, err);
}

// "HH:MM", up to 24:00.
static int read_minute(const struct json_place *place, uint32_t *minute, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    bool sound = strlen(text) == 5 && text[2] == ':';
    for (unsigned i = 0; i < 5 && sound; i++)
        sound = i == 2 || (text[i] >= '0' && text[i] <= '9');
    if (sound) {
        uint32_t hours = (uint32_t)(text[0] - '0') * 10 + (uint32_t)(text[1] - '0');
        uint32_t minutes = (uint32_t)(text[3] - '0') * 10 + (uint32_t)(text[4] - '0');
        *minute = hours * 60 + minutes;
        sound = minutes < 60 && *minute <= DAY;
    }
    return sound ? 0 : json_refuse(place, JSON_PART_VALUE, err, "a time is expected, as \"08:30\"");
}

struct hours {
    uint32_t days;
    uint32_t from;
    uint32_t to;
};

static int read_day(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    struct hours *hours = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    hours->days |= 1u << index;
    return 0;
}

static int read_days(const struct json_place *place, void *target, struct error *err)
{
    ((struct hours *)target)->days = 0;
    return json_read_array(place, 7, read_day, target, err);
}

static int read_from(const struct json_place *place, void *target, struct error *err)
{
    return read_minute(place, &((struct hours *)target)->from, err);
}

static int read_to(const struct json_place *place, void *target, struct error *err)
{
    return read_minute(place, &((struct hours *)target)->to, err);
}

static int read_hours(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "days", .read = read_days},
        {.key = "from", .read = read_from},
        {.key = "to", .read = read_to},
    };
    struct rule_reader *reader = target;
    struct hours hours = {0x7f, 0, DAY};
    if (json_read_object(place, fields, COUNT(fields), &hours, err))
        return -1;
    if (hours.from >= hours.to)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "\"from\" is not before \"to\" (hours over midnight are two windows)");
    for (uint32_t day = 0; day < 7; day++) {
        const struct policy_table_window window = {day * DAY + hours.from, day * DAY + hours.to};
        if (hours.days >> day & 1 &&
            policy_builder_window(reader->document->builder, &window, err) < 0)
            return -1;
    }
    return 0;
}

static int read_times(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    reader->rule.first_window = reader->document->builder->windows.count;
    if (json_read_array(place, 64, read_hours, reader, err))
        return -1;
    reader->rule.window_count =
        reader->document->builder->windows.count - reader->rule.first_window;
    if (!reader->rule.window_count)
        return json_refuse(place, JSON_PART_VALUE, err, "no hours: the rule would never match");
    return 0;
}

static enum policy_test test_of(const struct json_place *place)
{
    for (unsigned test = 0; test < POLICY_TESTS; test++) {
        if (!strcmp(test_names[test], place->field->key))
            return (enum policy_test)test;
    }
    return POLICY_TEST_NUMBER; // "min" and "max"
}

// Tries to compile a pattern, so that its error has a position in the document.
static int check_pattern(const struct json_place *place, const char *text, size_t length,
                         struct error *err)
{
    struct error inner;
    struct policy_memory memory;
    if (policy_memory_open(&memory, err) < 0)
        return -1;
    struct policy_patterns *patterns = policy_patterns_create(1, &memory, &inner);
    int result = patterns ? policy_patterns_add(patterns, text, length, 0, NULL, &inner) : -1;
    policy_memory_close(&memory);
    return result < 0 ? vm_file_refuse_because(place, &inner, err) : 0;
}

static int add_text(const struct json_place *place, void *target, struct error *err)
{
    struct condition_reader *reader = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    size_t length = strlen(text);
    const struct json_place *named = place->field ? place : place->parent;
    enum policy_test test = test_of(named);
    if (!length && test != POLICY_TEST_EQUALS)
        return json_refuse(place, JSON_PART_VALUE, err, "an empty text fits everything");
    if (test == POLICY_TEST_PATTERN && check_pattern(place, text, length, err) < 0)
        return -1;
    reader->conditions[test].text_count++;
    return policy_builder_text(reader->document->builder, text, length, err);
}

// One text, or several of which one has to fit.
static int read_texts(const struct json_place *place, void *target, struct error *err)
{
    struct condition_reader *reader = target;
    enum policy_test test = test_of(place);
    reader->tests |= 1u << test;
    reader->conditions[test].first_text = reader->document->builder->texts.count;
    if (!json_object_is_type(place->value, json_type_array))
        return add_text(place, reader, err);
    if (json_read_array(place, POLICY_MAX_RULES, add_text, reader, err))
        return -1;
    if (!reader->conditions[test].text_count)
        return json_refuse(place, JSON_PART_VALUE, err, "no text: nothing would match");
    return 0;
}

static int read_present(const struct json_place *place, void *target, struct error *err)
{
    struct condition_reader *reader = target;
    bool present;
    if (json_read_bool(place, &present, err))
        return -1;
    reader->tests |= 1u << POLICY_TEST_PRESENT;
    reader->conditions[POLICY_TEST_PRESENT].negate = !present;
    return 0;
}

static int read_number(const struct json_place *place, void *target, struct error *err)
{
    struct condition_reader *reader = target;
    struct policy_table_condition *condition = &reader->conditions[POLICY_TEST_NUMBER];
    bool is_minimum = !strcmp(place->field->key, "min");
    if (!(reader->tests >> POLICY_TEST_NUMBER & 1))
        condition->maximum = UINT64_MAX;
    reader->tests |= 1u << POLICY_TEST_NUMBER;
    return json_read_integer(place, 0, INT64_MAX,
                             is_minimum ? &condition->minimum : &condition->maximum, err);
}

static int read_not(const struct json_place *place, void *target, struct error *err)
{
    return json_read_bool(place, &((struct condition_reader *)target)->negate, err);
}

static int read_ignore_case(const struct json_place *place, void *target, struct error *err)
{
    return json_read_bool(place, &((struct condition_reader *)target)->ignore_case, err);
}

static int add_conditions(const struct json_place *place, struct condition_reader *reader,
                          unsigned field, struct error *err)
{
    unsigned tests = (unsigned)__builtin_popcount(reader->tests);
    if (!tests)
        return json_refuse(place, JSON_PART_VALUE, err, "says nothing about the field");
    if (reader->negate && tests > 1)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "\"not\" with several tests is ambiguous: give a list of objects");
    for (unsigned test = 0; test < POLICY_TESTS; test++) {
        struct policy_table_condition *condition = &reader->conditions[test];
        if (!(reader->tests >> test & 1))
            continue;
        condition->field = (uint8_t)field;
        condition->test = (uint8_t)test;
        condition->negate = condition->negate != reader->negate;
        condition->ignore_case = reader->ignore_case;
        if (condition->minimum > condition->maximum)
            return json_refuse(place, JSON_PART_VALUE, err, "min is above max: nothing matches");
        if (policy_builder_condition(reader->document->builder, condition, err) < 0)
            return -1;
    }
    return 0;
}

static int read_condition(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "equals", .read = read_texts},  {.key = "prefix", .read = read_texts},
        {.key = "suffix", .read = read_texts},  {.key = "contains", .read = read_texts},
        {.key = "pattern", .read = read_texts}, {.key = "present", .read = read_present},
        {.key = "min", .read = read_number},    {.key = "max", .read = read_number},
        {.key = "not", .read = read_not},       {.key = "ignore_case", .read = read_ignore_case},
    };
    struct rule_reader *rule = target;
    const struct json_place *named = place->key ? place : place->parent;
    int field = policy_field_number(rule->document->kind, named->key);
    struct condition_reader reader = {.document = rule->document};
    // Names of hosts and schemes do not care for case (RFC 3986, section 6.2.2.1).
    reader.ignore_case = !strcmp(named->key, "host") || !strcmp(named->key, "scheme");
    if (json_read_object(place, fields, COUNT(fields), &reader, err))
        return -1;
    return add_conditions(place, &reader, (unsigned)field, err);
}

static int read_field(const struct json_place *place, void *target, struct error *err)
{
    if (json_object_is_type(place->value, json_type_array))
        return json_read_array(place, 64, read_condition, target, err);
    return read_condition(place, target, err);
}

static int read_where(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    struct json_field fields[POLICY_FIELDS];
    size_t count = 0;
    for (uint32_t field = 0; field < POLICY_FIELDS; field++) {
        const char *name = policy_field_name(reader->document->kind, field);
        if (name)
            fields[count++] = (struct json_field){.key = name, .read = read_field};
    }
    reader->rule.first_condition = reader->document->builder->conditions.count;
    if (json_read_object(place, fields, count, reader, err))
        return -1;
    reader->rule.condition_count =
        reader->document->builder->conditions.count - reader->rule.first_condition;
    return 0;
}

static int read_rule_limits(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    reader->rule.has_limits = 1;
    return vm_file_read_limits(place, &reader->rule.limits, err);
}

static int read_outcome(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    const char *names[POLICY_ACTIONS];
    size_t index;
    for (unsigned i = 0; i < POLICY_ACTIONS; i++)
        names[i] = policy_action_name(i);
    if (json_read_name(place, names, POLICY_ACTIONS, &index, err))
        return -1;
    reader->rule.action = (uint8_t)index;
    return 0;
}

static int read_escalate_to(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    uint32_t level;
    if (read_level(place, &level, err))
        return -1;
    reader->rule.escalate_to = (uint8_t)level;
    reader->escalates = true;
    return 0;
}

static int read_hold_ms(const struct json_place *place, void *target, struct error *err)
{
    struct rule_reader *reader = target;
    uint64_t value;
    if (json_read_integer(place, 1000, 86400000, &value, err))
        return -1;
    reader->rule.hold_ms = (uint32_t)value;
    reader->holds = true;
    return 0;
}

static int add_redaction(const struct json_place *place, struct rule_reader *reader,
                         enum policy_direction direction, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err) || check_pattern(place, text, strlen(text), err) < 0)
        return -1;
    const struct policy_table_redaction redaction = {reader->document->builder->texts.count,
                                                     direction};
    if (policy_builder_text(reader->document->builder, text, strlen(text), err) < 0)
        return -1;
    return policy_builder_redaction(reader->document->builder, &redaction, err);
}

static int read_request_pattern(const struct json_place *place, void *target, struct error *err)
{
    return add_redaction(place, target, POLICY_DIRECTION_REQUEST, err);
}

static int read_reply_pattern(const struct json_place *place, void *target, struct error *err)
{
    return add_redaction(place, target, POLICY_DIRECTION_REPLY, err);
}

static int read_request_patterns(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, 64, read_request_pattern, target, err);
}

static int read_reply_patterns(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, 64, read_reply_pattern, target, err);
}

static int read_redact(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "request", .read = read_request_patterns},
        {.key = "reply", .read = read_reply_patterns},
    };
    struct rule_reader *reader = target;
    reader->rule.first_redaction = reader->document->builder->redactions.count;
    if (json_read_object(place, fields, COUNT(fields), reader, err))
        return -1;
    reader->rule.redaction_count =
        reader->document->builder->redactions.count - reader->rule.first_redaction;
    reader->redacts = reader->rule.redaction_count > 0;
    return 0;
}

// What belongs to one outcome is refused with another.
static int check_outcome(const struct json_place *place, struct rule_reader *reader,
                         struct error *err)
{
    unsigned action = reader->rule.action;
    if (reader->escalates != (action == POLICY_ACTION_ESCALATE))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "\"escalate_to\" belongs to the outcome \"escalate\", and only there");
    if (reader->redacts != (action == POLICY_ACTION_REDACT))
        return json_refuse(
            place, JSON_PART_VALUE, err,
            "patterns in \"redact\" belong to the outcome \"redact\", and only there");
    if (reader->holds && action != POLICY_ACTION_HOLD)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "\"hold_ms\" belongs to the outcome \"hold\"");
    if (!reader->holds && action == POLICY_ACTION_HOLD)
        reader->rule.hold_ms = HOLD_MS;
    if (reader->rule.has_limits &&
        (action == POLICY_ACTION_DENY || action == POLICY_ACTION_ESCALATE))
        return json_refuse(place, JSON_PART_VALUE, err, "limits of what does not pass");
    return 0;
}

static int read_rule(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "name", .read = read_rule_name, .required = true},
        {.key = "operations", .read = read_operations},
        {.key = "levels", .read = read_rule_levels},
        {.key = "request_bytes", .read = read_request_bytes},
        {.key = "argument", .read = read_argument},
        {.key = "times", .read = read_times},
        {.key = "where", .read = read_where},
        {.key = "outcome", .read = read_outcome, .required = true},
        {.key = "escalate_to", .read = read_escalate_to},
        {.key = "hold_ms", .read = read_hold_ms},
        {.key = "redact", .read = read_redact},
        {.key = "limits", .read = read_rule_limits},
    };
    struct document_reader *document = target;
    struct rule_reader reader = {
        .document = document,
        .rule = {.operations = UINT64_MAX,
                 .request_max = UINT32_MAX,
                 .argument_max = UINT32_MAX,
                 .levels = 3},
    };
    if (document->builder->rules.count == POLICY_MAX_RULES)
        return json_refuse(place, JSON_PART_VALUE, err, "more than %u rules", POLICY_MAX_RULES);
    if (json_read_object(place, fields, COUNT(fields), &reader, err) ||
        check_outcome(place, &reader, err))
        return -1;
    reader.rule.name = document->builder->texts.count;
    if (policy_builder_text(document->builder, reader.name, strlen(reader.name), err) < 0)
        return -1;
    document->port->rule_count++;
    return policy_builder_rule(document->builder, &reader.rule, err);
}

static int read_rules(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, POLICY_MAX_RULES, read_rule, target, err);
}

static int read_kind(const struct json_place *place, void *target, struct error *err)
{
    struct document_reader *reader = target;
    const char *names[KINDS];
    uint32_t numbers[KINDS];
    size_t count = 0;
    size_t index;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        const char *name = vm_port_kind_name(kind);
        if (name) {
            names[count] = name;
            numbers[count++] = kind;
        }
    }
    if (json_read_name(place, names, count, &index, err))
        return -1;
    reader->kind = reader->port->kind = numbers[index];
    reader->port->structured = fields_of(reader->kind) != NULL;
    return 0;
}

struct denials {
    uint32_t count;
    uint32_t within_ms;
    uint32_t level;
};

static int read_denials_level(const struct json_place *place, void *target, struct error *err)
{
    return read_level(place, &((struct denials *)target)->level, err);
}

static int read_denials(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"count", json_field_u32, true, offsetof(struct denials, count), 1, 1000000},
        {"within_ms", json_field_u32, true, offsetof(struct denials, within_ms), 1, 86400000},
        {.key = "escalate_to", .read = read_denials_level, .required = true},
    };
    struct document_reader *reader = target;
    struct denials denials;
    if (json_read_object(place, fields, COUNT(fields), &denials, err))
        return -1;
    reader->port->denial_count = denials.count;
    reader->port->denial_ns = denials.within_ms * 1000000ull;
    reader->port->denial_level = denials.level;
    return 0;
}

static int read_port(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "kind", .read = read_kind, .required = true}, // first: operations depend on it
        {.key = "denials", .read = read_denials},
        {.key = "rules", .read = read_rules, .required = true},
    };
    struct document_reader *reader = target;
    struct policy_builder *builder = reader->builder;
    struct error inner;
    if (builder->port_count == POLICY_MAX_PORTS)
        return json_refuse(place, JSON_PART_KEY, err, "more than %u ports", POLICY_MAX_PORTS);
    reader->port = &builder->ports[builder->port_count];
    if (vm_file_check_name(place->key, sizeof(reader->port->name), &inner) < 0) {
        json_refuse(place, JSON_PART_KEY, err, "%s", inner.text);
        return -1;
    }
    memcpy(reader->port->name, place->key, strlen(place->key) + 1);
    reader->port->first_rule = builder->rules.count;
    builder->port_count++;
    return json_read_object(place, fields, COUNT(fields), reader, err);
}

// An object whose keys are names of ports.
static int read_ports(const struct json_place *place, void *target, struct error *err)
{
    if (json_expect(place, json_type_object, err))
        return -1;
    json_object_object_foreach(place->value, key, value)
    {
        const struct json_place port = {
            .document = place->document, .parent = place, .key = key, .value = value};
        if (read_port(&port, target, err))
            return -1;
    }
    return 0;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    if (json_read_text(place, &text, err))
        return -1;
    if (strcmp(text, POLICY_DOCUMENT_FORMAT) != 0)
        return json_refuse(place, JSON_PART_VALUE, err, "this version reads %s",
                           POLICY_DOCUMENT_FORMAT);
    return 0;
}

int policy_document_read(const struct json_place *place, struct policy_document *document,
                         struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "ports", .read = read_ports, .required = true},
    };
    struct policy_builder builder = {0};
    struct document_reader reader = {.builder = &builder};
    int result = json_read_object(place, fields, COUNT(fields), &reader, err);
    if (result == 0) {
        document->memory = policy_builder_finish(&builder, &document->bytes, err);
        result = document->memory
                     ? policy_table_open(&document->arrays, document->memory, document->bytes, err)
                     : -1;
    }
    policy_builder_free(&builder);
    return result;
}

int policy_document_parse(const char *name, const char *text, size_t length,
                          struct policy_document *document, struct error *err)
{
    cleanup_json_document struct json_document json = {0};
    if (json_document_parse(&json, name, text, length, POLICY_MAX_BYTES, err) < 0)
        return -1;
    const struct json_place root = json_document_root(&json);
    return policy_document_read(&root, document, err);
}

int policy_document_load(const char *path, struct policy_document *document, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (whole_file_read(path, POLICY_MAX_BYTES, &text, &length, err) < 0)
        return -1;
    return policy_document_parse(path, text, length, document, err);
}

void policy_document_free(struct policy_document *document)
{
    free(document->memory);
    *document = (struct policy_document){0};
}
