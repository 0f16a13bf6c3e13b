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

static void append_content(struct agent_text *reply, struct json_span item)
{
    size_t length;
    if (reply->length > 0) {
        agent_text_append(reply, " ", 1);
    }
    if (json_string(json_find(item, "text"), reply->bytes + reply->length,
                    reply->size - reply->length, &length)) {
        reply->length += length;
        return;
    }
    char type[16];
    if (json_string(json_find(item, "type"), type, sizeof(type), &length)) {
        agent_text_append(reply, "[", 1);
        agent_text_append(reply, type, length);
        agent_text_append(reply, "]", 1);
    }
}

enum agent_result agent_read_tool_result(const char *json, size_t length, struct agent_text *reply)
{
    struct json_span whole;
    struct json_span item;
    reply->length = 0;
    if (!json_whole(json, length, &whole)) {
        return AGENT_FAILED;
    }
    struct json_span content = json_find(whole, "content");
    if (content.length == 0 || content.text[0] != '[' ||
        json_is_word(json_find(whole, "isError"), "true")) {
        return AGENT_FAILED;
    }
    struct json_walk walk = json_elements(content);
    while (json_next_element(&walk, &item)) {
        append_content(reply, item);
    }
    return AGENT_DONE;
}
