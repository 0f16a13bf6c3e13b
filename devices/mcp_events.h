// SPDX-License-Identifier: Apache-2.0
// Server-sent events (WHATWG HTML, section 9.2) as the Model Context Protocol uses them: the data
// of each is a message.
#ifndef DEVICES_MCP_EVENTS_H
#define DEVICES_MCP_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

// Messages that have arrived, oldest first.
#define MCP_MESSAGES_MAX 256u

struct mcp_messages {
    struct {
        char *text;
        size_t length;
    } message[MCP_MESSAGES_MAX];
    size_t count;
    size_t taken;
};

// Frees those that were taken.
void mcp_messages_compact(struct mcp_messages *messages);

void mcp_messages_free(struct mcp_messages *messages);

// A stream that is being read.
struct mcp_events {
    char *line; // that is not complete yet
    size_t line_used;
    char *data; // of the event that is not complete yet
    size_t data_used;
    bool has_data;
    bool after_return; // a line ended with '\r': a '\n' behind it belongs to it
};

// Reads more of a stream. Returns false if a line or an event is longer than MCP_MESSAGE_MAX, if
// too many messages wait, or without memory.
bool mcp_events_read(struct mcp_events *events, const char *bytes, size_t length,
                     struct mcp_messages *messages);

// Collects bytes of a reply that is one message; `complete` ends it.
bool mcp_events_collect(struct mcp_events *events, const char *bytes, size_t length);
bool mcp_events_complete(struct mcp_events *events, struct mcp_messages *messages);

void mcp_events_free(struct mcp_events *events);

#endif
