// SPDX-License-Identifier: Apache-2.0
// guillotine tool: what the server behind a tool port says of its tools, and what they are pinned
// with.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "constant_memory.h"
#include "escape.h"
#include "json_text.h"
#include "paths.h"
#include "spawn.h"
#include "tool_settings.h"
#include "vm_file.h"

// Most bytes of a report: the descriptions of all tools that a port may have.
#define REPORT_MAX (16u << 20)

// Descriptors are handed over from here on: above those that the program gets.
#define OWN_FDS 16

static int help(void)
{
    printf(
        "Usage: guillotine tool list [--json] FILE.json PORT\n"
        "       guillotine tool check [--json] FILE.json PORT\n"
        "       guillotine tool pin [--json] FILE.json PORT [TOOL...]\n"
        "\n"
        "Starts the MCP server of a tool port, as the VM file describes it and in its sandbox,\n"
        "and shows what it says of the granted tools. A model sees a tool only while the server\n"
        "describes it as it is pinned (docs/tools.md).\n"
        "\n"
        "list     shows names, descriptions and schemas, and whether they are pinned\n"
        "check    the same for those that a model would not see. Status 0: there are none\n"
        "pin      writes the digests of all granted tools, or of those named, as the server\n"
        "         describes them now, to the file of pins that the VM file names; shows them\n"
        "\n"
        "States: pinned; unpinned; changed since it was pinned; missing: the server does not\n"
        "offer it; unchecked: its schema cannot be read, and the VM file has none either.\n"
        "\n"
        "Options:\n"
        "  --json              one array: name, state, sha256, tool\n"
        "\n"
        "Examples:\n"
        "  guillotine tool list agent.json tool\n"
        "  guillotine tool pin agent.json tool echo get-sum\n"
        "  guillotine tool check agent.json tool && guillotine run agent.json\n");
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

// Takes ownership of a descriptor and returns one that spawn_program can hand over, or -1.
static int lift(int fd)
{
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
    if (fd >= 0)
        close(fd);
    return lifted;
}

static int read_whole(int fd, char **text, size_t *length, struct error *err)
{
    *text = malloc(REPORT_MAX);
    *length = 0;
    if (!*text)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "report");
    for (;;) {
        ssize_t n = read(fd, *text + *length, REPORT_MAX - *length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || *length + (size_t)n == REPORT_MAX)
            return error_set(err, EXIT_STATUS_RESOURCES, n < 0 ? errno : 0, "report");
        if (n == 0)
            return 0;
        *length += (size_t)n;
    }
}

// Starts guillotine-tool with a grant and reads what it reports.
static int ask(const struct tool_settings *own, const struct tool_grant *grant, size_t grant_length,
               char **text, size_t *length, struct error *err)
{
    static const char *const arguments[] = {"guillotine-tool", "describe", NULL};
    char path[PATH_MAX];
    int ends[2];
    int pidfd = -1;
    cleanup_fd int settings =
        lift(constant_memory_make("guillotine-settings", grant, grant_length, err));
    if (settings < 0 || paths_sibling(arguments[0], path, err) < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe");
    cleanup_fd int report = ends[0];
    cleanup_fd int remote = lift(ends[1]);
    struct spawn_request request = {
        .path = path,
        .name = arguments[0],
        .arguments = arguments,
        .fds = {settings, remote},
        .fd_count = 2,
        .wait = 1,
    };
    int opened = tool_settings_open(own, request.fds, &request.fd_count, err);
    for (unsigned i = 2; i < request.fd_count; i++)
        request.fds[i] = lift(request.fds[i]);
    pid_t pid = opened < 0 ? -1 : spawn_program(&request, &pidfd, err);
    for (unsigned i = 2; i < request.fd_count; i++)
        close(request.fds[i]);
    if (pid < 0)
        return -1;
    close(pidfd);
    close(steal_fd(&remote));
    int result = read_whole(report, text, length, err);
    close(steal_fd(&report)); // one that still writes ends
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return result;
}

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : "";
}

// What the server says is for people's eyes only after every control character is gone.
static void print_tool(struct json_object *tool)
{
    const char *said = text_of(tool, "tool");
    size_t size = strlen(said) * ESCAPE_MAX_EXPANSION + 1;
    cleanup_free char *safe = malloc(size);
    char name[TOOL_NAME_MAX * ESCAPE_MAX_EXPANSION];
    escape_line(name, sizeof(name), text_of(tool, "name"), strlen(text_of(tool, "name")));
    printf("%s: %s\n", name, text_of(tool, "state"));
    if (!safe || !*said)
        return;
    escape_line(safe, size, said, strlen(said));
    printf("  sha256 %s\n  %s\n", text_of(tool, "sha256"), safe);
}

