// SPDX-License-Identifier: Apache-2.0
// The settings of a tool port.
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_schema.h"
#include "tool_settings.h"
#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_START_MS     30000u
#define DEFAULT_PROCESSES    64u
#define DEFAULT_MEMORY_BYTES (1ull << 30)

// Texts of one list, each with its terminator.
struct texts {
    char *bytes;
    size_t length;
    FILE *stream;
};

struct reader {
    struct tool_grant grant;
    char pins[PATH_MAX];
    struct texts arguments;
    struct texts variables;
    struct texts reads;
    struct texts writes;
    struct texts directory;
    struct texts tools;
    struct http_settings http;
    bool commanded;                    // there is a command
    const char *names[TOOL_MAX_TOOLS]; // of those that were read
    // Of the tool that is being read.
    const char *name;
    const char *schema;
};

static void add(struct texts *texts, const char *text)
{
    fwrite(text, 1, strlen(text) + 1, texts->stream);
}

static int read_argument(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (!reader->grant.argument_count++ && text[0] != '/')
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the program's path has to be absolute, as it is seen in the sandbox");
    add(&reader->arguments, text);
    return 0;
}

static int read_command(const struct json_place *place, void *target, struct error *err)
{
    if (json_read_array(place, TOOL_MAX_ARGUMENTS, read_argument, target, err))
        return -1;
    struct reader *reader = target;
    reader->commanded = true;
    return reader->grant.argument_count
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "an empty command");
}

// Before "http", which leaves the rule as it is.
static int read_url(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    struct http_grant *grant = &reader->http.grant;
    struct error inner;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    const char *host = strstr(text, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    cleanup_free char *origin = strndup(text, path ? (size_t)(path - text) : strlen(text));
    if (!origin)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "url");
    if (http_origin_parse(origin, &grant->rules[0].origin, NULL, &inner))
        return vm_file_refuse_because(place, &inner, err);
    if (!path)
        path = "/";
    for (const char *at = path; *at; at++) {
        if (*at <= 0x20 || *at > 0x7e || strchr("\"#<>\\^`{|}", *at))
            return json_refuse(place, JSON_PART_VALUE, err,
                               "a path of visible ASCII, escaped as a URL has it, is expected");
    }
    if (strlen(path) > TOOL_PATH_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    grant->rules[0].methods = 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_POST;
    grant->rule_count = 1;
    reader->grant.remote = 1;
    reader->grant.argument_count = 1;
    add(&reader->arguments, path);
    return 0;
}

static int read_http(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    return reader->grant.remote
               ? http_settings_read(place, &reader->http, false, err)
               : json_refuse(place, JSON_PART_KEY, err, "\"http\" is for a server with a \"url\"");
}

static int read_environment(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    if (json_expect(place, json_type_object, err))
        return -1;
    json_object_object_foreach(place->value, key, value)
    {
        struct json_place member;
        const char *text;
        cleanup_free char *variable = NULL;
        (void)value;
        if (!json_member(place, key, &member) || json_read_text(&member, &text, err))
            return -1;
        if (!*key || strchr(key, '=') || reader->grant.variable_count == TOOL_MAX_VARIABLES)
            return json_refuse(&member, JSON_PART_KEY, err,
                               "not the name of a variable, or more than %u", TOOL_MAX_VARIABLES);
        if (asprintf(&variable, "%s=%s", key, text) < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "environment");
        add(&reader->variables, variable);
        reader->grant.variable_count++;
    }
    return 0;
}

static int read_one_path(const struct json_place *place, struct texts *texts, struct error *err)
{
    cleanup_free char *path = NULL;
    cleanup_free char *whole = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    whole = realpath(path, NULL);
    if (!whole)
        return json_refuse(place, JSON_PART_VALUE, err, "%s", strerror(errno));
    add(texts, whole);
    return 0;
}

static int read_read_path(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    reader->grant.read_count++;
    return read_one_path(place, &reader->reads, err);
}

static int read_write_path(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    reader->grant.write_count++;
    return read_one_path(place, &reader->writes, err);
}

static int read_directory(const struct json_place *place, void *target, struct error *err)
{
    return read_one_path(place, &((struct reader *)target)->directory, err);
}

static int read_reads(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, TOOL_MAX_PATHS, read_read_path, target, err);
}

static int read_writes(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, TOOL_MAX_PATHS, read_write_path, target, err);
}

static int read_network(const struct json_place *place, void *target, struct error *err)
{
    bool network;
    if (json_read_bool(place, &network, err))
        return -1;
    ((struct reader *)target)->grant.network = network;
    return 0;
}

static int read_pins(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= sizeof(reader->pins))
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    memcpy(reader->pins, path, strlen(path) + 1);
    return 0;
}

static int read_tool_name(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    if (json_read_text(place, &reader->name, err))
        return -1;
    size_t length = strlen(reader->name);
    if (!length || length >= TOOL_NAME_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "a tool's name has 1 to %u bytes",
                           TOOL_NAME_MAX - 1);
    for (uint32_t i = 0; i < reader->grant.tool_count; i++) {
        if (!strcmp(reader->names[i], reader->name))
            return json_refuse(place, JSON_PART_VALUE, err,
                               "a tool of this name is granted already");
    }
    return 0;
}

