// SPDX-License-Identifier: Apache-2.0
// Server-sent events.
#include "mcp_events.h"

#include <stdlib.h>
#include <string.h>

#include "mcp_transport.h"

void mcp_messages_compact(struct mcp_messages *messages)
{
    for (size_t i = 0; i < messages->taken; i++)
        free(messages->message[i].text);
    messages->count -= messages->taken;
    memmove(messages->message, messages->message + messages->taken,
            messages->count * sizeof(messages->message[0]));
    messages->taken = 0;
}

void mcp_messages_free(struct mcp_messages *messages)
{
    messages->taken = messages->count;
    mcp_messages_compact(messages);
}

static size_t room_for(size_t used)
{
    size_t room = 256;
    while (room < used)
        room *= 2;
    return room;
}

// Grows in steps that double, so that a long line is not copied for each of its pieces.
static bool append(char **text, size_t *used, const char *bytes, size_t length)
{
    if (!*text)
        *used = 0;
    if (length > MCP_MESSAGE_MAX - *used)
        return false;
    if (!*text || room_for(*used + length) > room_for(*used)) {
        char *grown = realloc(*text, room_for(*used + length));
        if (!grown)
            return false;
        *text = grown;
    }
    memcpy(*text + *used, bytes, length);
    *used += length;
    return true;
}

bool mcp_events_complete(struct mcp_events *events, struct mcp_messages *messages)
{
    if (!events->data_used) {
        events->has_data = false;
        return true; // an event without data is none
    }
    if (messages->count == MCP_MESSAGES_MAX)
        return false;
    messages->message[messages->count].text = events->data;
    messages->message[messages->count++].length = events->data_used;
    events->data = NULL;
    events->data_used = 0;
    events->has_data = false;
    return true;
}

bool mcp_events_collect(struct mcp_events *events, const char *bytes, size_t length)
{
    return append(&events->data, &events->data_used, bytes, length);
}

// Fields other than "data" say nothing that a client without resumption needs.
static bool take_line(struct mcp_events *events, struct mcp_messages *messages)
{
    static const char field[] = "data:";
    const char *line = events->line;
    size_t length = events->line_used;
    events->line_used = 0;
    if (!length)
        return mcp_events_complete(events, messages);
    if (length < sizeof(field) - 1 || memcmp(line, field, sizeof(field) - 1) != 0)
        return true;
    line += sizeof(field) - 1;
    length -= sizeof(field) - 1;
    if (length && *line == ' ') {
        line++;
        length--;
    }
    if (events->has_data && !append(&events->data, &events->data_used, "\n", 1))
        return false;
    events->has_data = true;
    return append(&events->data, &events->data_used, line, length);
}

bool mcp_events_read(struct mcp_events *events, const char *bytes, size_t length,
                     struct mcp_messages *messages)
{
    const char *end = bytes + length;
    while (bytes < end) {
        if (events->after_return && *bytes == '\n')
            bytes++;
        events->after_return = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (!append(&events->line, &events->line_used, bytes, (size_t)(stop - bytes)))
            return false;
        if (stop == end)
            return true;
        events->after_return = *stop == '\r';
        bytes = stop + 1;
        if (!take_line(events, messages))
            return false;
    }
    return true;
}

void mcp_events_free(struct mcp_events *events)
{
    free(events->line);
    free(events->data);
    *events = (struct mcp_events){0};
}
