// SPDX-License-Identifier: Apache-2.0
// `guillotine tool list|pin`: what a server says of its tools, for an operator to look at.
#include "tool_command.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"
#include "mcp_client.h"
#include "tool_server.h"

#define PINS_FORMAT "guillotine-tool-pins/1"

static int fail(const struct error *err)
{
    char safe[sizeof(err->text) * ESCAPE_MAX_EXPANSION];
    escape_message(safe, sizeof(safe), err->text);
    fprintf(stderr, "guillotine tool: %s\n", safe);
    return (int)err->status;
}

static struct tool_grant *read_grant(size_t *length, struct error *err)
{
    struct stat status;
    struct tool_grant *grant = NULL;
    if (fstat(TOOL_COMMAND_FD, &status) == 0 && status.st_size > 0 &&
        (size_t)status.st_size <= sizeof(*grant) + TOOL_TEXTS_MAX)
        grant = malloc((size_t)status.st_size);
    if (!grant || pread(TOOL_COMMAND_FD, grant, (size_t)status.st_size, 0) != status.st_size) {
        free(grant);
        error_set(err, EXIT_STATUS_USAGE, 0,
                  "guillotine-tool is started by guillotine, not by hand");
        return NULL;
    }
    *length = (size_t)status.st_size;
    return grant;
}

static const char *state_of(const struct mcp_tool *tool)
{
    if (!tool->digest[0])
        return "not offered by the server";
    if (!tool->pin[0])
        return "not pinned";
    return strcmp(tool->pin, tool->digest) ? "CHANGED since it was pinned" : "pinned";
}

// What the server says is for people's eyes only after every control character is gone.
static void print_text(const struct mcp_tool *tool)
{
    printf("%s: %s\n  sha256 %s\n", tool->name, state_of(tool), tool->digest);
    if (!tool->shown)
        return;
    size_t size = strlen(tool->shown) * ESCAPE_MAX_EXPANSION + 1;
    char *safe = malloc(size);
    if (safe) {
        escape_line(safe, size, tool->shown, strlen(tool->shown));
        printf("  %s\n", safe);
    }
    free(safe);
}

static void print_json(const struct mcp_client *client)
{
    json_object *tools = json_object_new_array();
    for (uint32_t i = 0; i < client->tool_count; i++) {
        const struct mcp_tool *tool = &client->tools[i];
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string(tool->name));
        json_object_object_add(entry, "state", json_object_new_string(state_of(tool)));
        json_object_object_add(entry, "sha256", json_object_new_string(tool->digest));
        if (tool->shown)
            json_object_object_add(entry, "tool", json_tokener_parse(tool->shown));
        json_object_array_add(tools, entry);
    }
    printf("%s\n", json_object_to_json_string_ext(tools, JSON_C_TO_STRING_PLAIN));
    json_object_put(tools);
}

static int write_pins(const struct mcp_client *client, const char *path, struct error *err)
{
    cleanup_free char *new_path = NULL;
    json_object *tools = json_object_new_object();
    json_object *pins = json_object_new_object();
    for (uint32_t i = 0; i < client->tool_count; i++) {
        if (client->tools[i].digest[0])
            json_object_object_add(tools, client->tools[i].name,
                                   json_object_new_string(client->tools[i].digest));
    }
    json_object_object_add(pins, "format", json_object_new_string(PINS_FORMAT));
    json_object_object_add(pins, "tools", tools);
    int result = 0;
    if (asprintf(&new_path, "%s.new", path) < 0)
        result = error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "%s", path);
    // Whole or not at all.
    if (result == 0 &&
        (json_object_to_file_ext(new_path, pins,
                                 JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE) < 0 ||
         rename(new_path, path) < 0))
        result = error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", path);
    json_object_put(pins);
    return result;
}

int tool_command(int argc, char **argv)
{
    static struct mcp_client client = {.pins_all = true};
    struct tool_server server;
    struct error err;
    size_t length;
    if (argc < 3) {
        fprintf(stderr, "guillotine-tool is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    struct tool_grant *grant = read_grant(&length, &err);
    if (!grant)
        return fail(&err);
    if (!tool_grant_is_sound(grant, length)) {
        error_set(&err, EXIT_STATUS_INTERNAL, 0, "settings of another version");
        return fail(&err);
    }
    if (tool_server_start(&server, grant, &err) < 0 ||
        mcp_client_open(&client, grant, length, server.to_server, server.from_server, &err) < 0)
        return fail(&err);
    if (!strcmp(argv[2], "json"))
        print_json(&client);
    else
        for (uint32_t i = 0; i < client.tool_count; i++)
            print_text(&client.tools[i]);
    if (argc > 3 && strcmp(argv[3], "-") != 0 && write_pins(&client, argv[3], &err) < 0)
        return fail(&err);
    return EXIT_STATUS_OK;
}
