// SPDX-License-Identifier: Apache-2.0
// guillotine-tool describe: what a server says of its tools.
#include "tool_describe.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

static const char *state_of(const struct mcp_tool *tool)
{
    if (!tool->offer.digest[0])
        return "missing";
    if (!tool->pin[0])
        return "unpinned";
    if (strcmp(tool->pin, tool->offer.digest) != 0)
        return "changed";
    return mcp_tool_exists(tool) ? "pinned" : "unchecked";
}

// Takes ownership of the object.
static int write_object(json_object *object, int fd)
{
    size_t length;
    const char *text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    size_t done = 0;
    while (done < length) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    json_object_put(object);
    return done == length ? 0 : -1;
}

int tool_describe_write(const struct mcp_client *client, int fd, struct error *err)
{
    json_object *report = json_object_new_object();
    json_object *tools = json_object_new_array();
    for (uint32_t i = 0; i < client->tool_count; i++) {
        const struct mcp_tool *tool = &client->tools[i];
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string(tool->name));
        json_object_object_add(entry, "state", json_object_new_string(state_of(tool)));
        json_object_object_add(entry, "sha256", json_object_new_string(tool->offer.digest));
        // As text: what the server says is read by nobody but this process.
        json_object_object_add(entry, "tool",
                               json_object_new_string(tool->offer.shown ? tool->offer.shown : ""));
        json_object_array_add(tools, entry);
    }
    json_object_object_add(report, "tools", tools);
    return write_object(report, fd) == 0
               ? 0
               : error_set(err, EXIT_STATUS_RESOURCES, errno, "tell of the tools");
}

int tool_describe_fail(const struct error *why, int fd)
{
    json_object *report = json_object_new_object();
    json_object_object_add(report, "error", json_object_new_string(why->text));
    return write_object(report, fd);
}
