// SPDX-License-Identifier: Apache-2.0
// guillotine: the command line.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "version.h"

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", cli_run, "run a model in a cell and wait for it"},
    {"serve", cli_serve, "run a GGUF model in a cell behind an OpenAI-compatible endpoint"},
    {"model", cli_model, "look at a model file: what it is, whether a cell can run it"},
    {"ask", cli_ask, "send a prompt to a model that is served"},
    {"ps", cli_ps, "list the VMs that run"},
    {"approvals", cli_approvals, "requests that wait for somebody's approval"},
    {"approve", cli_approve, "let one of them pass"},
    {"reject", cli_approve, "deny one of them"},
    {"isolate", cli_isolate, "raise the isolation level of a VM"},
    {"quorum", cli_quorum, "keys, key sets and signed orders of administrators"},
    {"heartbeat", cli_heartbeat, "tell a VM that its operator is there"},
    {"kill", cli_kill, "stop a VM at once"},
    {"policy", cli_policy, "check, explain, test and compare policy documents"},
    {"detector", cli_detector, "run detectors over a recorded audit log"},
    {"ports", cli_ports, "show the ports of a VM, close and open them"},
    {"message", cli_message, "exchange messages with a model"},
    {"audit", cli_audit, "print, follow and verify audit logs, prove records"},
    {"forensics", cli_forensics, "list and open images of memory that Offline left"},
    {"weights", cli_weights, "encrypt weights for one VM"},
    {"status", cli_status, "show a VM's isolation level, and why"},
    {"register", cli_register, "list the VMs that ever ran here"},
    {"actuator", cli_actuator, "list, check, test and arm what cuts a VM off"},
    {"tool", cli_tool, "what the servers of tools offer; pin it"},
    {"store", cli_store, "import, list, search and export what a model reads"},
    {"host", cli_host, "what this host guarantees, and how to make it guarantee more"},
    {"bench", cli_bench, "measure this machine"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
    printf("Usage: guillotine COMMAND [OPTIONS]\n"
           "\n"
           "Runs AI models that nobody trusts, each in a cell: a KVM guest without a kernel\n"
           "and without devices, whose every byte crosses a mediated, audited port.\n"
           "\n"
           "Commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].summary);
    printf("\n"
           "  guillotine COMMAND --help   options and examples of a command\n"
           "  guillotine --version [--json]\n"
           "\n"
           "Examples:\n"
           "  guillotine run demo.json -- --prompt 'Once upon a time'\n"
           "  guillotine run --image model.elf --weights model.gguf --port console\n"
           "  guillotine ps --json\n"
           "\n"
           "Exit statuses are listed in docs/exit-codes.md.\n");
    return EXIT_STATUS_OK;
}

static int version(int json)
{
    if (json)
        printf("{\"name\":\"guillotine\",\"version\":\"%s\",\"commit\":\"%s\",\"formats\":[%s]}\n",
               GUILLOTINE_VERSION, GUILLOTINE_COMMIT, GUILLOTINE_FORMATS);
    else
        printf("guillotine %s (%s)\n", GUILLOTINE_VERSION, GUILLOTINE_COMMIT);
    return EXIT_STATUS_OK;
}

// A caller may have closed a standard descriptor. Its number must not become that of something
// else: the model's output would be written there.
static int open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (open_standard_descriptors() < 0)
        return EXIT_STATUS_INTERNAL;
    if (argc < 2) {
        help();
        return EXIT_STATUS_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return help();
    if (!strcmp(argv[1], "--version"))
        return version(argc > 2 && !strcmp(argv[2], "--json"));
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            int status = commands[i].function(argc - 1, argv + 1);
            // A listing that did not reach its reader is a failure.
            return fflush(stdout) && status == EXIT_STATUS_OK ? EXIT_STATUS_FAILURE : status;
        }
    }
    return cli_usage(NULL, "unknown command '%s'", argv[1]);
}
