// SPDX-License-Identifier: Apache-2.0
// The texts of a tool port's grant.
#include <string.h>

#include "mcp_client.h"

const char *tool_grant_next(const struct tool_grant *grant, const char **at)
{
    const char *begin = (const char *)(grant + 1);
    const char *text = *at ? *at : begin;
    if (text >= begin + grant->text_bytes)
        return NULL;
    *at = text + strlen(text) + 1;
    return text;
}

bool tool_grant_is_sound(const struct tool_grant *grant, size_t length)
{
    static const char format[sizeof(grant->format)] = TOOL_GRANT_FORMAT;
    if (length < sizeof(*grant) || memcmp(grant->format, format, sizeof(format)) != 0 ||
        grant->text_bytes != length - sizeof(*grant) || !grant->argument_count ||
        grant->argument_count > TOOL_MAX_ARGUMENTS || grant->variable_count > TOOL_MAX_VARIABLES ||
        grant->read_count > TOOL_MAX_PATHS || grant->write_count > TOOL_MAX_PATHS ||
        grant->tool_count > TOOL_MAX_TOOLS || grant->network > 1)
        return false;
    uint64_t texts = 0;
    const char *bytes = (const char *)(grant + 1);
    for (uint32_t i = 0; i < grant->text_bytes; i++)
        texts += !bytes[i];
    return grant->text_bytes && !bytes[grant->text_bytes - 1] &&
           texts == (uint64_t)grant->argument_count + grant->variable_count + grant->read_count +
                        grant->write_count + 3ull * grant->tool_count;
}
