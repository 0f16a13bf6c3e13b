// SPDX-License-Identifier: Apache-2.0
// The reply of a serve port's endpoint to `guillotine ask`: HTTP, then server-sent events.
#ifndef MONITOR_ASK_STREAM_H
#define MONITOR_ASK_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

// Largest line: an event with a piece of text.
#define ASK_LINE_MAX (256u << 10)

// What the reader has found out so far.
struct ask_stream {
    enum {
        ASK_STATUS_LINE,
        ASK_HEADERS,
        ASK_EVENTS, // of a reply with status 200
        ASK_BODY,   // of any other: one JSON document
        ASK_DONE,
    } state;
    unsigned status; // of HTTP
    size_t used;     // bytes of the line that is being read, or of the body
    char *line;      // ASK_LINE_MAX bytes
    char finish[32]; // why the model stopped, once it did
    // Called for each piece of text. Its bytes may be anything.
    void (*text)(void *context, const char *bytes, size_t length);
    void *context;
};

int ask_stream_open(struct ask_stream *stream, struct error *err);
void ask_stream_close(struct ask_stream *stream);

// Takes bytes as they came. Returns 0, or -1: what came makes no sense, or says that there will be
// no (more) text; err->status says why as `guillotine ask` ends.
int ask_stream_take(struct ask_stream *stream, const char *bytes, size_t length, struct error *err);

// The connection has ended. Returns 0 if the reply was whole, else -1.
int ask_stream_end(struct ask_stream *stream, struct error *err);

#endif
