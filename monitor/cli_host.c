// SPDX-License-Identifier: Apache-2.0
// guillotine host: what this host guarantees, and how to make it guarantee more.
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cli_options.h"
#include "escape.h"
#include "host_check.h"
#include "paths.h"
#include "vm_file.h"

struct check_options {
    const char *root;
    const char *record;
    const char *require;
    const char *explain;
    const char *runtime_dir;
    bool json;
    bool fresh;
    bool no_probe;
    bool help;
};

static int help(void)
{
    printf(
        "Usage: guillotine host check [--json] [--require LEVEL] [--explain ID] [--fresh]\n"
        "                             [--no-probe] [--root DIR] [--record DIR]\n"
        "       guillotine host tune  [OPTIONS], see guillotine host tune --help\n"
        "\n"
        "Says what this host guarantees: each row is enforced, best effort or absent, with what\n"
        "was found and how to get what is missing. Nothing is claimed that was not looked at;\n"
        "what KVM does with forbidden instructions is found by cells that try them. Rows are\n"
        "described in docs/host-check.md.\n"
        "\n"
        "Options:\n"
        "  --json           one object (guillotine-host/1)\n"
        "  --require LEVEL  none, basic or strict: what run --require LEVEL would need\n"
        "  --explain ID     one row, with what the model could do without it\n"
        "  --fresh          run the probe cells again; results are kept until the next boot\n"
        "  --no-probe       run no cell\n"
        "  --record DIR     copy what was read to DIR, to be looked at elsewhere: no names of\n"
        "                   users, no addresses, no serial numbers\n"
        "  --root DIR       look at such a copy instead of this host\n"
        "\n"
        "Exit status: 0; 77 if the host does not have what --require says.\n"
        "\n"
        "Examples:\n"
        "  guillotine host check\n"
        "  guillotine host check --require strict && guillotine run --require strict vm.json\n"
        "  guillotine host check --json | jq -r '.guarantees[] | "
        "select(.status==\"absent\").id'\n");
    return EXIT_STATUS_OK;
}

// What files say is the kernel's, or, in a recording, anybody's: printable characters only.
static void add_text(json_object *object, const char *key, const char *text)
{
    char shown[512 * ESCAPE_MAX_EXPANSION];
    escape_line(shown, sizeof(shown), text, strnlen(text, 511));
    json_object_object_add(object, key, json_object_new_string(shown));
}

// What a level of --require wants of a row; null: nothing.
static void add_wanted(json_object *object, const char *key, enum host_status wanted)
{
    json_object_object_add(
        object, key,
        wanted == HOST_ABSENT ? NULL : json_object_new_string(host_status_name(wanted)));
}

static json_object *describe_row(const struct host_row *row)
{
    json_object *object = json_object_new_object();
    add_text(object, "id", row->id);
    add_text(object, "status", host_status_name(row->status));
    add_text(object, "value", row->value);
    add_text(object, "meaning", row->meaning);
    add_text(object, "remedy", row->remedy);
    add_wanted(object, "basic", row->basic);
    add_wanted(object, "strict", row->strict);
    return object;
}

static void print_json(const struct host_report *report, const char *require, bool met,
                       const char *failed)
{
    json_object *object = json_object_new_object();
    json_object *rows = json_object_new_array();
    json_object *required = json_object_new_object();
    json_object *ids = json_object_new_array();
    for (unsigned i = 0; i < report->count; i++)
        json_object_array_add(rows, describe_row(&report->rows[i]));
    for (const char *id = failed; *id;) {
        size_t length = strcspn(id, ",");
        json_object_array_add(ids, json_object_new_string_len(id, (int)length));
        id += length + strspn(id + length, ", ");
    }
    add_text(required, "level", require);
    json_object_object_add(required, "met", json_object_new_boolean(met));
    json_object_object_add(required, "failed", ids);
    add_text(object, "format", HOST_FORMAT);
    add_text(object, "kernel", report->kernel);
    add_text(object, "processor", report->processor);
    add_text(object, "kvm_backend", report->backend);
    json_object_object_add(object, "virtualised", json_object_new_boolean(report->virtualised));
    json_object_object_add(object, "probed", json_object_new_boolean(report->probed));
    json_object_object_add(object, "require", required);
    json_object_object_add(object, "guarantees", rows);
    printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE |
                                                              JSON_C_TO_STRING_PRETTY));
    json_object_put(object);
}

