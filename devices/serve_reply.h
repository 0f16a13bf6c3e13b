// SPDX-License-Identifier: Apache-2.0
// Writes replies of the OpenAI API.
#ifndef DEVICES_SERVE_REPLY_H
#define DEVICES_SERVE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve.h"
#include "serve_request.h"

// Text that grows. Starts zeroed; `failed` once memory was short: what is there is incomplete.
struct serve_buffer {
    char *bytes;
    size_t length;
    size_t size;
    bool failed;
};

void serve_buffer_free(struct serve_buffer *buffer);

// What all parts of a reply name.
struct serve_reply {
    const char *model;
    char id[40];
    uint64_t created_s; // Unix time
    bool chat;
};

// A whole reply to a call that has ended well.
void serve_reply_whole(struct serve_buffer *buffer, const struct serve_reply *reply,
                       const struct serve_call *call);

// Events of a stream: the first of a chat, which has no text; a piece of text; the last, which says
// how it ended, with the counts of tokens if they are wanted and the mark of the end.
void serve_reply_begin(struct serve_buffer *buffer, const struct serve_reply *reply);
void serve_reply_piece(struct serve_buffer *buffer, const struct serve_reply *reply,
                       const char *text, size_t length);
void serve_reply_end(struct serve_buffer *buffer, const struct serve_reply *reply,
                     const struct serve_call *call, bool include_usage);

// An error, as a document or as the last event of a stream.
void serve_reply_error(struct serve_buffer *buffer, const struct serve_problem *problem,
                       bool event);

// The model that is served: in a list, or alone.
void serve_reply_model(struct serve_buffer *buffer, const char *model, uint64_t created_s,
                       bool list);

// How busy the model is.
void serve_reply_health(struct serve_buffer *buffer, uint32_t calls, uint32_t queue);

// What a call that ended otherwise means for its client.
void serve_problem_of_end(struct serve_problem *problem, const struct serve_call *call);

// What a refused call means for its client.
void serve_problem_of_refusal(struct serve_problem *problem, enum serve_refusal refusal,
                              const char *reason);

#endif
