// SPDX-License-Identifier: Apache-2.0
// Reads what a client of the OpenAI API asks for.
#ifndef DEVICES_SERVE_REQUEST_H
#define DEVICES_SERVE_REQUEST_H

#include <json-c/json_object.h>

#include "serve.h"

#define SERVE_BODY_MAX     (1u << 20) // bytes of a request
#define SERVE_MESSAGES_MAX 256u

// A request, read. Everything that `prompt` points to is in here.
struct serve_request {
    struct serve_prompt prompt;
    bool stream;
    bool include_usage; // an event with the counts of tokens before the stream ends
    struct json_object *root;
    char *text;  // owned
    char *parts; // owned
};

// Why a request is refused, as the API says it.
struct serve_problem {
    unsigned status;   // of HTTP
    const char *code;  // or NULL
    const char *param; // the key that is meant, or NULL
    char message[256]; // escaped
};

// Reads the `length` bytes of a body. Returns false and fills *problem if it is no request that can
// be carried out. Keys that change nothing in a reply's meaning are ignored, others that are not
// supported are refused. serve_request_free in any case.
bool serve_request_read(struct serve_request *request, bool chat, const char *model,
                        const char *body, size_t length, struct serve_problem *problem);

void serve_request_free(struct serve_request *request);

#endif
