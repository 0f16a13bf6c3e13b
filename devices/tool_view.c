// SPDX-License-Identifier: Apache-2.0
// A tool port's grant, with its texts found.
#include "tool_view.h"

#include <stdbool.h>
#include <string.h>

// True if the numbers are in range and there are exactly as many texts as they say.
static bool is_sound(const struct tool_grant *grant, size_t length)
{
    static const char format[sizeof(grant->format)] = TOOL_GRANT_FORMAT;
    if (length < sizeof(*grant) || memcmp(grant->format, format, sizeof(format)) != 0 ||
        grant->text_bytes != length - sizeof(*grant) || !grant->argument_count ||
        grant->argument_count > TOOL_MAX_ARGUMENTS || grant->variable_count > TOOL_MAX_VARIABLES ||
        grant->read_count > TOOL_MAX_PATHS || grant->write_count > TOOL_MAX_PATHS ||
        grant->tool_count > TOOL_MAX_TOOLS || grant->network > 1 || grant->remote > 1 ||
        (grant->remote && grant->argument_count != 1) || !grant->start_ms ||
        grant->start_ms > TOOL_START_MS_MAX || !grant->processes ||
        grant->processes > TOOL_MAX_PROCESSES || grant->memory_bytes < TOOL_MEMORY_MIN ||
        grant->memory_bytes > TOOL_MEMORY_MAX)
        return false;
    uint64_t texts = 0;
    const char *bytes = (const char *)(grant + 1);
    for (uint32_t i = 0; i < grant->text_bytes; i++)
        texts += !bytes[i];
    return grant->text_bytes && !bytes[grant->text_bytes - 1] &&
           texts == (uint64_t)grant->argument_count + grant->variable_count + grant->read_count +
                        grant->write_count + 1 + 3ull * grant->tool_count;
}

static const char *next(const char **at)
{
    const char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

int tool_view_open(struct tool_grant_view *view, const void *bytes, size_t length,
                   struct error *err)
{
    const struct tool_grant *grant = bytes;
    *view = (struct tool_grant_view){.grant = grant};
    if (!grant || !is_sound(grant, length))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: settings of another version");
    const char *at = (const char *)(grant + 1);
    for (uint32_t i = 0; i < grant->argument_count; i++)
        view->arguments[i] = next(&at);
    for (uint32_t i = 0; i < grant->variable_count; i++)
        view->variables[i] = next(&at);
    for (uint32_t i = 0; i < grant->read_count + grant->write_count; i++)
        view->paths[i] = next(&at);
    view->directory = next(&at);
    for (uint32_t i = 0; i < grant->tool_count; i++) {
        view->tools[i].name = next(&at);
        view->tools[i].pin = next(&at);
        view->tools[i].schema = next(&at);
    }
    return 0;
}
