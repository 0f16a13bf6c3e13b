// SPDX-License-Identifier: Apache-2.0
// The settings of a tool port, and the digests that its tools are pinned with.
#include "tool_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "constant_memory.h"
#include "json_text.h"
#include "sha256.h"
#include "whole_file.h"

// What "tools" of the file says of one tool.
struct pins {
    struct json_document document;
    struct json_place tools;
    struct json_place root;
    bool present;
};

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    if (json_read_text(place, &text, err))
        return -1;
    return strcmp(text, TOOL_PINS_FORMAT)
               ? json_refuse(place, JSON_PART_VALUE, err, "this version reads " TOOL_PINS_FORMAT)
               : 0;
}

static int read_tools(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return json_expect(place, json_type_object, err);
}

static int load(const char *path, char **text, struct pins *pins, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "tools", .read = read_tools, .required = true},
    };
    size_t length;
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    if (whole_file_read(path, TOOL_PINS_MAX, text, &length, err) < 0 ||
        json_document_parse(&pins->document, path, *text, length, TOOL_PINS_MAX, err))
        return -1;
    pins->present = true;
    pins->root = json_document_root(&pins->document);
    if (json_read_object(&pins->root, fields, sizeof(fields) / sizeof(fields[0]), NULL, err))
        return -1;
    json_member(&pins->root, "tools", &pins->tools);
    return 0;
}

// The digest of a tool as 64 digits, or "".
static int find_pin(const struct pins *pins, const char *tool, const char **digest,
                    struct error *err)
{
    struct json_place place;
    *digest = "";
    if (!pins->present || !json_member(&pins->tools, tool, &place))
        return 0;
    if (json_read_text(&place, digest, err))
        return -1;
    if (strlen(*digest) != 2 * SHA256_BYTES ||
        strspn(*digest, "0123456789abcdef") != 2 * SHA256_BYTES)
        return json_refuse(&place, JSON_PART_VALUE, err, "64 lower-case digits are expected");
    return 0;
}

static const char *next(const char **at)
{
    const char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

static int write_texts(const struct tool_grant *grant, const struct pins *pins, FILE *out,
                       struct error *err)
{
    const char *at = (const char *)(grant + 1);
    uint32_t plain = grant->argument_count + grant->variable_count + grant->read_count +
                     grant->write_count + 1; // the directory
    for (uint32_t i = 0; i < plain; i++) {
        const char *text = next(&at);
        fwrite(text, 1, strlen(text) + 1, out);
    }
    for (uint32_t i = 0; i < grant->tool_count; i++) {
        const char *name = next(&at);
        next(&at); // no digest yet
        const char *schema = next(&at);
        const char *digest;
        if (find_pin(pins, name, &digest, err) < 0)
            return -1;
        fwrite(name, 1, strlen(name) + 1, out);
        fwrite(digest, 1, strlen(digest) + 1, out);
        fwrite(schema, 1, strlen(schema) + 1, out);
    }
    return 0;
}

static struct tool_grant *join(const struct tool_grant *grant, const char *texts, size_t bytes)
{
    struct tool_grant *joined = malloc(sizeof(*joined) + bytes);
    if (!joined)
        return NULL;
    *joined = *grant;
    joined->text_bytes = (uint32_t)bytes;
    memcpy(joined + 1, texts, bytes);
    return joined;
}

struct tool_grant *tool_settings_pin(const struct tool_settings *settings, size_t *length,
                                     struct error *err)
{
    cleanup_free char *file = NULL;
    cleanup_free char *texts = NULL;
    struct pins pins = {0};
    struct tool_grant *pinned = NULL;
    size_t bytes;
    FILE *out = open_memstream(&texts, &bytes);
    if (!out) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "settings of a tool");
        return NULL;
    }
    int result = load(settings->pins, &file, &pins, err);
    if (result == 0)
        result = write_texts(&settings->grant, &pins, out, err);
    if (pins.present)
        json_document_free(&pins.document);
    if (fclose(out) == 0 && result == 0) {
        pinned = join(&settings->grant, texts, bytes);
        if (!pinned)
            error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a tool");
    }
    if (pinned)
        *length = sizeof(*pinned) + bytes;
    return pinned;
}

int tool_settings_open(const struct tool_settings *settings, int *fds, unsigned *count,
                       struct error *err)
{
    if (!settings->grant.remote)
        return 0;
    struct http_grant *grant = malloc(sizeof(*grant));
    int files[HTTP_FDS];
    unsigned file_count = 0;
    int memory = -1;
    if (!grant)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a tool");
    if (http_settings_complete(&settings->http, grant, files, &file_count, err) == 0)
        memory = constant_memory_make("guillotine-http", grant, sizeof(*grant), err);
    explicit_bzero(grant, sizeof(*grant)); // it may hold secrets
    free(grant);
    if (memory >= 0)
        fds[(*count)++] = memory;
    for (unsigned i = 0; i < file_count; i++)
        fds[(*count)++] = files[i];
    return memory < 0 ? -1 : 0;
}

// A copy of what the file says, to be changed.
static struct json_object *copy_pins(const struct pins *pins)
{
    struct json_object *copy = json_object_new_object();
    if (!pins->present)
        return copy;
    json_object_object_foreach(pins->tools.value, name, digest)
    {
        json_object_object_add(copy, name, json_object_get(digest));
    }
    return copy;
}

static int replace(const char *path, struct json_object *tools, struct error *err)
{
    cleanup_free char *new_path = NULL;
    if (asprintf(&new_path, "%s.new", path) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "%s", path);
    struct json_object *file = json_object_new_object();
    json_object_object_add(file, "format", json_object_new_string(TOOL_PINS_FORMAT));
    json_object_object_add(file, "tools", json_object_get(tools));
    cleanup_fd int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool written = fd >= 0 &&
                   json_object_to_fd(
                       fd, file, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE) == 0 &&
                   write(fd, "\n", 1) == 1 && fsync(fd) == 0 && rename(new_path, path) == 0;
    int code = errno;
    json_object_put(file);
    return written ? 0 : error_set(err, EXIT_STATUS_RESOURCES, code, "%s", path);
}

int tool_settings_write(const struct tool_settings *settings, struct json_object *tools,
                        struct error *err)
{
    cleanup_free char *file = NULL;
    struct pins pins = {0};
    if (load(settings->pins, &file, &pins, err) < 0) {
        if (pins.present)
            json_document_free(&pins.document);
        return -1;
    }
    struct json_object *all = copy_pins(&pins);
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        struct json_object *tool = json_object_array_get_idx(tools, i);
        struct json_object *name = json_object_object_get(tool, "name");
        struct json_object *digest = json_object_object_get(tool, "sha256");
        json_object_object_add(all, json_object_get_string(name), json_object_get(digest));
    }
    int result = replace(settings->pins, all, err);
    json_object_put(all);
    if (pins.present)
        json_document_free(&pins.document);
    return result;
}
