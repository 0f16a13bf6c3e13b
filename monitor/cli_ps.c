// SPDX-License-Identifier: Apache-2.0
// guillotine ps and guillotine kill: VMs that other processes supervise.
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "cli_vms.h"
#include "control_server.h"
#include "escape.h"
#include "paths.h"
#include "vm_file.h"

// How long `kill` waits until the VM is gone.
#define KILL_TIMEOUT_MS 10000

struct ps_options {
    const char *runtime_dir;
    bool json;
    bool help;
};

static int parse(int argc, char **argv, struct ps_options *options)
{
    const struct cli_option table[] = {
        {"runtime-dir", &options->runtime_dir, NULL},
        {"json", NULL, &options->json},
    };
    // Only `ps` has something to print.
    size_t count = strcmp(argv[0], "ps") ? 1 : 2;
    return cli_options_take(argv[0], argc, argv, table, count, &options->help);
}

static int ask_status(const char *runtime_dir, const char *name, char *answer, size_t size)
{
    struct error err;
    cleanup_fd int fd = control_connect(runtime_dir, name, &err);
    const struct control_question question = {.operation = "status"};
    return fd < 0 ? -1 : control_ask(fd, &question, answer, size, NULL, &err);
}

static const char *member_text(json_object *object, const char *key)
{
    json_object *member;
    return json_object_object_get_ex(object, key, &member) ? json_object_get_string(member) : "?";
}

// "2-5 | 6": the model's and the hypervisor's.
static void describe_cores(json_object *placement, char *text, size_t size)
{
    char both[600];
    bool isolated = !strcmp(member_text(placement, "core_isolated"), "true");
    const char *model = member_text(placement, "model_cpus");
    snprintf(both, sizeof(both), "%s%s%s%s", *model ? model : "any", *model ? " | " : "",
             *model ? member_text(placement, "hypervisor_cpus") : "",
             isolated ? "" : " (not core-isolated)");
    escape_line(text, size, both, strlen(both));
}

static void print_row(const char *answer)
{
    json_object *status = json_tokener_parse(answer);
    char name[VM_NAME_SIZE * ESCAPE_MAX_EXPANSION];
    char level[64];
    if (!status)
        return;
    const char *text = member_text(status, "name");
    escape_line(name, sizeof(name), text, strlen(text));
    text = member_text(status, "level");
    escape_line(level, sizeof(level), text, strlen(text));
    json_object *member;
    long long uptime_ms =
        json_object_object_get_ex(status, "uptime_ms", &member) ? json_object_get_int64(member) : 0;
    json_object *placement = NULL;
    json_object_object_get_ex(status, "placement", &placement);
    char cores[2 * 256 * ESCAPE_MAX_EXPANSION];
    describe_cores(placement, cores, sizeof(cores));
    printf("%-24s %-12s %5s %8s %6lld.%llds  %s\n", name, level, member_text(status, "vcpus"),
           member_text(status, "pid"), uptime_ms / 1000, uptime_ms % 1000 / 100, cores);
    json_object_put(status);
}

struct rows {
    const char *runtime_dir;
    bool json;
    unsigned count;
};

static void add_row(void *context, const char *name)
{
    struct rows *rows = context;
    char answer[CONTROL_ANSWER_MAX];
    if (ask_status(rows->runtime_dir, name, answer, sizeof(answer)) < 0)
        return;
    if (rows->json)
        printf("%s%s", rows->count ? "," : "", answer);
    else
        print_row(answer);
    rows->count++;
}

int cli_ps(int argc, char **argv)
{
    struct ps_options options = {0};
    struct error err;
    char runtime_dir[PATH_MAX];
    int usage = parse(argc, argv, &options);
    if (usage)
        return usage;
    if (options.help) {
        printf(
            "Usage: guillotine ps [--json] [--runtime-dir DIR]\n\n"
            "Lists the VMs that run: name, isolation level, vCPUs, process id of the\n"
            "supervisor, time since the start, CPUs of the model | of the hypervisor. A VM that\n"
            "shares cores with others is marked as not core-isolated. --json prints one array.\n\n"
            "Examples:\n  guillotine ps\n  guillotine ps --json | jq '.[].name'\n");
        return EXIT_STATUS_OK;
    }
    if (optind < argc)
        return cli_usage("ps", "unexpected argument %s", argv[optind]);
    if (paths_runtime_dir(options.runtime_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    struct rows rows = {.runtime_dir = runtime_dir, .json = options.json};
    printf(options.json ? "["
                        : "NAME                     LEVEL        VCPUS      PID   UPTIME  CORES\n");
    if (cli_vms_each(runtime_dir, add_row, &rows, &err) < 0)
        return cli_fail(&err);
    if (options.json)
        printf("]\n");
    return EXIT_STATUS_OK;
}

// The socket closes when the supervisor has cleaned everything up.
static int wait_for_end(int fd, struct error *err)
{
    char byte;
    for (;;) {
        struct pollfd in = {.fd = fd, .events = POLLIN};
        if (poll(&in, 1, KILL_TIMEOUT_MS) <= 0)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the VM did not end in %d s",
                             KILL_TIMEOUT_MS / 1000);
        if (read(fd, &byte, 1) <= 0)
            return 0;
    }
}

int cli_kill(int argc, char **argv)
{
    struct ps_options options = {0};
    struct error err;
    char runtime_dir[PATH_MAX];
    char answer[CONTROL_ANSWER_MAX];
    int usage = parse(argc, argv, &options);
    if (usage)
        return usage;
    if (options.help) {
        printf("Usage: guillotine kill NAME [--runtime-dir DIR]\n\n"
               "Stops a VM: ports close at once, vCPUs leave guest mode, the VMM ends or is\n"
               "killed after 100 ms. Its `run` command exits with status 81. Returns when\n"
               "everything of the VM is gone.\n\n"
               "Example:\n  guillotine kill demo\n");
        return EXIT_STATUS_OK;
    }
    if (optind + 1 != argc)
        return cli_usage("kill", "give the name of one VM");
    if (!vm_name_is_valid(argv[optind]))
        return cli_usage("kill", "'%s' is not a VM name", argv[optind]);
    if (paths_runtime_dir(options.runtime_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = control_connect(runtime_dir, argv[optind], &err);
    const struct control_question question = {.operation = "stop"};
    if (fd < 0 || control_ask(fd, &question, answer, sizeof(answer), NULL, &err) < 0 ||
        wait_for_end(fd, &err) < 0)
        return cli_fail(&err);
    return EXIT_STATUS_OK;
}
