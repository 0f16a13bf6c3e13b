// SPDX-License-Identifier: Apache-2.0
// Requests as operators write them down, decided without a VM.
#include "policy_question.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "hex.h"
#include "level.h"
#include "port_fields_abi.h"
#include "vm_file.h"
#include "whole_file.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PAYLOAD_MAX  (1u << 20)
#define CASES_FORMAT "guillotine-policy-cases/1"

static uint64_t question_now(const struct clock *clock)
{
    (void)clock;
    return clock_now_ns(&clock_host);
}

static uint64_t question_wall(const struct clock *clock)
{
    const struct policy_question *question = clock->context;
    return question->wall_ns ? question->wall_ns : clock_wall_ns(&clock_host);
}

static int read_port(const struct json_place *place, void *target, struct error *err)
{
    struct policy_question *question = target;
    const char *name;
    if (json_read_text(place, &name, err))
        return -1;
    question->port = policy_table_find(&question->document->arrays, name);
    if (!question->port)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the policy has no such port: everything is denied there");
    return 0;
}

static int read_operation(const struct json_place *place, void *target, struct error *err)
{
    struct policy_question *question = target;
    const char *names[64];
    uint32_t numbers[64];
    size_t count = 0;
    size_t index;
    for (uint32_t number = 0; question->port && number < COUNT(names); number++) {
        const char *name = vm_port_operation_name(question->port->kind, number);
        if (name) {
            names[count] = name;
            numbers[count++] = number;
        }
    }
    if (json_read_name(place, names, count, &index, err))
        return -1;
    question->view.operation = numbers[index];
    return 0;
}

static int read_argument(const struct json_place *place, void *target, struct error *err)
{
    uint64_t value;
    if (json_read_integer(place, 0, UINT32_MAX, &value, err))
        return -1;
    ((struct policy_question *)target)->view.argument = (uint32_t)value;
    return 0;
}

static int read_level(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"standard", "probation"};
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    ((struct policy_question *)target)->probation = index == 1;
    return 0;
}

static int take_payload(struct policy_question *question, const struct json_place *place,
                        size_t length, struct error *err)
{
    if (question->payload)
        return json_refuse(place, JSON_PART_KEY, err, "the payload is given twice");
    if (length > PAYLOAD_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "more than %u bytes", PAYLOAD_MAX);
    question->payload = malloc(length ? length : 1);
    if (!question->payload)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for a payload");
    question->room = (uint32_t)length;
    return 0;
}

static int read_payload(const struct json_place *place, void *target, struct error *err)
{
    struct policy_question *question = target;
    const char *text;
    if (json_read_text(place, &text, err) || take_payload(question, place, strlen(text), err) < 0)
        return -1;
    memcpy(question->payload, text, question->room);
    question->view.length = question->room;
    return 0;
}

static int read_payload_hex(const struct json_place *place, void *target, struct error *err)
{
    struct policy_question *question = target;
    const char *text;
    if (json_read_text(place, &text, err) ||
        take_payload(question, place, strlen(text) / 2, err) < 0)
        return -1;
    if (strlen(text) % 2 || !hex_parse(text, question->payload, question->room))
        return json_refuse(place, JSON_PART_VALUE, err, "pairs of lower-case digits are expected");
    question->view.length = question->room;
    return 0;
}

// Fields ascend in a payload: collected first.
struct texts {
    const char *text[POLICY_FIELDS];
    const struct policy_question *question;
};

static int read_field(const struct json_place *place, void *target, struct error *err)
{
    struct texts *texts = target;
    int number = policy_field_number(texts->question->port->kind, place->key);
    return json_read_text(place, &texts->text[number], err);
}

static int read_fields(const struct json_place *place, void *target, struct error *err)
{
    struct policy_question *question = target;
    struct texts texts = {.question = question};
    struct json_field fields[POLICY_FIELDS];
    size_t count = 0;
    size_t bytes = 0;
    for (uint32_t i = 1; i < POLICY_FIELDS; i++) {
        const char *name = policy_field_name(question->port->kind, i);
        if (name)
            fields[count++] = (struct json_field){.key = name, .read = read_field};
    }
    if (!count)
        return json_refuse(place, JSON_PART_KEY, err, "payloads of a %s have no fields",
                           vm_port_kind_name(question->port->kind));
    if (json_read_object(place, fields, count, &texts, err))
        return -1;
    for (uint32_t i = 1; i < POLICY_FIELDS; i++)
        bytes += texts.text[i] ? port_field_size(strlen(texts.text[i])) : 0;
    if (take_payload(question, place, bytes, err) < 0)
        return -1;
    for (uint32_t i = 1; i < POLICY_FIELDS; i++) {
        if (texts.text[i])
            port_fields_append(question->payload, question->room, &question->view.length, i,
                               texts.text[i], (uint32_t)strlen(texts.text[i]));
    }
    return 0;
}

static int read_time(const struct json_place *place, void *target, struct error *err)
{
    struct tm parts = {0};
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (!end || *end)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a time is expected, as \"2026-11-23T10:00:00Z\"");
    ((struct policy_question *)target)->wall_ns = (uint64_t)timegm(&parts) * NS_PER_S;
    return 0;
}