static int read_tool_arguments(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    if (json_schema_check(place, JSON_SCHEMA_OWN, err))
        return -1;
    reader->schema = json_object_to_json_string_ext(place->value, JSON_C_TO_STRING_PLAIN);
    return 0;
}

static int read_tool(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "name", .read = read_tool_name, .required = true},
        {.key = "arguments", .read = read_tool_arguments},
    };
    struct reader *reader = target;
    reader->schema = "";
    if (json_read_object(place, fields, COUNT(fields), reader, err))
        return -1;
    add(&reader->tools, reader->name);
    add(&reader->tools, "");
    add(&reader->tools, reader->schema);
    reader->names[reader->grant.tool_count++] = reader->name;
    return 0;
}

static int read_tools(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, TOOL_MAX_TOOLS, read_tool, target, err);
}

// Joins the lists behind the grant.
static int finish(struct reader *reader, struct vm_settings *settings, struct error *err)
{
    struct texts *lists[] = {&reader->arguments, &reader->variables, &reader->reads,
                             &reader->writes,    &reader->directory, &reader->tools};
    size_t bytes = 0;
    if (!ftell(reader->directory.stream))
        add(&reader->directory, "/");
    for (size_t i = 0; i < COUNT(lists); i++) {
        if (fflush(lists[i]->stream))
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "settings of a tool");
        bytes += lists[i]->length;
    }
    if (bytes > TOOL_TEXTS_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "settings of a tool: more than %u bytes",
                         TOOL_TEXTS_MAX);
    struct tool_settings *tool = calloc(1, sizeof(*tool) + bytes);
    if (!tool)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a tool");
    reader->grant.text_bytes = (uint32_t)bytes;
    tool->grant = reader->grant;
    memcpy(tool->grant.format, TOOL_GRANT_FORMAT, sizeof(TOOL_GRANT_FORMAT));
    memcpy(tool->pins, reader->pins, sizeof(tool->pins));
    tool->http = reader->http;
    char *at = (char *)(&tool->grant + 1);
    for (size_t i = 0; i < COUNT(lists); i++) {
        memcpy(at, lists[i]->bytes, lists[i]->length);
        at += lists[i]->length;
    }
    *settings = (struct vm_settings){.bytes = tool, .length = sizeof(*tool) + bytes};
    return 0;
}

// A call is given up by the port, not by the connection.
static int check_server(const struct json_place *place, struct reader *reader,
                        const struct vmm_port_config *config, struct error *err)
{
    struct http_grant *grant = &reader->http.grant;
    if (reader->commanded == (reader->grant.remote != 0))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "either \"command\" or \"url\" is expected");
    if (!reader->grant.remote)
        return 0;
    if (reader->grant.variable_count || reader->grant.read_count || reader->grant.write_count ||
        reader->grant.network || ftell(reader->directory.stream))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "environment, directory, read, write and network are for a \"command\"");
    if (grant->idle_ms < config->timeout_ms)
        grant->idle_ms = config->timeout_ms;
    if (grant->stream_ms < config->timeout_ms)
        grant->stream_ms = config->timeout_ms;
    return 0;
}

int vm_file_read_tool(const struct json_place *place, struct vmm_port_config *config,
                      struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "command", .read = read_command},
        {.key = "url", .read = read_url},
        {.key = "http", .read = read_http},
        {.key = "environment", .read = read_environment},
        {.key = "read", .read = read_reads},
        {.key = "write", .read = read_writes},
        {.key = "directory", .read = read_directory},
        {.key = "network", .read = read_network},
        {.key = "pins", .read = read_pins, .required = true},
        {.key = "tools", .read = read_tools, .required = true},
        {.key = "start_ms",
         .read = json_field_u32,
         .offset = offsetof(struct reader, grant.start_ms),
         .minimum = 1,
         .maximum = TOOL_START_MS_MAX},
        {.key = "processes",
         .read = json_field_u32,
         .offset = offsetof(struct reader, grant.processes),
         .minimum = 1,
         .maximum = TOOL_MAX_PROCESSES},
        {.key = "memory_bytes",
         .read = json_field_u64,
         .offset = offsetof(struct reader, grant.memory_bytes),
         .minimum = TOOL_MEMORY_MIN,
         .maximum = TOOL_MEMORY_MAX},
    };
    static struct reader reader; // for its size; one thread
    reader = (struct reader){.grant = {.start_ms = DEFAULT_START_MS,
                                       .processes = DEFAULT_PROCESSES,
                                       .memory_bytes = DEFAULT_MEMORY_BYTES}};
    struct texts *lists[] = {&reader.arguments, &reader.variables, &reader.reads,
                             &reader.writes,    &reader.directory, &reader.tools};
    int result = 0;
    for (size_t i = 0; i < COUNT(lists); i++) {
        lists[i]->stream = open_memstream(&lists[i]->bytes, &lists[i]->length);
        if (!lists[i]->stream && result == 0)
            result = error_set(err, EXIT_STATUS_RESOURCES, errno, "settings of a tool");
    }
    http_settings_defaults(&reader.http);
    if (result == 0)
        result = json_read_object(place, fields, COUNT(fields), &reader, err);
    if (result == 0)
        result = check_server(place, &reader, config, err);
    if (result == 0)
        result = finish(&reader, settings, err);
    for (size_t i = 0; i < COUNT(lists); i++) {
        if (lists[i]->stream)
            fclose(lists[i]->stream);
        free(lists[i]->bytes);
    }
    return result;
}
