// SPDX-License-Identifier: Apache-2.0
// guillotine isolate: raises the isolation level of a VM.
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "control_server.h"
#include "level_control.h"
#include "paths.h"
#include "vm_file.h"

static int help(void)
{
    printf("Usage: guillotine isolate [--json] [--reason TEXT] VM LEVEL\n"
           "\n"
           "Raises the isolation level of a running VM. Returns when it is true:\n"
           "  probation   only ports that the VM file marks for it carry traffic\n"
           "  severed     no port carries traffic, backends are killed, vCPUs are paused\n"
           "  offline     the VM has ended; its run command exits with status 81\n"
           "An operator only raises levels, to offline at most. Lowering one, and the levels\n"
           "beyond offline, take a quorum of administrators: guillotine quorum --help.\n"
           "\n"
           "Options:\n"
           "  --reason TEXT       why, for the audit log and for status (at most 256 bytes)\n"
           "  --json              the supervisor's answer: decided_ns (boot-time clock), and\n"
           "                      how long afterwards the gate was shut (gate_ns) and all\n"
           "                      vCPUs were out of guest mode (vcpus_ns; null: they were\n"
           "                      not asked to be)\n"
           "  --runtime-dir DIR   where control sockets live\n"
           "\n"
           "Examples:\n"
           "  guillotine isolate demo probation\n"
           "  guillotine isolate --reason 'odd traffic at 14:02' demo severed\n");
    return EXIT_STATUS_OK;
}

// The socket closes when everything of the VM is gone.
static void wait_for_end(int fd)
{
    char byte;
    struct pollfd in = {.fd = fd, .events = POLLIN};
    while (poll(&in, 1, 10000) > 0 && read(fd, &byte, 1) > 0)
        continue;
}

int cli_isolate(int argc, char **argv)
{
    struct error err = {0};
    char runtime_dir[PATH_MAX];
    char answer[1024];
    const char *given_dir = NULL;
    const char *reason = NULL;
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {
        {"json", NULL, &json},
        {"reason", &reason, NULL},
        {"runtime-dir", &given_dir, NULL},
    };
    int usage = cli_options_take("isolate", argc, argv, options, 3, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    if (optind + 2 != argc || !vm_name_is_valid(argv[optind]))
        return cli_usage("isolate", "give the name of one VM and a level");
    const struct control_question question = {
        .operation = "isolate",
        .level = argv[optind + 1],
        .reason = reason,
    };
    if (reason && strlen(reason) >= CONTROL_REASON_SIZE)
        return cli_usage("isolate", "a reason has at most %d bytes", CONTROL_REASON_SIZE - 1);
    if (level_parse(question.level) == LEVEL_COUNT)
        return cli_usage("isolate", "'%s' is not a level: use probation, severed or offline",
                         question.level);
    if (paths_runtime_dir(given_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = control_connect(runtime_dir, argv[optind], &err);
    if (fd < 0)
        return cli_fail(&err);
    if (control_ask(fd, &question, answer, sizeof(answer), NULL, &err) < 0) {
        error_prefix(&err, "isolate %s", argv[optind]);
        return cli_fail(&err);
    }
    if (level_parse(question.level) >= LEVEL_OFFLINE)
        wait_for_end(fd);
    if (json)
        printf("%s\n", answer);
    return EXIT_STATUS_OK;
}
