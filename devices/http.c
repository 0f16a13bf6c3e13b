// SPDX-License-Identifier: Apache-2.0
// The http backend: requests of the model to the origins that it may reach.
#include "http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "http_exchange.h"
#include "http_port.h"
#include "port_fields_abi.h"

// How soon sockets are looked at again while a request waits for them.
#define LOOK_NS NS_PER_MS

#define NUMBER_SIZE 21u

static enum port_progress finish(struct port_request *request, uint32_t status)
{
    request->status = status;
    return PORT_DONE;
}

// A status, and why, for the model to read. What does not fit is not said.
static enum port_progress refuse(struct port_request *request, uint32_t status, const char *why)
{
    request->reply_length = 0;
    if (why)
        port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                           HTTP_FIELD_REASON, why, (uint32_t)strlen(why));
    return finish(request, status);
}

static bool append_number(struct port_request *request, uint32_t field, uint64_t number)
{
    char text[NUMBER_SIZE];
    int length = snprintf(text, sizeof(text), "%" PRIu64, number);
    return port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                              field, text, (uint32_t)length);
}

// Room for the bytes of one more field, and two numbers behind it.
static uint32_t field_room(const struct port_request *request)
{
    uint32_t left = request->reply_capacity - request->reply_length;
    uint32_t taken =
        (uint32_t)(sizeof(struct port_field_header) + 2 * port_field_size(NUMBER_SIZE));
    return left > taken ? (left - taken) & ~7u : 0;
}

// Begins a field whose `length` bytes, for which there is room, are written to what is returned.
static uint8_t *begin_field(struct port_request *request, uint32_t field, uint32_t length)
{
    const struct port_field_header header = {field, length};
    uint8_t *at = request->reply + request->reply_length;
    uint64_t size = port_field_size(length);
    memset(at + size - 8, 0, 8);
    memcpy(at, &header, sizeof(header));
    request->reply_length += (uint32_t)size;
    return at + sizeof(header);
}

static bool append_head(struct port_request *request, const struct http_exchange *exchange)
{
    size_t length = exchange->head_used;
    if (length > field_room(request))
        return false;
    uint8_t *target = begin_field(request, HTTP_FIELD_HEADERS, (uint32_t)length);
    http_redact(&exchange->pool->redactor, exchange->head, length, 0, length, target);
    return true;
}

static bool append_body(struct port_request *request, struct http_exchange *exchange, size_t length)
{
    if (length > field_room(request))
        return false;
    http_exchange_take(exchange, begin_field(request, HTTP_FIELD_BODY, (uint32_t)length), length);
    return true;
}

// The end of an exchange that nobody needs any more.
static enum port_progress conclude(struct port_request *request, struct http_exchange *exchange,
                                   uint32_t status, const char *why)
{
    refuse(request, status, why);
    http_exchange_release(exchange);
    return PORT_DONE;
}

static enum port_progress resume_fetch(struct port_request *request, struct http_exchange *exchange)
{
    if (exchange->state != HTTP_EXCHANGE_FINISHED)
        return PORT_PENDING;
    if (exchange->result)
        return conclude(request, exchange, exchange->result, exchange->reason);
    if (!append_head(request, exchange) ||
        !append_body(request, exchange, exchange->used - exchange->start) ||
        !append_number(request, HTTP_FIELD_STATUS, (uint64_t)exchange->status))
        return conclude(request, exchange, PORT_STATUS_TOO_LARGE,
                        "the reply is larger than the port's replies");
    http_exchange_release(exchange);
    return finish(request, PORT_STATUS_OK);
}

// The body may fail later: that is for HTTP_READ to say.
static enum port_progress resume_open(struct port_request *request, struct http_exchange *exchange)
{
    if (!exchange->head_done && exchange->state != HTTP_EXCHANGE_FINISHED)
        return PORT_PENDING;
    if (!exchange->head_done)
        return conclude(request, exchange, exchange->result, exchange->reason);
    if (!append_head(request, exchange) ||
        !append_number(request, HTTP_FIELD_STATUS, (uint64_t)exchange->status) ||
        !append_number(request, HTTP_FIELD_STREAM, exchange->stream))
        return conclude(request, exchange, PORT_STATUS_TOO_LARGE,
                        "the reply's headers are larger than the port's replies");
    exchange->opened = true;
    return finish(request, PORT_STATUS_OK);
}

