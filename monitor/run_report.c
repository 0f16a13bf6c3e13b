// SPDX-License-Identifier: Apache-2.0
// Tells people and scripts how a run ended.
#include "run_report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "elf_symbols.h"
#include "escape.h"
#include "violation.h"

static const char *outcome_name(enum run_outcome outcome)
{
    static const char *const names[] = {"exited", "violation", "stopped", "isolated", "failed"};
    return names[outcome];
}

static void print_violation(const struct supervisor *s)
{
    const struct vmm_end *end = &s->end;
    char symbol[600] = "";
    char vector[96] = "";
    elf_symbol_name(s->vm.image, end->instruction, symbol, sizeof(symbol));
    if (end->vector != UINT32_MAX)
        snprintf(vector, sizeof(vector), ", exception %u, error code 0x%llx", end->vector,
                 (unsigned long long)end->error_code);
    fprintf(stderr,
            "guillotine: violation: %s: %s: address 0x%llx, instruction 0x%llx%s%s%s, vCPU %u%s; "
            "the cell was stopped\n",
            violation_name(end->violation), violation_text(end->violation),
            (unsigned long long)end->address, (unsigned long long)end->instruction,
            symbol[0] ? " (" : "", symbol, symbol[0] ? ")" : "", end->vcpu, vector);
}

void run_report_print(const struct supervisor *s)
{
    switch (s->outcome) {
    case RUN_VIOLATION:
        print_violation(s);
        break;
    case RUN_ISOLATED:
    case RUN_FAILED:
        cli_say(s->error.text);
        break;
    case RUN_EXITED:
    case RUN_STOPPED:
        break;
    }
    if (s->end.anomalies)
        fprintf(stderr, "guillotine: note: %llu port(s) closed after a malformed request\n",
                (unsigned long long)s->end.anomalies);
}

int run_report_status(const struct supervisor *s)
{
    switch (s->outcome) {
    case RUN_EXITED:
        return s->end.exit_value > EXIT_STATUS_MODEL_MAX ? EXIT_STATUS_MODEL_MAX
                                                         : (int)s->end.exit_value;
    case RUN_VIOLATION:
        return EXIT_STATUS_VIOLATION;
    case RUN_STOPPED:
        return s->stop_signal ? EXIT_STATUS_SIGNAL_BASE + s->stop_signal : EXIT_STATUS_ISOLATED;
    case RUN_ISOLATED:
        return EXIT_STATUS_ISOLATED;
    case RUN_FAILED:
        break;
    }
    return (int)s->error.status;
}

static void json_text(FILE *file, const char *text)
{
    char safe[sizeof(((struct error *)0)->text) * ESCAPE_MAX_EXPANSION];
    escape_message(safe, sizeof(safe), text);
    for (const char *at = safe; *at; at++) {
        if (*at == '"' || *at == '\\')
            fputc('\\', file);
        fputc(*at, file);
    }
}

int run_report_write(const struct supervisor *s, const char *path, struct error *err)
{
    const struct vmm_end *end = &s->end;
    FILE *file = fopen(path, "we");
    if (!file)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "result file %s", path);
    fprintf(file, "{\"format\":\"guillotine-result/1\",\"name\":\"%s\",\"outcome\":\"%s\",",
            s->vm.name, outcome_name(s->outcome));
    fprintf(file, "\"exit_value\":%llu,\"status\":%d,", (unsigned long long)end->exit_value,
            run_report_status(s));
    if (s->outcome == RUN_VIOLATION) {
        fprintf(file,
                "\"violation\":{\"kind\":\"%s\",\"address\":%llu,\"instruction\":%llu,"
                "\"vcpu\":%u,\"error_code\":%llu",
                violation_name(end->violation), (unsigned long long)end->address,
                (unsigned long long)end->instruction, end->vcpu,
                (unsigned long long)end->error_code);
        if (end->vector != UINT32_MAX)
            fprintf(file, ",\"vector\":%u", end->vector);
        fprintf(file, "},");
    }
    if (s->rebooted)
        fprintf(file, "\"reboot\":true,");
    if (s->outcome == RUN_FAILED || s->outcome == RUN_ISOLATED) {
        fprintf(file, "\"error\":\"");
        json_text(file, s->error.text);
        fprintf(file, "\",");
    }
    fprintf(file,
            "\"requests\":%llu,\"completions\":%llu,\"anomalies\":%llu,\"isa\":%llu,"
            "\"missing_layers\":%u,\"entered_ns\":%llu,\"first_exit_ns\":%llu}\n",
            (unsigned long long)end->requests, (unsigned long long)end->completions,
            (unsigned long long)end->anomalies, (unsigned long long)s->ready_message.isa,
            s->ready_message.missing_layers, (unsigned long long)s->ready_message.entered_ns,
            (unsigned long long)end->first_exit_ns);
    if (fclose(file))
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "result file %s", path);
    return 0;
}

// Calls `visit` for each kind of "violation:a,b"; stops at the first that returns true.
static bool any_kind(const char *list, bool (*visit)(enum violation_kind, const void *),
                     const void *context)
{
    while (*list) {
        char name[64];
        size_t length = strcspn(list, ",");
        if (length >= sizeof(name))
            return visit(VIOLATION_NONE, context);
        memcpy(name, list, length);
        name[length] = '\0';
        if (visit(violation_by_name(name), context))
            return true;
        list += length + (list[length] == ',');
    }
    return false;
}

static bool is_unknown(enum violation_kind kind, const void *context)
{
    (void)context;
    return kind == VIOLATION_NONE;
}

static bool is_wanted(enum violation_kind kind, const void *context)
{
    return kind == *(const uint32_t *)context;
}

static const char *after_prefix(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) ? NULL : text + length;
}

int run_report_expect_check(const char *expected, struct error *err)
{
    const char *kinds = after_prefix(expected, "violation:");
    const char *value = after_prefix(expected, "exit:");
    uint64_t number;
    if (kinds && *kinds && !any_kind(kinds, is_unknown, NULL))
        return 0;
    if (value && number_parse(value, 0, UINT32_MAX, &number, err) == 0)
        return 0;
    error_set(err, EXIT_STATUS_USAGE, 0,
              "--expect %s: use exit:N or violation:KIND[,KIND]; kinds:", expected);
    for (unsigned kind = 1; kind < VIOLATION_COUNT; kind++) {
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof(err->text) - used, " %s", violation_name(kind));
    }
    return -1;
}

int run_report_expect(const struct supervisor *s, const char *expected)
{
    const char *kinds = after_prefix(expected, "violation:");
    const char *value = after_prefix(expected, "exit:");
    uint64_t number;
    if (kinds && s->outcome == RUN_VIOLATION && any_kind(kinds, is_wanted, &s->end.violation))
        return EXIT_STATUS_OK;
    if (value && s->outcome == RUN_EXITED &&
        number_parse(value, 0, UINT32_MAX, &number, NULL) == 0 && number == s->end.exit_value)
        return EXIT_STATUS_OK;
    fprintf(stderr, "guillotine: expected %s, but the run ended: %s", expected,
            outcome_name(s->outcome));
    if (s->outcome == RUN_VIOLATION)
        fprintf(stderr, ":%s", violation_name(s->end.violation));
    if (s->outcome == RUN_EXITED)
        fprintf(stderr, ":%llu", (unsigned long long)s->end.exit_value);
    fprintf(stderr, "\n");
    return EXIT_STATUS_FAILURE;
}
