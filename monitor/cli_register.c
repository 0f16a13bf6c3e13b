// SPDX-License-Identifier: Apache-2.0
// guillotine register: the VMs that this installation knows.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "cli_options.h"
#include "clock.h"
#include "paths.h"
#include "vm_state.h"

static int help(void)
{
    printf("Usage: guillotine register list [--json] [--state-dir DIR]\n\n"
           "Lists every VM that ever ran here, with its name, level and digests; one line for\n"
           "each set of image and weights that it had. Nothing is ever removed: removing would\n"
           "lower a level.\n\n"
           "Examples:\n  guillotine register list\n"
           "  guillotine register list --json | jq '.[] | select(.level != \"standard\")'\n");
    return EXIT_STATUS_OK;
}

static void print_hex(const uint8_t *digest)
{
    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        printf("%02x", digest[i]);
}

static void print_json(const struct register_entry *entry, const struct state_record *record,
                       bool in_use)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_format(&entry->uuid, uuid);
    printf("{\"uuid\":\"%s\",\"name\":\"%s\",\"name_generated\":%s,\"level\":\"%s\","
           "\"running\":%s,\"created_unix_s\":%llu,\"image_sha256\":\"",
           uuid, entry->name, entry->flags & REGISTER_NAME_GENERATED ? "true" : "false",
           level_name(record->level), in_use ? "true" : "false",
           (unsigned long long)(entry->created_wall_ns / NS_PER_S));
    print_hex(entry->digests.image);
    printf("\",\"weights_sha256\":[");
    for (unsigned i = 0; i < entry->digests.weights_count; i++) {
        printf("%s\"", i ? "," : "");
        print_hex(entry->digests.weights[i]);
        printf("\"");
    }
    printf("]}");
}

static void print_row(const struct register_entry *entry, const struct state_record *record,
                      bool in_use)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_format(&entry->uuid, uuid);
    printf("%s  %-20s %-12s %-7s ", uuid, entry->name, level_name(record->level),
           in_use ? "yes" : "no");
    for (unsigned i = 0; i < 8; i++)
        printf("%02x", entry->digests.image[i]);
    printf("  %u\n", entry->digests.weights_count);
}

static int list(const char *state_dir, bool json)
{
    struct deployment deployment;
    struct vm_register reg;
    struct error err;
    // The register stays locked while states are read, so that no launch takes us for a user.
    if (deployment_open(&deployment, state_dir, &err) < 0 ||
        vm_register_open(&reg, deployment.folder, deployment.key, &err) < 0)
        return cli_fail(&err);
    printf(json ? "["
                : "UUID                                  NAME                 LEVEL        RUNNING "
                  "IMAGE SHA-256     WEIGHTS\n");
    for (size_t i = 0; i < reg.count; i++) {
        struct state_record record;
        bool in_use;
        vm_state_read(&deployment, &reg, &reg.entries[i].uuid, &record, &in_use);
        if (json && i)
            printf(",");
        (json ? print_json : print_row)(&reg.entries[i], &record, in_use);
    }
    printf(json ? "]\n" : "");
    int status = EXIT_STATUS_OK;
    if (reg.damaged) {
        cli_say("the register is damaged: every launch is refused as Offline");
        status = EXIT_STATUS_FAILURE;
    }
    vm_register_close(&reg);
    deployment_close(&deployment);
    return status;
}

int cli_register(int argc, char **argv)
{
    const char *given = NULL;
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {{"json", NULL, &json}, {"state-dir", &given, NULL}};
    char state_dir[PATH_MAX];
    struct error err;
    int usage = cli_options_take("register", argc, argv, options, 2, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    if (optind + 1 != argc || strcmp(argv[optind], "list"))
        return cli_usage("register", "say what to do: list");
    if (paths_state_dir(given, state_dir, &err) < 0)
        return cli_fail(&err);
    return list(state_dir, json);
}
