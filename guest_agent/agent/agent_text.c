// SPDX-License-Identifier: Apache-2.0
// Texts of ports: what both adapters do with them.

#include "agent_ports.h"
#include "json_reader.h"

#include <string.h>

void agent_text_append(struct agent_text *text, const char *bytes, size_t length)
{
    size_t room = text->size - text->length;
    size_t part = length < room ? length : room;
    if (part > 0) {
        memcpy(text->bytes + text->length, bytes, part);
    }
    text->length += part;
}

enum agent_result agent_read_tool_result(const char *json, size_t length, struct agent_text *reply)
{
    struct json_span whole;
    reply->length = 0;
    if (!json_whole(json, length, &whole) || json_is_word(json_find(whole, "isError"), "true")) {
        return AGENT_FAILED;
    }
    size_t written;
    if (!json_string(json_find(whole, "content"), reply->bytes, reply->size, &written)) {
        return AGENT_FAILED;
    }
    reply->length = written;
    return AGENT_DONE;
}