static enum port_progress resume_read(struct port_request *request, struct http_exchange *exchange)
{
    size_t ready = http_exchange_ready(exchange);
    uint32_t room = field_room(request);
    if (!room)
        return refuse(request, PORT_STATUS_TOO_LARGE, NULL);
    if (ready) {
        append_body(request, exchange, ready < room ? ready : room);
        return finish(request, PORT_STATUS_OK);
    }
    if (exchange->state != HTTP_EXCHANGE_FINISHED)
        return PORT_PENDING;
    if (exchange->result)
        return refuse(request, exchange->result, exchange->reason);
    return finish(request, PORT_STATUS_OK); // the end
}

static enum port_progress resume(void *state, struct port_request *request)
{
    struct http_pool *pool = state;
    if (request->operation == HTTP_READ) {
        // It may have been closed by another request meanwhile.
        struct http_exchange *exchange = http_pool_find(pool, request->argument);
        return exchange && exchange->opened
                   ? resume_read(request, exchange)
                   : refuse(request, PORT_STATUS_NOT_FOUND, "no such stream");
    }
    struct http_exchange *exchange = &pool->exchanges[request->tag];
    return request->operation == HTTP_OPEN ? resume_open(request, exchange)
                                           : resume_fetch(request, exchange);
}

// Why a request may not be made, or NULL.
static const char *check_access(struct http_pool *pool, const struct http_request *asked)
{
    const char *at = asked->headers;
    const char *end = at ? at + asked->headers_length : NULL;
    struct http_header header;
    if (!http_access_allows(&pool->access, asked))
        return "this method, origin and path are not allowed";
    while (at && at < end && http_header_next(&at, end, &header)) {
        if (http_access_owns_header(&pool->access, &asked->origin, &header))
            return "one of the headers is the operator's";
    }
    return NULL;
}

static enum port_progress start(struct http_pool *pool, struct port_request *request)
{
    struct http_request asked;
    bool stream = request->operation == HTTP_OPEN;
    const char *why = http_request_read(&asked, request->payload, request->length);
    if (why || request->argument)
        return refuse(request, PORT_STATUS_INVALID, why ? why : "argument: 0");
    why = check_access(pool, &asked);
    if (why)
        return refuse(request, PORT_STATUS_DENIED, why);
    struct http_exchange *exchange =
        http_exchange_start(pool, &asked, request->reply_capacity, stream);
    if (!exchange)
        return refuse(request, PORT_STATUS_EXHAUSTED, "too many requests or streams at once");
    request->tag = (uint32_t)(exchange - pool->exchanges);
    return resume(pool, request);
}

static enum port_progress submit(void *state, struct port_request *request)
{
    struct http_pool *pool = state;
    struct http_exchange *exchange;
    switch (request->operation) {
    case HTTP_FETCH:
    case HTTP_OPEN:
        return start(pool, request);
    case HTTP_READ:
        return resume(pool, request);
    case HTTP_CLOSE:
        exchange = http_pool_find(pool, request->argument);
        if (!exchange || !exchange->opened)
            return refuse(request, PORT_STATUS_NOT_FOUND, NULL);
        http_exchange_release(exchange);
        return finish(request, PORT_STATUS_OK);
    default:
        return refuse(request, PORT_STATUS_INVALID, NULL);
    }
}

static void serve(void *state)
{
    http_pool_serve(state);
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    uint64_t soon_ns = clock_now_ns(&clock_host) + LOOK_NS;
    (void)state;
    if (soon_ns < *wake_ns)
        *wake_ns = soon_ns;
    return false;
}

static void forget(void *state)
{
    http_pool_forget(state);
}

const struct port_backend http_backend = {
    .kind = PORT_KIND_HTTP,
    .name = "http",
    .operations = http_operations,
    .operation_count = HTTP_OPERATIONS,
    .submit = submit,
    .resume = resume,
    .poll = serve,
    .flush = serve,
    .prepare_sleep = prepare_sleep,
    .forget = forget,
};