static void print_wrapped(const char *label, const char *text)
{
    printf("%-10s %s\n", label, text);
}

static void print_row(const struct host_row *row, bool colours)
{
    static const char *const marks[] = {
        [HOST_ABSENT] = "\x1b[31m",
        [HOST_BEST_EFFORT] = "\x1b[33m",
        [HOST_ENFORCED] = "\x1b[32m",
    };
    char value[sizeof(row->value) * ESCAPE_MAX_EXPANSION];
    escape_line(value, sizeof(value), row->value, strlen(row->value));
    printf("%s%-11s%s %-23s %s\n", colours ? marks[row->status] : "", host_status_name(row->status),
           colours ? "\x1b[0m" : "", row->id, value);
}

static int explain(const struct host_report *report, const char *id)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct host_row *row = &report->rows[i];
        if (strcmp(row->id, id) != 0)
            continue;
        print_row(row, false);
        print_wrapped("without it", row->meaning);
        print_wrapped("remedy", row->remedy);
        if (row->basic)
            print_wrapped("basic", host_status_name(row->basic));
        if (row->strict)
            print_wrapped("strict", host_status_name(row->strict));
        return EXIT_STATUS_OK;
    }
    return cli_usage("host", "no row named '%s'", id);
}

static void print_table(const struct host_report *report)
{
    bool colours = isatty(STDOUT_FILENO);
    unsigned counts[3] = {0};
    for (unsigned i = 0; i < report->count; i++) {
        print_row(&report->rows[i], colours);
        counts[report->rows[i].status]++;
    }
    printf("\n%u enforced, %u best effort, %u absent. How to get what is missing:\n"
           "guillotine host check --explain ID\n",
           counts[HOST_ENFORCED], counts[HOST_BEST_EFFORT], counts[HOST_ABSENT]);
}

static int check(const struct check_options *options)
{
    static struct host_report report; // large
    struct error err = {0};
    struct host_root root = HOST_ROOT_NONE;
    char cache[PATH_MAX];
    char failed[1024];
    enum vmm_require require = VMM_REQUIRE_NONE;
    if (options->require && vm_require_parse(options->require, &require, &err) < 0)
        return cli_usage("host", "--require: %s", err.text);
    bool cached = paths_runtime_dir(options->runtime_dir, cache, &err) == 0;
    const struct host_check_options wanted = {
        .probe = !options->no_probe,
        .fresh = options->fresh,
        .cache = cached ? cache : NULL,
        .record = options->record,
    };
    if (host_root_open(&root, options->root, &err) < 0 ||
        host_check_run(&root, &wanted, &report, &err) < 0)
        return cli_fail(&err);
    host_root_close(&root);
    bool met = host_report_meets(&report, require, failed, sizeof(failed));
    if (options->explain)
        return explain(&report, options->explain);
    if (options->json) {
        print_json(&report, options->require ? options->require : "none", met, failed);
    } else {
        print_table(&report);
        if (options->require)
            printf("--require %s: %s%s\n", options->require, met ? "met" : "not met: ", failed);
    }
    return met ? EXIT_STATUS_OK : EXIT_STATUS_HOST_REFUSED;
}

static int cli_host_check(int argc, char **argv)
{
    struct check_options options = {0};
    const struct cli_option table[] = {
        {"root", &options.root, NULL},
        {"record", &options.record, NULL},
        {"require", &options.require, NULL},
        {"explain", &options.explain, NULL},
        {"runtime-dir", &options.runtime_dir, NULL},
        {"json", NULL, &options.json},
        {"fresh", NULL, &options.fresh},
        {"no-probe", NULL, &options.no_probe},
    };
    int usage = cli_options_take("host", argc, argv, table, sizeof(table) / sizeof(table[0]),
                                 &options.help);
    if (usage)
        return usage;
    if (options.help)
        return help();
    if (optind < argc)
        return cli_usage("host", "unexpected argument %s", argv[optind]);
    return check(&options);
}

int cli_host(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*function)(int argc, char **argv);
    } verbs[] = {
        {"check", cli_host_check},
        {"tune", cli_host_tune},
    };
    for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (!strcmp(argv[1], verbs[i].name))
            return verbs[i].function(argc - 1, argv + 1);
    }
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
        return help();
    return cli_usage("host", "give check or tune");
}
