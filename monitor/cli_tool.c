// SPDX-License-Identifier: Apache-2.0
// guillotine tool: what the server behind a tool port says of its tools.
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "constant_memory.h"
#include "tool_settings.h"
#include "vm_file.h"

// Where the program finds the grant (devices/tool_command.h).
#define GRANT_FD 3

static int help(void)
{
    printf("Usage: guillotine tool list [--json] FILE.json PORT\n"
           "       guillotine tool pin [--write] [--json] FILE.json PORT\n"
           "\n"
           "Starts the MCP server of a tool port, as the VM file describes it and in its sandbox,\n"
           "and shows what it says of the granted tools: names, descriptions, schemas. A running\n"
           "model sees a tool only if its description is the pinned one (docs/tools.md).\n"
           "\n"
           "list     shows them, and which of them are pinned\n"
           "pin      the same; with --write all that the server offers are pinned as they are now\n"
           "\n"
           "Options:\n"
           "  --write             write the file of pins that the VM file names\n"
           "  --json              one array: name, state, sha256, tool\n"
           "\n"
           "Examples:\n"
           "  guillotine tool pin agent.json tool\n"
           "  guillotine tool pin --write agent.json tool\n");
    return EXIT_STATUS_OK;
}

static int find_port(const struct vm_description *vm, const char *name, struct error *err)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (!strcmp(vm->ports[i].name, name) && vm->ports[i].kind == VMM_PORT_TOOL)
            return (int)i;
    }
    return error_set(err, EXIT_STATUS_USAGE, 0, "the VM file has no tool port of that name");
}

static int hand_over(const struct tool_settings *settings, const char *command, bool json,
                     bool writes, struct error *err)
{
    size_t length;
    struct tool_grant *grant = tool_settings_pin(settings, &length, err);
    if (!grant)
        return -1;
    int fd = constant_memory_make("guillotine-tool", grant, length, err);
    free(grant);
    if (fd < 0)
        return -1;
    char *arguments[] = {(char *)(uintptr_t) "guillotine-tool", (char *)(uintptr_t)command,
                         (char *)(uintptr_t)(json ? "json" : "text"),
                         (char *)(uintptr_t)(writes ? settings->pins : "-"), NULL};
    if (fd != GRANT_FD && dup2(fd, GRANT_FD) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "descriptors");
    if (fd == GRANT_FD)
        fcntl(fd, F_SETFD, 0);
    return cli_become("guillotine-tool", arguments);
}

int cli_tool(int argc, char **argv)
{
    struct vm_description vm = {0};
    struct error err = {0};
    bool json = false;
    bool writes = false;
    bool wants_help = false;
    const struct cli_option options[] = {{"json", NULL, &json}, {"write", NULL, &writes}};
    int usage = cli_options_take("tool", argc, argv, options, 2, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    char **arguments = argv + optind;
    if (argc - optind != 3 ||
        (strcmp(arguments[0], "list") != 0 && strcmp(arguments[0], "pin") != 0) ||
        (writes && strcmp(arguments[0], "pin") != 0))
        return cli_usage("tool",
                         "say what to do: list FILE.json PORT, pin [--write] FILE.json PORT");
    int port = vm_file_load(arguments[1], &vm, &err) < 0 ? -1 : find_port(&vm, arguments[2], &err);
    if (port < 0)
        return cli_fail(&err);
    int status = hand_over(vm.settings[port].bytes, arguments[0], json, writes, &err);
    return status < 0 ? cli_fail(&err) : status;
}
