// SPDX-License-Identifier: Apache-2.0
// Prints audit records. Of what is in them, texts reach the output escaped or as hexadecimal
// digits.
#include "audit_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "actuator_event.h"
#include "escape.h"
#include "level.h"
#include "level_control.h"
#include "level_order.h"
#include "port_policy.h"
#include "queue_rule.h"
#include "sha256.h"
#include "supervisor.h"
#include "violation.h"

static void print_json(const struct audit_record_data *whole, const char *time)
{
    const struct audit_record *record = &whole->record;
    printf("{\"sequence\":%" PRIu64 ",\"time\":\"%s\",\"now_ns\":%" PRIu64
           ",\"source\":\"%s\",\"type\":\"%s\",\"level\":\"%s\"",
           record->sequence, time, record->now_ns, audit_source_name(record->source),
           audit_type_name(record->type), level_name(record->level));
    if (record->port != AUDIT_NO_PORT)
        printf(",\"port\":%u,\"request\":%" PRIu64 ",\"cookie\":%" PRIu64
               ",\"operation\":%u,\"argument\":%" PRIu64 ",\"length_bytes\":%u,\"status\":%u,"
               "\"decision\":\"%s\",\"rule\":\"%s\"",
               record->port, record->request, record->cookie, record->operation, record->argument,
               record->length, record->status, audit_decision_name(record->decision),
               policy_rule_name(record->rule));
    if (record->port != AUDIT_NO_PORT && record->rule >= POLICY_RULE_DOCUMENT)
        printf(",\"document_rule\":%u", record->rule - POLICY_RULE_DOCUMENT);
    if (record->type == AUDIT_VIOLATION)
        printf(",\"violation\":\"%s\",\"address\":%" PRIu64, violation_name(record->detail),
               record->argument);
    else if (record->type == AUDIT_ANOMALY)
        printf(",\"queue_rule\":\"%s\",\"detail\":%u", queue_rule_name(record->detail),
               record->detail);
    else if (record->type == AUDIT_BACKEND)
        printf(",\"event\":\"%s\"", audit_backend_event_name(record->detail));
    else if (record->type == AUDIT_VERDICT || record->type == AUDIT_APPROVAL)
        printf(",\"verdict\":\"%s\"", audit_verdict_name(record->detail));
    else if (record->port == AUDIT_NO_PORT && record->type != AUDIT_HEARTBEAT)
        printf(",\"argument\":%" PRIu64 ",\"detail\":%u", record->argument, record->detail);
    else if (record->type == AUDIT_ORDER)
        printf(",\"order\":\"%s\"", audit_order_name(record->detail));
    else if (record->type == AUDIT_HEARTBEAT)
        printf(",\"lost\":\"%s\",\"argument\":%" PRIu64, audit_heartbeat_name(record->detail),
               record->argument);
    else
        printf(",\"detail\":%u", record->detail);
    if (record->size > sizeof(*record)) {
        printf(",\"data\":\"");
        for (uint32_t i = 0; i < record->size - sizeof(*record); i++)
            printf("%02x", whole->data[i]);
        printf("\"");
    }
    printf("}\n");
}

static const char *const actors[8] = {
    [LEVEL_ACTOR_HYPERVISOR] = "the hypervisor",
    [LEVEL_ACTOR_DETECTOR] = "a detector",
    [LEVEL_ACTOR_OPERATOR] = "an operator",
    [LEVEL_ACTOR_ADMINISTRATORS] = "the administrators",
};
static const char *const measures[8] = {
    [AUDIT_MEASURE_VMM] = "guillotine-vmm",
    [AUDIT_MEASURE_VM_FILE] = "VM file",
    [AUDIT_MEASURE_IMAGE] = "image",
    [AUDIT_MEASURE_WEIGHTS] = "weights",
    [AUDIT_MEASURE_BACKEND] = "guillotine-backend",
    [AUDIT_MEASURE_POLICY] = "policy",
};
static const char *const configs[8] = {
    [AUDIT_CONFIG_LEVEL_RESET] = "levels reset by --accept-level-reset",
    [AUDIT_CONFIG_KEY_SET] = "key set of version",
    [AUDIT_CONFIG_CRASH_TAIL] = "the log ended without a seal",
};
static const char *const forensics[8] = {
    [AUDIT_FORENSIC_IMAGE] = "image written, bytes:",
    [AUDIT_FORENSIC_SCRUBBED] = "memory overwritten, bytes:",
    [AUDIT_FORENSIC_DESTROYED] = "keys destroyed:",
    [AUDIT_FORENSIC_FAILED] = "FAILED, step",
};
static const char *const outcomes[8] = {
    [RUN_EXITED] = "exited",     [RUN_VIOLATION] = "violation", [RUN_STOPPED] = "stopped",
    [RUN_ISOLATED] = "isolated", [RUN_FAILED] = "failed",
};

static const char *name_of(const char *const names[8], uint64_t number)
{
    return number < 8 && names[number] ? names[number] : "unknown";
}

// Text behind a record may come from an operator or an order: it is made fit for a terminal.
static void format_text(const struct audit_record_data *whole, char *text, size_t size)
{
    const char *data = (const char *)whole->data;
    escape_line(text, size, data, strnlen(data, whole->record.size - sizeof(whole->record)));
}

