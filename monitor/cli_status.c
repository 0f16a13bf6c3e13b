// SPDX-License-Identifier: Apache-2.0
// guillotine status: what is durable about a VM, whether it runs or not.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "cli_options.h"
#include "clock.h"
#include "escape.h"
#include "paths.h"
#include "vm_state.h"

static int help(void)
{
    printf("Usage: guillotine status VM [--json] [--state-dir DIR]\n\n"
           "Shows the isolation level of a VM (name or UUID), since when and why, whether it\n"
           "runs, and its digests. A name can stand for several UUIDs: all are shown.\n\n"
           "Examples:\n  guillotine status demo\n  guillotine status demo --json\n");
    return EXIT_STATUS_OK;
}

static void print_hex(const uint8_t *digest)
{
    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        printf("%02x", digest[i]);
}

static void print_reason(const char *reason, bool json)
{
    char text[STATE_REASON_SIZE * ESCAPE_MAX_EXPANSION];
    escape_message(text, sizeof(text), reason);
    for (const char *at = text; *at; at++) {
        if (json && (*at == '"' || *at == '\\'))
            putchar('\\');
        putchar(*at);
    }
}

static void print_json(const struct deployment *deployment, const struct register_entry *entry,
                       const struct state_record *record, bool in_use, const char *since)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_format(&entry->uuid, uuid);
    printf("{\"uuid\":\"%s\",\"name\":\"%s\",\"deployment\":\"%s\",\"level\":\"%s\",\"since\":",
           uuid, entry->name, deployment->text, level_name(record->level));
    printf(*since ? "\"%s\"" : "null", since);
    printf(",\"reason\":\"");
    print_reason(record->reason, true);
    printf("\",\"running\":%s,\"launches\":%u,\"generation\":%llu,\"sequence\":%llu,"
           "\"key_set\":%s,\"image_sha256\":\"",
           in_use ? "true" : "false", record->restarts, (unsigned long long)record->generation,
           (unsigned long long)record->sequence, deployment->has_key_set ? "true" : "false");
    print_hex(entry->digests.image);
    printf("\",\"weights_sha256\":[");
    for (unsigned i = 0; i < entry->digests.weights_count; i++) {
        printf("%s\"", i ? "," : "");
        print_hex(entry->digests.weights[i]);
        printf("\"");
    }
    printf("]}");
}

static void print_text(const struct deployment *deployment, const struct register_entry *entry,
                       const struct state_record *record, bool in_use, const char *since)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_format(&entry->uuid, uuid);
    printf("name      %s\nUUID      %s\nlevel     %s since %s\nreason    ", entry->name, uuid,
           level_name(record->level), *since ? since : "an unknown time");
    print_reason(record->reason, false);
    printf("\nrunning   %s\nlaunches  %u\nkey set   %s\nimage     ", in_use ? "yes" : "no",
           record->restarts, deployment->has_key_set ? "yes" : "none: levels only rise");
    print_hex(entry->digests.image);
    for (unsigned i = 0; i < entry->digests.weights_count; i++) {
        printf("\nweights   ");
        print_hex(entry->digests.weights[i]);
    }
    printf("\n");
}

// An entry counts if no later one is of the same VM.
static bool is_latest(const struct vm_register *reg, size_t index)
{
    for (size_t i = index + 1; i < reg->count; i++) {
        if (uuid_equal(&reg->entries[i].uuid, &reg->entries[index].uuid))
            return false;
    }
    return true;
}

static int show(const char *state_dir, const char *vm, bool json)
{
    struct deployment deployment;
    struct vm_register reg;
    struct error err;
    struct uuid uuid;
    unsigned shown = 0;
    bool by_uuid = uuid_parse(vm, &uuid);
    if (deployment_open(&deployment, state_dir, &err) < 0 ||
        vm_register_open(&reg, deployment.folder, deployment.key, &err) < 0)
        return cli_fail(&err);
    deployment.has_key_set |= reg.keys.version != 0;
    printf(json ? "[" : "");
    for (size_t i = 0; i < reg.count; i++) {
        const struct register_entry *entry = &reg.entries[i];
        struct state_record record;
        struct tm time;
        char since[40] = "";
        bool in_use;
        if (!is_latest(&reg, i) ||
            (by_uuid ? !uuid_equal(&entry->uuid, &uuid) : strcmp(entry->name, vm) != 0))
            continue;
        vm_state_read(&deployment, &reg, &entry->uuid, &record, &in_use);
        time_t seconds = (time_t)(record.since_wall_ns / NS_PER_S);
        if (seconds && gmtime_r(&seconds, &time))
            strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &time);
        printf(shown++ ? (json ? "," : "\n") : "");
        (json ? print_json : print_text)(&deployment, entry, &record, in_use, since);
    }
    printf(json ? "]\n" : "");
    bool damaged = reg.damaged;
    vm_register_close(&reg);
    deployment_close(&deployment);
    if (damaged)
        cli_say("the register is damaged: every launch is refused as Offline");
    else if (!shown) {
        error_set(&err, EXIT_STATUS_FAILURE, 0, "no VM of this name or UUID is registered");
        return cli_fail(&err);
    }
    return damaged ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

int cli_status(int argc, char **argv)
{
    const char *given = NULL;
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {{"json", NULL, &json}, {"state-dir", &given, NULL}};
    char state_dir[PATH_MAX];
    struct error err;
    int usage = cli_options_take("status", argc, argv, options, 2, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    if (optind + 1 != argc)
        return cli_usage("status", "give the name or UUID of one VM");
    if (paths_state_dir(given, state_dir, &err) < 0)
        return cli_fail(&err);
    return show(state_dir, argv[optind], json);
}
