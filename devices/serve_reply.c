// SPDX-License-Identifier: Apache-2.0
// Writes replies of the OpenAI API.
#include "serve_reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

void serve_buffer_free(struct serve_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct serve_buffer){0};
}

static char *reserve(struct serve_buffer *buffer, size_t more)
{
    if (buffer->failed)
        return NULL;
    if (buffer->length + more > buffer->size) {
        size_t size = (buffer->length + more) * 2;
        char *grown = realloc(buffer->bytes, size);
        if (!grown) {
            buffer->failed = true;
            return NULL;
        }
        buffer->bytes = grown;
        buffer->size = size;
    }
    return buffer->bytes + buffer->length;
}

static void add(struct serve_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Adds text whose insertions are numbers and words of this file.
static void add(struct serve_buffer *buffer, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    char *target = length < (int)sizeof(text) ? reserve(buffer, (size_t)length) : NULL;
    if (!target) {
        buffer->failed = true;
        return;
    }
    memcpy(target, text, (size_t)length);
    buffer->length += (size_t)length;
}

// Adds a text of others as a JSON string.
static void add_string(struct serve_buffer *buffer, const char *text, size_t length)
{
    char *target = reserve(buffer, length * ESCAPE_JSON_EXPANSION + 2);
    if (!target)
        return;
    *target = '"';
    size_t escaped = escape_json(target + 1, text, length);
    target[1 + escaped] = '"';
    buffer->length += escaped + 2;
}

static void add_text(struct serve_buffer *buffer, const char *text)
{
    add_string(buffer, text, strlen(text));
}

static const char *finish_of(const struct serve_call *call)
{
    return call->end == SERVE_END_LENGTH ? "length" : "stop";
}

static void add_usage(struct serve_buffer *buffer, const struct serve_call *call)
{
    add(buffer,
        "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu}",
        (unsigned long long)call->prompt_tokens, (unsigned long long)call->reply_tokens,
        (unsigned long long)(call->prompt_tokens + call->reply_tokens));
}

// What every object of a reply begins with.
static void add_head(struct serve_buffer *buffer, const struct serve_reply *reply, bool chunk)
{
    add(buffer, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":", reply->id,
        !reply->chat ? "text_completion"
        : chunk      ? "chat.completion.chunk"
                     : "chat.completion",
        (unsigned long long)reply->created_s);
    add_text(buffer, reply->model);
    add(buffer, ",");
}

void serve_reply_whole(struct serve_buffer *buffer, const struct serve_reply *reply,
                       const struct serve_call *call)
{
    add_head(buffer, reply, false);
    add(buffer, reply->chat ? "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                              "\"refusal\":null,\"content\":"
                            : "\"choices\":[{\"index\":0,\"text\":");
    add_string(buffer, call->text, call->text_length);
    add(buffer, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}],", reply->chat ? "}" : "",
        finish_of(call));
    add_usage(buffer, call);
    add(buffer, "}\n");
}

void serve_reply_begin(struct serve_buffer *buffer, const struct serve_reply *reply)
{
    if (!reply->chat)
        return;
    add(buffer, "data: ");
    add_head(buffer, reply, true);
    add(buffer, "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
}

void serve_reply_piece(struct serve_buffer *buffer, const struct serve_reply *reply,
                       const char *text, size_t length)
{
    add(buffer, "data: ");
    add_head(buffer, reply, true);
    add(buffer, reply->chat ? "\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                            : "\"choices\":[{\"index\":0,\"text\":");
    add_string(buffer, text, length);
    add(buffer, "%s,\"logprobs\":null,\"finish_reason\":null}]}\n\n", reply->chat ? "}" : "");
}

void serve_reply_end(struct serve_buffer *buffer, const struct serve_reply *reply,
                     const struct serve_call *call, bool include_usage)
{
    add(buffer, "data: ");
    add_head(buffer, reply, true);
    add(buffer, "\"choices\":[{\"index\":0,%s,\"logprobs\":null,\"finish_reason\":\"%s\"}]}\n\n",
        reply->chat ? "\"delta\":{}" : "\"text\":\"\"", finish_of(call));
    if (include_usage) {
        add(buffer, "data: ");
        add_head(buffer, reply, true);
        add(buffer, "\"choices\":[],");
        add_usage(buffer, call);
        add(buffer, "}\n\n");
    }
    add(buffer, "data: [DONE]\n\n");
}

// What OpenAI's clients expect as "type", by the status of HTTP.
static const char *type_of(const struct serve_problem *problem)
{
    static const struct {
        unsigned status;
        const char *type;
    } types[] = {
        {401, "authentication_error"}, {403, "policy_denied"}, {429, "rate_limit_error"},
        {500, "model_error"},          {503, "isolated"},      {504, "timeout_error"},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].status == problem->status)
            return types[i].type;
    }
    return "invalid_request_error";
}