// The digest of the request, then why.
static void print_approval(const struct audit_record_data *whole)
{
    const struct audit_record *record = &whole->record;
    const char *reason = (const char *)whole->data + SHA256_BYTES;
    char text[4 * AUDIT_DATA_MAX + 1] = "";
    if (record->size > sizeof(*record) + SHA256_BYTES)
        escape_line(text, sizeof(text), reason,
                    strnlen(reason, record->size - sizeof(*record) - SHA256_BYTES));
    printf(" port %u request %" PRIu64 " %s by user %" PRIu64 ": ", record->port, record->request,
           audit_verdict_name(record->detail), record->argument);
    for (unsigned i = 0; i < SHA256_BYTES && record->size > sizeof(*record); i++)
        printf("%02x", whole->data[i]);
    printf("%s%s", text[0] ? ", " : "", text);
}

static void print_line(const struct audit_record_data *whole, const char *time)
{
    const struct audit_record *record = &whole->record;
    char text[4 * AUDIT_DATA_MAX + 1] = "";
    if (record->type == AUDIT_LEVEL || record->type == AUDIT_QUORUM ||
        record->type == AUDIT_ACTUATOR || record->type == AUDIT_ALARM)
        format_text(whole, text, sizeof(text));
    printf("%s %6" PRIu64 " %-10s %-11s", time, record->sequence, audit_source_name(record->source),
           audit_type_name(record->type));
    switch (record->type) {
    case AUDIT_REQUEST:
        printf(" port %u request %" PRIu64 " operation %u %u bytes: %s (%s)", record->port,
               record->request, record->operation, record->length,
               audit_decision_name(record->decision), policy_rule_name(record->rule));
        if (record->rule >= POLICY_RULE_DOCUMENT)
            printf(" rule %u", record->rule - POLICY_RULE_DOCUMENT);
        break;
    case AUDIT_VERDICT:
        printf(" port %u request %" PRIu64 " %s", record->port, record->request,
               audit_verdict_name(record->detail));
        break;
    case AUDIT_APPROVAL:
        print_approval(whole);
        break;
    case AUDIT_ALARM:
        printf(" asks for %s: %s", record->detail ? level_name(record->detail) : "no level", text);
        break;
    case AUDIT_COMPLETION:
        printf(" port %u request %" PRIu64 " status %u %u bytes%s", record->port, record->request,
               record->status, record->length,
               record->decision == AUDIT_DECISION_GATE ? ", not delivered: gate" : "");
        break;
    case AUDIT_ANOMALY:
        printf(" port %u %s descriptor %" PRIu64, record->port, queue_rule_name(record->detail),
               record->argument);
        break;
    case AUDIT_VIOLATION:
        printf(" %s at 0x%" PRIx64, violation_name(record->detail), record->argument);
        break;
    case AUDIT_LEVEL:
        printf(" %s, by %s%s%s", level_name(record->level), name_of(actors, record->argument),
               text[0] ? ": " : "", text);
        break;
    case AUDIT_QUORUM:
        printf(" %s: %s", record->detail ? level_order_refusal_text(record->detail) : "accepted",
               text[0] ? text : "not an order");
        break;
    case AUDIT_MEASURE:
        printf(" %s ", name_of(measures, record->detail));
        for (unsigned i = 0; i < SHA256_BYTES; i++)
            printf("%02x", whole->data[i]);
        break;
    case AUDIT_STATE:
        printf(" %s, generation %" PRIu64, level_name(record->detail), record->argument);
        break;
    case AUDIT_CONFIG:
        printf(" %s", name_of(configs, record->detail));
        if (record->detail == AUDIT_CONFIG_KEY_SET)
            printf(" %" PRIu64, record->argument);
        if (record->detail == AUDIT_CONFIG_CRASH_TAIL)
            printf(", %" PRIu64 " bytes cut away, %" PRIu64 " records behind the checkpoint",
                   record->argument, record->request);
        break;
    case AUDIT_FORENSIC:
        printf(" %s %" PRIu64, name_of(forensics, record->detail), record->argument);
        break;
    case AUDIT_ACTUATOR:
        printf(" %s %s: %s", actuator_action_name((enum actuator_action)record->argument),
               actuator_event_name((enum actuator_event_kind)(record->detail - 1)), text);
        break;
    case AUDIT_END:
        printf(" %s, exit value %" PRIu64, name_of(outcomes, record->detail), record->argument);
        break;
    case AUDIT_BACKEND:
        printf(" port %u %s", record->port, audit_backend_event_name(record->detail));
        break;
    case AUDIT_HEARTBEAT:
        printf(" %s lost", audit_heartbeat_name(record->detail));
        break;
    case AUDIT_ORDER:
        printf(" port %u %s %u bytes", record->port, audit_order_name(record->detail),
               record->length);
        break;
    default:
        break;
    }
    printf("\n");
}

static void format_time(uint64_t wall_ns, char *text, size_t size)
{
    time_t seconds = (time_t)(wall_ns / 1000000000ull);
    struct tm parts;
    char date[32];
    gmtime_r(&seconds, &parts);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, size, "%s.%06uZ", date, (unsigned)(wall_ns / 1000 % 1000000));
}

void audit_print(const struct audit_record_data *record, bool json)
{
    char time[64];
    format_time(record->record.wall_ns, time, sizeof(time));
    if (json)
        print_json(record, time);
    else
        print_line(record, time);
}