// With the description as an object instead of its text.
static void print_json(struct json_object *tools)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        struct json_object *tool = json_object_array_get_idx(tools, i);
        const char *said = text_of(tool, "tool");
        struct json_document document;
        struct error ignored;
        if (*said && json_document_parse_fractions(&document, "tool", said, strlen(said),
                                                   REPORT_MAX, &ignored) == 0)
            json_object_object_add(tool, "tool", document.root); // which owns it from now on
        else
            json_object_object_del(tool, "tool");
        json_object_array_add(list, json_object_get(tool));
    }
    printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(list);
}

// Keeps the tools that the command is about: those named; for check, those that are not pinned.
static struct json_object *select_tools(struct json_object *tools, const char *command,
                                        char **names, int count, struct error *err)
{
    struct json_object *selected = json_object_new_array();
    bool checks = !strcmp(command, "check");
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        struct json_object *tool = json_object_array_get_idx(tools, i);
        bool named = !count;
        for (int k = 0; k < count; k++)
            named = named || !strcmp(names[k], text_of(tool, "name"));
        if (named && !(checks && !strcmp(text_of(tool, "state"), "pinned")))
            json_object_array_add(selected, json_object_get(tool));
    }
    for (int k = 0; k < count; k++) {
        bool found = false;
        for (size_t i = 0; i < json_object_array_length(selected); i++)
            found =
                found || !strcmp(names[k], text_of(json_object_array_get_idx(selected, i), "name"));
        if (!found) {
            char excerpt[JSON_EXCERPT_SIZE];
            error_set(err, EXIT_STATUS_USAGE, 0, "the port grants no tool %s",
                      json_excerpt(excerpt, names[k]));
            json_object_put(selected);
            return NULL;
        }
    }
    return selected;
}

static int pin(const struct tool_settings *settings, struct json_object *tools, struct error *err)
{
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        struct json_object *tool = json_object_array_get_idx(tools, i);
        if (!strcmp(text_of(tool, "state"), "missing"))
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the server does not offer %s",
                             text_of(tool, "name"));
    }
    if (tool_settings_write(settings, tools, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        struct json_object *tool = json_object_array_get_idx(tools, i);
        if (strcmp(text_of(tool, "state"), "unchecked") != 0)
            json_object_object_add(tool, "state", json_object_new_string("pinned"));
    }
    return 0;
}

// Returns the exit status, or -1.
static int carry_out(const struct tool_settings *settings, const char *command, char **names,
                     int count, bool json, struct error *err)
{
    cleanup_free char *text = NULL;
    cleanup_json_document struct json_document document = {0};
    struct json_object *tools;
    size_t grant_length;
    size_t length;
    struct tool_grant *grant = tool_settings_pin(settings, &grant_length, err);
    if (!grant)
        return -1;
    int result = ask(settings, grant, grant_length, &text, &length, err);
    free(grant);
    if (result < 0 ||
        json_document_parse(&document, "guillotine-tool", text, length, REPORT_MAX, err))
        return -1;
    if (!json_object_object_get_ex(document.root, "tools", &tools))
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s", text_of(document.root, "error"));
    struct json_object *selected = select_tools(tools, command, names, count, err);
    if (!selected)
        return -1;
    if (!strcmp(command, "pin"))
        result = pin(settings, selected, err);
    bool fails = !strcmp(command, "check") && json_object_array_length(selected);
    if (result == 0 && json)
        print_json(selected);
    for (size_t i = 0; result == 0 && !json && i < json_object_array_length(selected); i++)
        print_tool(json_object_array_get_idx(selected, i));
    json_object_put(selected);
    return result < 0 ? -1 : fails ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

int cli_tool(int argc, char **argv)
{
    struct vm_description vm = {0};
    struct error err = {0};
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {{"json", NULL, &json}};
    int usage = cli_options_take("tool", argc, argv, options, 1, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    char **arguments = argv + optind;
    int count = argc - optind;
    bool pins = count && !strcmp(arguments[0], "pin");
    if (count < 3 || (count > 3 && !pins) ||
        (!pins && strcmp(arguments[0], "list") != 0 && strcmp(arguments[0], "check") != 0))
        return cli_usage("tool", "say what to do: list FILE.json PORT, check FILE.json PORT, "
                                 "pin FILE.json PORT [TOOL...]");
    int status = -1;
    int port = vm_file_load(arguments[1], &vm, &err) < 0 ? -1 : find_port(&vm, arguments[2], &err);
    if (port >= 0)
        status =
            carry_out(vm.settings[port].bytes, arguments[0], arguments + 3, count - 3, json, &err);
    vm_description_free(&vm);
    return status < 0 ? cli_fail(&err) : status;
}