static int read_question(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "port", .read = read_port, .required = true}, // first: the others depend on it
        {.key = "operation", .read = read_operation, .required = true},
        {.key = "argument", .read = read_argument},
        {.key = "level", .read = read_level},
        {.key = "payload", .read = read_payload},
        {.key = "payload_hex", .read = read_payload_hex},
        {.key = "fields", .read = read_fields},
        {.key = "time", .read = read_time},
    };
    struct policy_question *question = target;
    if (json_read_object(place, fields, COUNT(fields), question, err))
        return -1;
    question->view.payload = question->payload;
    question->clock =
        (struct clock){.now_ns = question_now, .wall_ns = question_wall, .context = question};
    if (policy_memory_open(&question->memory, err) < 0)
        return -1;
    question->engine = policy_engine_create(&question->document->arrays, question->port->name,
                                            &question->clock, &question->memory, err);
    return question->engine ? 0 : -1;
}

int policy_question_parse(struct policy_question *question, const struct policy_document *document,
                          const char *text, struct error *err)
{
    cleanup_json_document struct json_document json = {0};
    cleanup_free char *file = NULL;
    const char *name = "REQUEST";
    size_t length = strlen(text);
    if (text[0] == '@') {
        name = text + 1;
        if (whole_file_read(name, PAYLOAD_MAX, &file, &length, err) < 0)
            return -1;
        text = file;
    }
    if (json_document_parse(&json, name, text, length, PAYLOAD_MAX, err) < 0)
        return -1;
    const struct json_place root = json_document_root(&json);
    question->document = document;
    if (read_question(&root, question, err) < 0) {
        policy_question_free(question);
        return -1;
    }
    return 0;
}

void policy_question_free(struct policy_question *question)
{
    policy_memory_close(&question->memory);
    free(question->payload);
    *question = (struct policy_question){0};
}

struct policy_result policy_question_decide(const struct policy_question *question)
{
    uint32_t taken = 0;
    return policy_engine_decide(question->engine, &question->view, question->probation,
                                clock_now_ns(&clock_host), &taken);
}

enum policy_reason policy_question_explain(const struct policy_question *question, uint32_t rule,
                                           uint32_t *condition)
{
    return policy_engine_explain(question->engine, &question->view, question->probation, rule,
                                 condition);
}

const char *policy_result_name(const struct policy_result *result)
{
    return result->finding == POLICY_FINDING_RULE ? policy_action_name(result->action) : "deny";
}

const char *policy_result_rule(const struct policy_arrays *arrays,
                               const struct policy_result *result)
{
    switch (result->finding) {
    case POLICY_FINDING_RULE:
    case POLICY_FINDING_WAIT:
    case POLICY_FINDING_EXHAUSTED:
        return policy_rule_text(arrays, result->rule);
    case POLICY_FINDING_MALFORMED:
        return "malformed";
    case POLICY_FINDING_EFFORT:
        return "effort";
    case POLICY_FINDING_NONE:
    default:
        return "default-deny";
    }
}

// Cases.
struct cases {
    const struct policy_document *document;
    void (*tell)(void *context, const struct policy_case *tested);
    void *context;
    unsigned passed;
    unsigned failed;
};

struct case_reader {
    struct cases *cases;
    struct policy_question question;
    const char *name;
    const char *outcome;
    const char *rule;
};

static int read_case_text(const struct json_place *place, void *target, struct error *err)
{
    struct case_reader *reader = target;
    return json_read_text(place,
                          !strcmp(place->key, "name")   ? &reader->name
                          : !strcmp(place->key, "rule") ? &reader->rule
                                                        : &reader->outcome,
                          err);
}

static int read_case_question(const struct json_place *place, void *target, struct error *err)
{
    struct case_reader *reader = target;
    reader->question.document = reader->cases->document;
    return read_question(place, &reader->question, err);
}

static int read_case(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "name", .read = read_case_text, .required = true},
        {.key = "request", .read = read_case_question, .required = true},
        {.key = "outcome", .read = read_case_text, .required = true},
        {.key = "rule", .read = read_case_text},
    };
    struct cases *cases = target;
    struct case_reader reader = {.cases = cases};
    int failed = json_read_object(place, fields, COUNT(fields), &reader, err);
    if (!failed) {
        const struct policy_result result = policy_question_decide(&reader.question);
        struct policy_case tested = {
            .name = reader.name,
            .outcome = policy_result_name(&result),
            .rule = policy_result_rule(&cases->document->arrays, &result),
        };
        tested.passed = !strcmp(tested.outcome, reader.outcome) &&
                        (!reader.rule || !strcmp(tested.rule, reader.rule));
        cases->tell(cases->context, &tested);
        *(tested.passed ? &cases->passed : &cases->failed) += 1;
    }
    policy_question_free(&reader.question);
    return failed;
}

static int read_cases(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, SIZE_MAX, read_case, target, err);
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    if (json_read_text(place, &text, err))
        return -1;
    return strcmp(text, CASES_FORMAT)
               ? json_refuse(place, JSON_PART_VALUE, err, "this version reads %s", CASES_FORMAT)
               : 0;
}

int policy_cases_run(const char *path, const struct policy_document *document,
                     void (*tell)(void *context, const struct policy_case *tested), void *context,
                     unsigned *passed, unsigned *failed, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "cases", .read = read_cases, .required = true},
    };
    cleanup_json_document struct json_document json = {0};
    cleanup_free char *text = NULL;
    size_t length;
    struct cases cases = {.document = document, .tell = tell, .context = context};
    if (whole_file_read(path, POLICY_MAX_BYTES, &text, &length, err) < 0 ||
        json_document_parse(&json, path, text, length, POLICY_MAX_BYTES, err) < 0)
        return -1;
    const struct json_place root = json_document_root(&json);
    if (json_read_object(&root, fields, COUNT(fields), &cases, err))
        return -1;
    *passed = cases.passed;
    *failed = cases.failed;
    return 0;
}
