// SPDX-License-Identifier: Apache-2.0
// guillotine detector: runs the built-in detectors over a recorded audit log.
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_scan.h"
#include "cleanup.h"
#include "cli.h"
#include "cli_audit.h"
#include "cli_options.h"
#include "detector.h"
#include "vm_file_internal.h"
#include "whole_file.h"

static int help(void)
{
    printf(
        "Usage: guillotine detector list\n"
        "       guillotine detector replay [--detectors FILE] [--json] FILE.audit\n"
        "\n"
        "list     the built-in detectors, and what holds if a VM file says nothing else\n"
        "replay   shows a recorded log to the detectors and prints their alarms: to find\n"
        "         thresholds. Those that look at payloads need a log with payloads (\"audit\":\n"
        "         \"full\" of a port, or Probation).\n"
        "\n"
        "Options:\n"
        "  --detectors FILE    a JSON object as \"detectors\" of a VM file (docs/detectors.md);\n"
        "                      without it: all but canary, with their defaults\n"
        "  --json              one alarm a line, then a summary\n"
        "\n"
        "Examples:\n"
        "  guillotine detector replay agent.audit\n"
        "  guillotine detector replay --detectors tight.json --json agent.audit\n");
    return EXIT_STATUS_OK;
}

static int list(void)
{
    struct detector_settings settings;
    detector_settings_defaults(&settings);
    printf("rate        requests or bytes of a port above mean + %u mean deviations of windows of "
           "%u ms,\n            and above %u requests or %u bytes, after %u windows\n",
           settings.rate_deviations, settings.rate_window_ms, settings.rate_requests,
           settings.rate_bytes, settings.rate_warm_up);
    printf("entropy     %u payloads of %u bytes or more with %u.%03u bits per byte, or %u encoded\n"
           "            characters in a row\n",
           settings.entropy_count, settings.entropy_bytes, settings.entropy_millibits / 1000,
           settings.entropy_millibits % 1000, settings.entropy_run);
    printf("canary      a token: as it is, reversed, hexadecimal, base64\n");
    printf("denials     %u denials in %u ms\n", settings.denials_count, settings.denials_within_ms);
    printf("violations  %u broken rules of queues\n", settings.violations_count);
    printf("timing      %u windows of %u requests in one or two steps of %u us or more\n",
           settings.timing_windows, DETECTOR_GAPS, settings.timing_gap_us);
    printf("doorbells   %u in a second beyond one for each request (not in replays)\n",
           settings.doorbells_per_s);
    return EXIT_STATUS_OK;
}

struct replay {
    struct detectors *detectors;
    bool json;
    uint64_t records;
    uint64_t alarms;
};

static int take(void *context, const struct audit_scan *scan,
                const struct audit_record_data *record, const struct merkle_hash *leaf,
                struct error *err)
{
    struct replay *replay = context;
    struct detector_alarm alarms[DETECTOR_KINDS];
    (void)scan;
    (void)leaf;
    (void)err;
    unsigned count = detectors_record(replay->detectors, &record->record, record->data, alarms);
    replay->records++;
    for (unsigned i = 0; i < count; i++) {
        replay->alarms++;
        printf(replay->json
                   ? "{\"sequence\":%" PRIu64 ",\"now_ns\":%" PRIu64
                     ",\"detector\":\"%s\",\"port\":%u,\"score\":%" PRIu64 ",\"reason\":\"%s\"}\n"
                   : "record %" PRIu64 " at %" PRIu64 " ns: %s: port %u: score %" PRIu64 ": %s\n",
               record->record.sequence, record->record.now_ns, detector_name(alarms[i].kind),
               alarms[i].port, alarms[i].score, alarms[i].reason);
    }
    return 0;
}

static int load(const char *path, struct detector_settings *settings, struct error *err)
{
    cleanup_free char *text = NULL;
    cleanup_json_document struct json_document document = {0};
    size_t length;
    if (!path) {
        detector_settings_defaults(settings);
        for (unsigned kind = 0; kind < DETECTOR_KINDS; kind++)
            settings->on[kind] = kind != DETECTOR_CANARY;
        return 0;
    }
    if (whole_file_read(path, VM_FILE_MAX_BYTES, &text, &length, err) < 0 ||
        json_document_parse(&document, path, text, length, VM_FILE_MAX_BYTES, err) < 0)
        return -1;
    const struct json_place root = json_document_root(&document);
    return vm_file_read_detectors(&root, settings, err);
}

static int run(const char *path, const char *settings_path, bool json)
{
    static struct audit_scan scan;     // large
    static struct detectors detectors; // large
    struct replay replay = {.detectors = &detectors, .json = json};
    struct detector_settings settings;
    struct error err;
    cleanup_fd int folder = -1;
    if (load(settings_path, &settings, &err) < 0)
        return cli_fail(&err);
    detectors_init(&detectors, &settings);
    if (cli_audit_open(&scan, &folder, path, &err) < 0)
        return cli_fail(&err);
    int result = audit_scan_run(&scan, take, &replay, &err);
    audit_scan_close(&scan);
    if (result < 0)
        return cli_fail(&err);
    printf(json ? "{\"records\":%" PRIu64 ",\"alarms\":%" PRIu64 "}\n"
                : "%" PRIu64 " records, %" PRIu64 " alarms\n",
           replay.records, replay.alarms);
    return EXIT_STATUS_OK;
}

int cli_detector(int argc, char **argv)
{
    const char *settings = NULL;
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {{"detectors", &settings, NULL}, {"json", NULL, &json}};
    int usage = cli_options_take("detector", argc, argv, options, 2, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    char **arguments = argv + optind;
    int count = argc - optind;
    if (count == 1 && !strcmp(arguments[0], "list"))
        return list();
    if (count == 2 && !strcmp(arguments[0], "replay"))
        return run(arguments[1], settings, json);
    return cli_usage("detector", "say what to do: list, replay FILE.audit");
}
