// SPDX-License-Identifier: Apache-2.0
// Where calls of clients come from and replies go to.

#ifndef LLM_SERVICE_H
#define LLM_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLM_CALL_DEFAULT UINT64_MAX /* a number that the client did not give */

/* What a client asks for. Texts are not NUL-terminated, any bytes, and stay valid until the
 * service is asked for something else. */
struct llm_call {
    uint64_t number;   /* 0: there was none for a while */
    uint64_t client;   /* what is kept of a call serves only calls with this number; 0: nothing */
    bool chat;         /* a conversation; else a text to go on with */
    const char *parts; /* of a conversation: "ROLE BYTES\n" for each message, dividing `text` */
    size_t parts_length;
    const char *text;
    size_t text_length;
    uint64_t limit;             /* tokens of the reply, at most; LLM_CALL_DEFAULT */
    uint64_t temperature_milli; /* thousandths; LLM_CALL_DEFAULT */
    uint64_t top_p_milli;       /* thousandths; LLM_CALL_DEFAULT */
    uint64_t seed;              /* LLM_CALL_DEFAULT */
};

enum llm_call_state {
    LLM_CALL_GOES_ON,
    LLM_CALL_OVER,   /* its client takes no more */
    LLM_CALL_WHOLE,  /* pieces are not granted: all of the reply goes with the answer */
    LLM_CALL_FAILED, /* nothing is served any more */
};

/* How a call ended, for its answer. */
struct llm_finish {
    const char *how; /* "stop", "length" or "error"; then the text is a message */
    uint64_t prompt_tokens;
    uint64_t reply_tokens;
};

struct llm_service {
    /* Waits for the next call. Returns LLM_CALL_GOES_ON or LLM_CALL_FAILED. */
    enum llm_call_state (*receive)(void *context, struct llm_call *call);

    /* Sends the next part of a reply: whole UTF-8 characters, none to ask how things stand. */
    enum llm_call_state (*piece)(void *context, uint64_t number, const char *text, size_t length);

    /* Ends a call with the rest of its reply, or all of it. Returns LLM_CALL_GOES_ON or
     * LLM_CALL_FAILED. */
    enum llm_call_state (*answer)(void *context, uint64_t number, const char *text, size_t length,
                                  const struct llm_finish *finish);

    size_t text_max; /* bytes of text of a piece or an answer, at most */
    void *context;   /* passed to the three functions above */
};

#endif