void serve_reply_error(struct serve_buffer *buffer, const struct serve_problem *problem, bool event)
{
    add(buffer, "%s{\"error\":{\"message\":", event ? "data: " : "");
    add_text(buffer, problem->message);
    add(buffer, ",\"type\":\"%s\",\"param\":", type_of(problem));
    if (problem->param)
        add_text(buffer, problem->param);
    else
        add(buffer, "null");
    add(buffer, ",\"code\":");
    if (problem->code)
        add_text(buffer, problem->code);
    else
        add(buffer, "null");
    add(buffer, "}}%s", event ? "\n\n" : "\n");
}

void serve_reply_model(struct serve_buffer *buffer, const char *model, uint64_t created_s,
                       bool list)
{
    add(buffer, list ? "{\"object\":\"list\",\"data\":[{\"id\":" : "{\"id\":");
    add_text(buffer, model);
    add(buffer, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"guillotine\"}%s\n",
        (unsigned long long)created_s, list ? "]}" : "");
}

void serve_reply_health(struct serve_buffer *buffer, uint32_t calls, uint32_t queue)
{
    add(buffer, "{\"status\":\"ok\",\"calls\":%u,\"queue\":%u}\n", calls, queue);
}

void serve_problem_of_end(struct serve_problem *problem, const struct serve_call *call)
{
    *problem = (struct serve_problem){.status = 500};
    switch (call->end) {
    case SERVE_END_DEADLINE:
        problem->status = 504;
        problem->code = "deadline";
        snprintf(problem->message, sizeof(problem->message), "the reply took too long");
        return;
    case SERVE_END_ISOLATED:
        problem->status = 503;
        problem->code = call->reason;
        snprintf(problem->message, sizeof(problem->message), "the VM is isolated: %s",
                 call->reason);
        return;
    case SERVE_END_DENIED:
        problem->status = 403;
        problem->code = "policy_denied";
        snprintf(problem->message, sizeof(problem->message), "%s", call->reason);
        return;
    case SERVE_END_STOP:
    case SERVE_END_LENGTH:
    case SERVE_END_FAILED:
    default:
        snprintf(problem->message, sizeof(problem->message), "the model says: %s", call->reason);
        return;
    }
}

void serve_problem_of_refusal(struct serve_problem *problem, enum serve_refusal refusal,
                              const char *reason)
{
    static const struct {
        unsigned status;
        const char *code;
    } refusals[] = {
        [SERVE_BUSY] = {429, "queue_full"},
        [SERVE_DENIED] = {403, "policy_denied"},
        [SERVE_TOO_LARGE] = {413, "context_length_exceeded"},
        [SERVE_ISOLATED] = {503, NULL},
    };
    *problem = (struct serve_problem){
        .status = refusals[refusal].status,
        .code = refusal == SERVE_ISOLATED ? reason : refusals[refusal].code,
    };
    snprintf(problem->message, sizeof(problem->message), "%s%s",
             refusal == SERVE_ISOLATED ? "the VM is isolated: " : "", reason);
}
