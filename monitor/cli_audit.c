// SPDX-License-Identifier: Apache-2.0
// guillotine audit: prints an audit log.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit_record.h"
#include "cleanup.h"
#include "cli.h"
#include "level.h"
#include "port_policy.h"
#include "queue_rule.h"
#include "violation.h"

static void print_json(const struct audit_record *record, const char *time)
{
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
    if (record->type == AUDIT_VIOLATION)
        printf(",\"violation\":\"%s\",\"address\":%" PRIu64, violation_name(record->detail),
               record->argument);
    else if (record->type == AUDIT_ANOMALY)
        printf(",\"queue_rule\":\"%s\",\"detail\":%u", queue_rule_name(record->detail),
               record->detail);
    else if (record->type == AUDIT_BACKEND)
        printf(",\"event\":\"%s\"", audit_backend_event_name(record->detail));
    else if (record->type == AUDIT_ORDER)
        printf(",\"order\":\"%s\"", audit_order_name(record->detail));
    else if (record->type == AUDIT_HEARTBEAT)
        printf(",\"lost\":\"%s\",\"argument\":%" PRIu64, audit_heartbeat_name(record->detail),
               record->argument);
    else
        printf(",\"detail\":%u", record->detail);
    printf("}\n");
}

static void print_line(const struct audit_record *record, const char *time)
{
    printf("%s %6" PRIu64 " %-10s %-11s", time, record->sequence, audit_source_name(record->source),
           audit_type_name(record->type));
    switch (record->type) {
    case AUDIT_REQUEST:
        printf(" port %u request %" PRIu64 " operation %u %u bytes: %s (%s)", record->port,
               record->request, record->operation, record->length,
               audit_decision_name(record->decision), policy_rule_name(record->rule));
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
        printf(" %s", level_name(record->level));
        break;
    case AUDIT_BACKEND:
        printf(" port %u %s", record->port, audit_backend_event_name(record->detail));
        break;
    case AUDIT_ORDER:
        printf(" port %u %s %u bytes", record->port, audit_order_name(record->detail),
               record->length);
        break;
    case AUDIT_HEARTBEAT:
        printf(" %s lost", audit_heartbeat_name(record->detail));
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

static int cat(const char *path, bool json)
{
    struct error err;
    char header[AUDIT_FILE_HEADER_BYTES];
    static const char expected[AUDIT_FILE_HEADER_BYTES] = AUDIT_FORMAT "\n";
    struct audit_record record;
    FILE *file = fopen(path, "re");
    struct stat status;
    if (!file || fstat(fileno(file), &status) < 0 || !S_ISREG(status.st_mode)) {
        error_set(&err, EXIT_STATUS_BAD_FILE, file ? 0 : errno, "%s%s", path,
                  file ? " is not a regular file" : "");
        return cli_fail(&err);
    }
    if (fread(header, sizeof(header), 1, file) != 1 || memcmp(header, expected, sizeof(header))) {
        error_set(&err, EXIT_STATUS_BAD_FILE, 0, "%s is not an audit log of format %s", path,
                  AUDIT_FORMAT);
        fclose(file);
        return cli_fail(&err);
    }
    size_t n;
    while ((n = fread(&record, 1, sizeof(record), file)) == sizeof(record)) {
        char time[64];
        format_time(record.wall_ns, time, sizeof(time));
        if (json)
            print_json(&record, time);
        else
            print_line(&record, time);
        // Data behind the record.
        if (record.size > sizeof(record) && record.size <= sizeof(record) + AUDIT_PIECE_BYTES &&
            fseek(file, (long)(record.size - sizeof(record)), SEEK_CUR) < 0)
            break;
    }
    fclose(file);
    if (n) {
        error_set(&err, EXIT_STATUS_BAD_FILE, 0, "%s ends inside a record", path);
        return cli_fail(&err);
    }
    return EXIT_STATUS_OK;
}

int cli_audit(int argc, char **argv)
{
    bool json = false;
    const char *path = NULL;
    bool wants_help = argc < 2;
    for (int i = 1; i < argc; i++)
        wants_help = wants_help || !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
    if (wants_help) {
        printf("Usage: guillotine audit cat [--json] FILE.audit\n\n"
               "Prints the records of an audit log, one a line: every request with the decision\n"
               "and the rule that made it, every completion, anomaly, violation and level.\n\n"
               "Example:\n  guillotine audit cat --json vm.audit | jq "
               "'select(.decision==\"deny\")'\n");
        return argc < 2 ? EXIT_STATUS_USAGE : EXIT_STATUS_OK;
    }
    if (strcmp(argv[1], "cat"))
        return cli_usage("audit", "unknown command '%s'", argv[1]);
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (argv[i][0] == '-' || path)
            return cli_usage("audit", "unexpected argument %s", argv[i]);
        else
            path = argv[i];
    }
    if (!path)
        return cli_usage("audit", "give one audit log");
    return cat(path, json);
}
