// SPDX-License-Identifier: Apache-2.0
// Serving: calls of clients, one after the other.

#include "serve.h"

#include "chat.h"

#include <string.h>

/* Messages of a conversation, at most. */
#define MESSAGES_MAX 256

/* While a prompt is computed, whether its client still waits is asked once in so many batches. */
#define BATCHES_PER_LOOK 4

struct server {
    struct llm_session *session;
    const struct llm_service *service;
    const struct llm_options *options;
    const struct llm_chat_template *chat;
    uint64_t cached_client; /* whose tokens session->cached are; 0: nobody's */
    uint32_t cached_count;  /* tokens whose keys and values are in the model's cache */
    bool whole;             /* replies go out as a whole */
    bool failed;            /* the service has ended */
};

/* The reply of one call. */
struct reply {
    uint64_t number;
    char *text;    /* session->line: what did not go out yet */
    size_t length; /* bytes at text */
    size_t room;   /* bytes that text may have */
    bool over;     /* nobody takes it any more */
    uint64_t tokens;
};

static struct llm_chat_message messages[MESSAGES_MAX];

/* Reads one line "ROLE BYTES\n" at *at of the parts. */
static int read_part(const struct llm_call *call, size_t *at, enum llm_chat_role *role,
                     size_t *bytes, struct llm_error *err)
{
    static const struct {
        const char *name;
        enum llm_chat_role role;
    } roles[] = {
        {"system ", LLM_CHAT_SYSTEM},
        {"user ", LLM_CHAT_USER},
        {"assistant ", LLM_CHAT_ASSISTANT},
        {"tool ", LLM_CHAT_TOOL},
    };
    for (size_t index = 0; index < sizeof(roles) / sizeof(roles[0]); index++) {
        size_t length = strlen(roles[index].name);
        if (call->parts_length - *at < length ||
            memcmp(call->parts + *at, roles[index].name, length) != 0) {
            continue;
        }
        *at += length;
        *role = roles[index].role;
        *bytes = 0;
        while (*at < call->parts_length && call->parts[*at] >= '0' && call->parts[*at] <= '9') {
            *bytes = *bytes * 10 + (size_t)(call->parts[*at] - '0');
            if (*bytes > call->text_length) {
                return llm_fail(err, "the parts of the conversation are longer than its text");
            }
            (*at)++;
        }
        if (*at == call->parts_length || call->parts[*at] != '\n') {
            break;
        }
        (*at)++;
        return 0;
    }
    return llm_fail(err, "the parts of the conversation cannot be read");
}

/* Writes the tokens of a conversation to session->ids. */
static int tokenize_chat(struct server *server, const struct llm_call *call, size_t *count,
                         struct llm_error *err)
{
    struct llm_session *session = server->session;
    size_t text = 0;
    size_t used = 0;
    for (size_t at = 0; at < call->parts_length; used++) {
        size_t bytes = 0;
        if (used == MESSAGES_MAX) {
            return llm_fail(err, "the conversation has more than %d messages", MESSAGES_MAX);
        }
        if (read_part(call, &at, &messages[used].role, &bytes, err) != 0) {
            return -1;
        }
        if (bytes > call->text_length - text) {
            return llm_fail(err, "the parts of the conversation are longer than its text");
        }
        messages[used].text = call->text + text;
        messages[used].length = bytes;
        text += bytes;
    }
    return llm_chat_tokenize(server->chat, &session->tokenizer, messages, used, session->ids,
                             session->config.context, count, err);
}

static int tokenize_call(struct server *server, const struct llm_call *call, size_t *count,
                         struct llm_error *err)
{
    struct llm_session *session = server->session;
    int result = call->chat ? tokenize_chat(server, call, count, err)
                            : llm_tokenize(&session->tokenizer, call->text, call->text_length, true,
                                           session->ids, session->config.context, count, err);
    if (result == 0 && *count == 0) {
        return llm_fail(err, "the prompt has no tokens");
    }
    return result;
}

/* Sends what the reply has so far, but for the beginning of a character at its end. */
static void send_piece(struct server *server, struct reply *reply, size_t bytes)
{
    const struct llm_service *service = server->service;
    if (server->whole || reply->over) {
        return;
    }
    switch (service->piece(service->context, reply->number, reply->text, bytes)) {
    case LLM_CALL_GOES_ON:
        memmove(reply->text, reply->text + bytes, reply->length - bytes);
        reply->length -= bytes;
        return;
    case LLM_CALL_WHOLE:
        server->whole = true;
        return;
    case LLM_CALL_FAILED:
        server->failed = true;
        reply->over = true;
        return;
    case LLM_CALL_OVER:
    default:
        reply->over = true;
        return;
    }
}

/* Bytes at the end of the text that may be the beginning of a character, of which more is to come
 * (RFC 3629, section 3). */
static size_t unfinished(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        uint8_t byte = (uint8_t)text[length - back];
        if ((byte & 0xc0) == 0x80) {
            continue;
        }
        size_t whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        return whole > back ? back : 0;
    }
    return 0;
}

/* Adds the text of a token. Returns false if the reply has no room for it. */
static bool add_token(struct server *server, struct reply *reply, uint32_t id)
{
    char text[LLM_PIECE_BYTES_MAX];
    size_t length = llm_token_text(&server->session->tokenizer, id, text);
    if (length > reply->room - reply->length) {
        return false;
    }
    memcpy(reply->text + reply->length, text, length);
    reply->length += length;
    reply->tokens++;
    size_t bytes = reply->length - unfinished(reply->text, reply->length);
    if (bytes > 0) {
        send_piece(server, reply, bytes);
    }
    return true;
}

