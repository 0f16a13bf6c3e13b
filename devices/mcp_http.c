// SPDX-License-Identifier: Apache-2.0
// The streamable HTTP transport of the Model Context Protocol.
#include "mcp_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

// How soon the sockets are looked at again, and how soon a stream that ended is opened again.
#define LOOK_NS   NS_PER_MS
#define REOPEN_NS (5 * NS_PER_S)

// Most bytes that one pass takes of one reply.
#define PASS_BYTES (64u << 10)

static int send_message(struct mcp_transport *transport, const char *text, size_t length,
                        struct error *err)
{
    struct mcp_http *http = (struct mcp_http *)transport;
    unsigned index = 0;
    while (index < MCP_HTTP_POSTS && http->posts[index].state != MCP_HTTP_FREE)
        index++;
    if (index == MCP_HTTP_POSTS || length > MCP_OUTPUT_MAX - http->output)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server does not read");
    char *body = malloc(length + 1);
    if (!body)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "messages to the server");
    memcpy(body, text, length);
    http->posts[index] =
        (struct mcp_http_post){.state = MCP_HTTP_WAITING, .body = body, .length = length};
    http->output += length;
    return 0;
}

static void release(struct mcp_http *http, struct mcp_http_post *post)
{
    if (post->exchange)
        http_exchange_release(post->exchange);
    if (post->body)
        http->output -= post->length;
    free(post->body);
    mcp_events_free(&post->events);
    *post = (struct mcp_http_post){0};
}

// Starts the exchange of a post, if the pool has room for one more.
static void start(struct mcp_http *http, struct mcp_http_post *post)
{
    int length = snprintf(
        post->headers, sizeof(post->headers), "Accept: %stext/event-stream\n%s%s%s%s%s%s%s",
        post->body ? "application/json, " : "",
        post->body ? "Content-Type: application/json\n" : "",
        *http->version ? "MCP-Protocol-Version: " : "", http->version, *http->version ? "\n" : "",
        *http->session ? "Mcp-Session-Id: " : "", http->session, *http->session ? "\n" : "");
    struct http_request request = {
        .method = post->body ? HTTP_METHOD_POST : HTTP_METHOD_GET,
        .origin = http->pool->access.grant->rules[0].origin,
        .path = http->path,
        .path_length = (uint32_t)strlen(http->path),
        .headers = post->headers,
        .headers_length = (uint32_t)length,
        .body = (const uint8_t *)post->body,
        .body_length = (uint32_t)post->length,
    };
    post->exchange = http_exchange_start(http->pool, &request, 0, true);
    if (post->exchange)
        post->state = MCP_HTTP_SENT;
}

// The value of a header of the reply, or NULL.
static const char *find_header(const struct http_exchange *exchange, const char *name,
                               size_t *length)
{
    const char *at = (const char *)exchange->head;
    const char *end = at + exchange->head_used;
    struct http_header header;
    while (at < end && http_header_next(&at, end, &header)) {
        if (http_header_is(&header, name)) {
            *length = header.value_length;
            return header.value;
        }
    }
    return NULL;
}

static bool is_type(const struct http_exchange *exchange, const char *type)
{
    size_t length;
    const char *value = find_header(exchange, "content-type", &length);
    size_t size = strlen(type);
    return value && length >= size && memcmp(value, type, size) == 0 &&
           (length == size || value[size] == ';' || value[size] == ' ');
}

// The name of the session goes back as a header: visible ASCII, of a bounded length.
static int take_session(struct mcp_http *http, const struct http_exchange *exchange,
                        struct error *err)
{
    size_t length;
    const char *value = find_header(exchange, "mcp-session-id", &length);
    if (!value || *http->session)
        return 0;
    bool sound = length && length < sizeof(http->session);
    for (size_t i = 0; i < length && sound; i++)
        sound = value[i] > 0x20 && value[i] < 0x7f;
    if (!sound)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the server names the session wrongly");
    memcpy(http->session, value, length);
    return 0;
}

static int take_head(struct mcp_http *http, struct mcp_http_post *post, struct error *err)
{
    const struct http_exchange *exchange = post->exchange;
    if (exchange->status == 404 && *http->session)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server has forgotten the session");
    if (exchange->status == 202 || exchange->status == 204)
        post->reply = MCP_HTTP_NOTHING;
    else if (exchange->status != 200)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server answers with HTTP status %ld",
                         exchange->status);
    else if (is_type(exchange, "application/json"))
        post->reply = MCP_HTTP_JSON;
    else if (is_type(exchange, "text/event-stream"))
        post->reply = MCP_HTTP_EVENTS;
    else
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the server answers with neither JSON nor events");
    return take_session(http, exchange, err);
}

