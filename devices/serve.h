// SPDX-License-Identifier: Apache-2.0
// The serve backend: calls of clients on the host for the model, one after the other.
//
// The front (serve_http.h) turns what clients send into calls and calls into what they read. This
// part owns the queue, what the model gets to see, and what it says. One thread.
#ifndef DEVICES_SERVE_H
#define DEVICES_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "error.h"
#include "level.h"
#include "policy_engine.h"
#include "port_backend.h"
#include "serve_grant.h"

#define SERVE_STOPS_MAX      4u
#define SERVE_STOP_BYTES_MAX 256u
#define SERVE_REPLY_MAX      (4u << 20) // bytes of one reply; a longer one ends with SERVE_END_LENGTH
#define SERVE_DEFAULT        UINT32_MAX // a parameter that the client did not give

// What a client asks for. Everything is borrowed for the time of serve_submit.
struct serve_prompt {
    bool chat;         // a conversation; else a text to go on with
    const char *parts; // of a conversation, "ROLE BYTES\n" for each message: how `text` is divided;
                       // ROLE is system, user, assistant or tool; terminated; else ""
    const char *text;  // UTF-8 without NUL: the contents of all messages, one behind the other
    size_t text_length;         // bytes
    uint32_t limit;             // tokens of the reply, at most; SERVE_DEFAULT
    uint32_t temperature_milli; // 0 to 2000, SERVE_DEFAULT
    uint32_t top_p_milli;       // 1 to 1000, SERVE_DEFAULT
    bool has_seed;
    uint64_t seed;
    const char *stops[SERVE_STOPS_MAX];   // the reply ends in front of one of these; not empty
    size_t stop_lengths[SERVE_STOPS_MAX]; // 1 to SERVE_STOP_BYTES_MAX bytes
    size_t stop_count;
    // Who asks: what the model has kept of a call serves only calls with the same bytes here.
    // Empty: a client that nothing tells from others; nothing is kept for it.
    const void *client;
    size_t client_length; // at most SERVE_CLIENT_BYTES_MAX
};

#define SERVE_CLIENT_BYTES_MAX 512u

enum serve_state {
    SERVE_WAITING, // for its turn
    SERVE_RUNNING, // the model has it
    SERVE_ENDED,   // `end` says how; `text` is complete
};

enum serve_end {
    SERVE_END_STOP,     // the model was done, or a stop was found
    SERVE_END_LENGTH,   // the limit of tokens, or the end of the context
    SERVE_END_FAILED,   // the model could not; `reason` is what it says
    SERVE_END_DENIED,   // policy; `reason` names the rule
    SERVE_END_DEADLINE, // too late
    SERVE_END_ISOLATED, // the VM's level shuts the port; `reason` names the level
};

// One call. The front reads; what it may write is said.
struct serve_call {
    enum serve_state state;
    enum serve_end end;
    const char *reason;     // terminated, escaped, static or the call's own; never NULL once ended
    const char *text;       // what the client may see of the reply by now: whole UTF-8 characters
    size_t text_length;     // bytes; only grows
    uint64_t prompt_tokens; // once ended, as the model counts
    uint64_t reply_tokens;  // once ended, as the model counts
    uint64_t number;        // of the call, never used twice
    void *front;            // the front's own
};

enum serve_refusal {
    SERVE_ACCEPTED,
    SERVE_BUSY,      // the queue is full, or policy's rate: try again after *retry_s
    SERVE_DENIED,    // policy; *reason names the rule
    SERVE_TOO_LARGE, // larger than a request of the port may be
    SERVE_ISOLATED,  // the port is shut; *reason names the level
};

struct serve;

// Takes a call into the queue. On SERVE_ACCEPTED *call is the front's until serve_release. Else
// *reason is a terminated static text, and *retry_s seconds are worth waiting with SERVE_BUSY.
enum serve_refusal serve_submit(struct serve *serve, const struct serve_prompt *prompt,
                                struct serve_call **call, const char **reason, uint32_t *retry_s);

// The front is done with a call; one that has not ended is cancelled: the model is told to stop.
void serve_release(struct serve *serve, struct serve_call *call);

// Called by the core whenever a call's state or text has changed; on the same thread, never inside
// serve_submit or serve_release. Set once by the front.
void serve_on_change(struct serve *serve, void (*changed)(void *context, struct serve_call *call),
                     void *context);

#endif