/* Tokens at the start of session->ids that the cache has already. The last one is computed in any
 * case: its logits are needed. */
static uint32_t reuse_cache(struct server *server, const struct llm_call *call, uint32_t count)
{
    struct llm_session *session = server->session;
    uint32_t common = 0;

    if (call->client == 0 || call->client != server->cached_client) {
        llm_model_forget(&session->model, server->cached_count);
        server->cached_count = 0;
    }
    server->cached_client = call->client;
    while (common < server->cached_count && common + 1 < count &&
           session->cached[common] == session->ids[common]) {
        common++;
    }
    memcpy(session->cached + common, session->ids + common, (count - common) * sizeof(uint32_t));
    server->cached_count = common; /* grows as they are computed */
    return common;
}

/* Computes the prompt from token `first` on. Returns false if its client has gone meanwhile. */
static bool compute_prompt(struct server *server, struct reply *reply, uint32_t first,
                           uint32_t count)
{
    struct llm_session *session = server->session;
    uint32_t step = BATCHES_PER_LOOK * LLM_BATCH;

    while (first < count && !reply->over) {
        uint32_t part = count - first < step ? count - first : step;
        llm_session_extend(session, session->ids + first, first, part);
        first += part;
        server->cached_count = first;
        if (first < count) {
            send_piece(server, reply, 0);
        }
    }
    return !reply->over;
}

/* Says what is left of the reply; one that nobody takes needs no end. */
static void finish(struct server *server, const struct reply *reply,
                   const struct llm_finish *finish)
{
    const struct llm_service *service = server->service;
    size_t length = reply->length < service->text_max ? reply->length : service->text_max;
    if (!reply->over && service->answer(service->context, reply->number, reply->text, length,
                                        finish) == LLM_CALL_FAILED) {
        server->failed = true;
    }
}

/* Generates the reply. The logits are those of the prompt's last token. */
static int generate(struct server *server, struct reply *reply, uint32_t position, uint64_t limit,
                    const char **how, struct llm_error *err)
{
    struct llm_session *session = server->session;
    *how = "length";
    while (reply->tokens < limit && !reply->over) {
        uint32_t id;
        if (llm_sampler_choose(&session->sampler, session->model.logits, &id, err) != 0) {
            return -1;
        }
        if (llm_chat_ends(server->chat, &session->tokenizer, id)) {
            *how = "stop";
            break;
        }
        if (!add_token(server, reply, id) || position == session->config.context ||
            reply->tokens == limit) {
            break;
        }
        llm_model_advance(&session->model, &id, position, 1);
        llm_model_logits(&session->model, 0);
        session->cached[position] = id;
        server->cached_count = ++position;
    }
    return 0;
}

static double parameter(uint64_t milli, double standard)
{
    return milli == LLM_CALL_DEFAULT ? standard : (double)milli / 1000.0;
}

static int answer_call(struct server *server, const struct llm_call *call, struct reply *reply,
                       struct llm_error *err)
{
    const struct llm_options *options = server->options;
    struct llm_session *session = server->session;
    struct llm_finish end = {0};
    size_t count;

    if (tokenize_call(server, call, &count, err) != 0) {
        return -1;
    }
    /* The texts of the call are gone with the first thing that is sent: these numbers are not. */
    uint64_t limit = call->limit == LLM_CALL_DEFAULT ? session->config.context : call->limit;
    uint64_t seed = call->seed == LLM_CALL_DEFAULT ? options->seed + call->number : call->seed;
    double temperature = parameter(call->temperature_milli, options->temperature);
    double top_p = parameter(call->top_p_milli, options->top_p);

    llm_sampler_start(&session->sampler, session->model.vector, (float)temperature,
                      top_p > 0.0 && top_p <= 1.0 ? (float)top_p : 1.0f, seed);
    end.prompt_tokens = count;
    uint32_t first = reuse_cache(server, call, (uint32_t)count);
    if (!compute_prompt(server, reply, first, (uint32_t)count)) {
        return 0;
    }
    if (generate(server, reply, (uint32_t)count, limit, &end.how, err) != 0) {
        return -1;
    }
    end.reply_tokens = reply->tokens;
    finish(server, reply, &end);
    return 0;
}

static void serve_call(struct server *server, const struct llm_call *call)
{
    struct llm_session *session = server->session;
    size_t room = session->tokenizer.text_limit;
    struct llm_error err;
    struct reply reply = {
        .number = call->number,
        .text = session->line,
        .room = room < server->service->text_max ? room : server->service->text_max,
    };
    if (answer_call(server, call, &reply, &err) == 0) {
        return;
    }
    /* What went wrong is this call's affair, and its client hears of it. */
    const struct llm_finish error = {.how = "error"};
    reply.length = strnlen(err.text, reply.room);
    memcpy(reply.text, err.text, reply.length);
    finish(server, &reply, &error);
}

int llm_serve(struct llm_session *session, const struct llm_service *service,
              const struct llm_options *options, struct llm_error *err)
{
    struct server server = {
        .session = session,
        .service = service,
        .options = options,
        .whole = options->whole,
    };
    server.chat = options->chat_template == NULL ? llm_chat_detect(&session->file)
                                                 : llm_chat_find(options->chat_template);
    if (server.chat == NULL) {
        return llm_fail(err, "--chat-template %s: not known", options->chat_template);
    }
    while (!server.failed) {
        struct llm_call call;
        if (service->receive(service->context, &call) == LLM_CALL_FAILED) {
            break;
        }
        if (call.number != 0) {
            serve_call(&server, &call);
        }
    }
    return llm_fail(err, "the serve port is closed");
}