static int take_body(struct mcp_http *http, struct mcp_http_post *post, struct error *err)
{
    static uint8_t bytes[PASS_BYTES]; // one thread
    size_t ready = http_exchange_ready(post->exchange);
    bool taken = true;
    if (ready > sizeof(bytes))
        ready = sizeof(bytes);
    if (!ready)
        return 0;
    http_exchange_take(post->exchange, bytes, ready);
    if (post->reply == MCP_HTTP_EVENTS)
        taken = mcp_events_read(&post->events, (char *)bytes, ready, &http->messages);
    else if (post->reply == MCP_HTTP_JSON)
        taken = mcp_events_collect(&post->events, (char *)bytes, ready);
    return taken ? 0
                 : error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "the server sent a message of more than %u bytes, or too many",
                             MCP_MESSAGE_MAX);
}

// Goes on with one post. *ended: nothing comes any more.
static int advance(struct mcp_http *http, struct mcp_http_post *post, bool *ended,
                   struct error *err)
{
    struct http_exchange *exchange = post->exchange;
    *ended = false;
    if (post->reply == MCP_HTTP_UNKNOWN && exchange->head_done && take_head(http, post, err) < 0)
        return -1;
    if (post->reply != MCP_HTTP_UNKNOWN && take_body(http, post, err) < 0)
        return -1;
    if (exchange->state != HTTP_EXCHANGE_FINISHED || http_exchange_ready(exchange))
        return 0;
    *ended = true;
    if (exchange->result)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s", exchange->reason);
    if (post->reply == MCP_HTTP_JSON && !mcp_events_complete(&post->events, &http->messages))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the server sent too many messages");
    return 0;
}

// The server's own messages: it may have no stream for them, and a stream may end at any time.
static void serve_stream(struct mcp_http *http)
{
    struct mcp_http_post *stream = &http->stream;
    uint64_t now_ns = clock_now_ns(&clock_host);
    struct error ignored;
    bool ended;
    if (!http->streams)
        return;
    if (stream->state == MCP_HTTP_FREE) {
        if (now_ns >= http->stream_ns)
            start(http, stream);
        return;
    }
    int result = advance(http, stream, &ended, &ignored);
    if (result == 0 && !ended)
        return;
    // One that was never a stream is not asked for again.
    http->streams = stream->reply == MCP_HTTP_EVENTS;
    http->stream_ns = now_ns + REOPEN_NS;
    release(http, stream);
}

static int exchange(struct mcp_transport *transport, struct error *err)
{
    struct mcp_http *http = (struct mcp_http *)transport;
    mcp_messages_compact(&http->messages);
    http_pool_serve(http->pool);
    for (unsigned i = 0; i < MCP_HTTP_POSTS; i++) {
        struct mcp_http_post *post = &http->posts[i];
        bool ended = false;
        if (post->state == MCP_HTTP_WAITING)
            start(http, post);
        if (post->state == MCP_HTTP_SENT && advance(http, post, &ended, err) < 0)
            return -1;
        if (ended)
            release(http, post);
    }
    serve_stream(http);
    return 0;
}

static bool next(struct mcp_transport *transport, const char **text, size_t *length)
{
    struct mcp_messages *messages = &((struct mcp_http *)transport)->messages;
    if (messages->taken == messages->count)
        return false;
    *text = messages->message[messages->taken].text;
    *length = messages->message[messages->taken++].length;
    return true;
}

// curl's sockets come and go: it looks at them itself.
static uint64_t watch(const struct mcp_transport *transport, struct pollfd fds[2])
{
    (void)transport;
    fds[0] = fds[1] = (struct pollfd){.fd = -1};
    return LOOK_NS;
}

static void greeted(struct mcp_transport *transport, const char *version)
{
    struct mcp_http *http = (struct mcp_http *)transport;
    snprintf(http->version, sizeof(http->version), "%s", version);
    http->streams = true;
}

void mcp_http_open(struct mcp_http *http, struct http_pool *pool, const char *path)
{
    *http = (struct mcp_http){
        .transport = {send_message, exchange, next, watch, greeted},
        .pool = pool,
        .path = path,
    };
}

void mcp_http_close(struct mcp_http *http)
{
    for (unsigned i = 0; i < MCP_HTTP_POSTS; i++)
        release(http, &http->posts[i]);
    release(http, &http->stream);
    mcp_messages_free(&http->messages);
}
