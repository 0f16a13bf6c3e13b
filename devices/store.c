// SPDX-License-Identifier: Apache-2.0
// The store backend: requests of the model on a database.
#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "port_fields_abi.h"
#include "store_port.h"
#include "store_request.h"

// Room for a decimal number of 64 bits, for a line of a list and for the head of a hit.
#define NUMBER_SIZE 21u
#define LINE_SIZE   (STORE_NAME_MAX + 2 * NUMBER_SIZE + 3)

// A reply whose last field is text that grows.
struct text_reply {
    struct port_request *request;
    uint32_t start; // of the text
    uint32_t room;  // from there
    uint32_t used;
    char last[STORE_NAME_MAX + 1]; // name in the last line
};

static bool append_number(struct port_request *request, uint32_t field, uint64_t number)
{
    char text[NUMBER_SIZE];
    int length = snprintf(text, sizeof(text), "%" PRIu64, number);
    return port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                              field, text, (uint32_t)length);
}

// Puts the head of a field in front of `length` bytes that stand behind it, and zeros behind those.
static void close_field(struct port_request *request, uint32_t field, uint32_t length)
{
    const struct port_field_header header = {field, length};
    uint8_t *at = request->reply + request->reply_length;
    uint64_t size = port_field_size(length);
    memcpy(at, &header, sizeof(header));
    memset(at + sizeof(header) + length, 0, size - sizeof(header) - length);
    request->reply_length += (uint32_t)size;
}

// Room for the bytes of a field behind `used` bytes of a reply, of whose rest `reserved` are for
// something else: whole words, since the field is padded.
static uint32_t field_room(const struct port_request *request, uint32_t used, uint32_t reserved)
{
    uint32_t taken = used + (uint32_t)sizeof(struct port_field_header) + reserved;
    return request->reply_capacity > taken ? (request->reply_capacity - taken) & ~7u : 0;
}

static uint32_t serve_get(struct store_database *database, const struct store_request *asked,
                          struct port_request *request)
{
    // The size of the object comes first, and is known last.
    uint64_t got;
    uint64_t bytes;
    uint32_t before = (uint32_t)port_field_size(NUMBER_SIZE);
    if (request->reply_capacity < before + sizeof(struct port_field_header))
        return PORT_STATUS_TOO_LARGE;
    uint64_t room = field_room(request, before, 0);
    if (room > asked->bytes)
        room = asked->bytes;
    uint8_t *target = request->reply + before + sizeof(struct port_field_header);
    uint32_t status =
        store_database_read(database, asked->name, asked->offset, target, room, &got, &bytes);
    if (status)
        return status;
    append_number(request, STORE_FIELD_BYTES, bytes);
    memmove(request->reply + request->reply_length + sizeof(struct port_field_header), target, got);
    close_field(request, STORE_FIELD_DATA, (uint32_t)got);
    return PORT_STATUS_OK;
}

static bool add_text(struct text_reply *reply, const char *line, size_t line_length,
                     const uint8_t *text, uint32_t text_length)
{
    uint64_t needed = line_length + text_length + (text ? 1 : 0);
    if (needed > reply->room - reply->used)
        return false;
    uint8_t *at = reply->request->reply + reply->start + reply->used;
    memcpy(at, line, line_length);
    if (text) {
        memcpy(at + line_length, text, text_length);
        at[needed - 1] = '\n';
    }
    reply->used += (uint32_t)needed;
    return true;
}

static bool add_object(void *context, const char *name, uint64_t bytes)
{
    struct text_reply *reply = context;
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, bytes);
    if (!add_text(reply, line, (size_t)length, NULL, 0))
        return false;
    memcpy(reply->last, name, strlen(name) + 1);
    return true;
}

static struct text_reply start_text(struct port_request *request, uint32_t reserved)
{
    return (struct text_reply){
        .request = request,
        .start = sizeof(struct port_field_header),
        .room = field_room(request, 0, reserved),
    };
}

static uint32_t serve_list(struct store_database *database, const struct store_request *asked,
                           struct port_request *request)
{
    struct text_reply reply = start_text(request, (uint32_t)port_field_size(STORE_NAME_MAX));
    bool more;
    uint32_t status = store_database_list(database, asked->name, asked->after, asked->limit,
                                          add_object, &reply, &more);
    if (status)
        return status;
    if (!reply.room || (more && !reply.used))
        return PORT_STATUS_TOO_LARGE; // not even one has room
    close_field(request, STORE_FIELD_DATA, reply.used);
    if (more)
        port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                           STORE_FIELD_AFTER, reply.last, (uint32_t)strlen(reply.last));
    return PORT_STATUS_OK;
}

static bool add_hit(void *context, const struct store_hit *hit)
{
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRIu32 "\n", hit->name,
                          hit->offset, hit->length);
    return add_text(context, line, (size_t)length, hit->text, hit->length);
}

static uint32_t serve_search(struct store_database *database, const struct store_request *asked,
                             struct port_request *request)
{
    struct text_reply reply = start_text(request, 0);
    if (!reply.room)
        return PORT_STATUS_TOO_LARGE;
    uint32_t status =
        store_database_search(database, asked->expression, asked->limit, add_hit, &reply);
    if (!status)
        close_field(request, STORE_FIELD_DATA, reply.used);
    return status;
}

static uint32_t serve(struct store_database *database, struct port_request *request)
{
    struct store_request asked;
    uint32_t status = request->argument ? PORT_STATUS_INVALID
                                        : store_request_decode(&asked, request->operation,
                                                               request->payload, request->length);
    if (status)
        return status;
    switch (request->operation) {
    case STORE_GET:
        return serve_get(database, &asked, request);
    case STORE_LIST:
        return serve_list(database, &asked, request);
    case STORE_SEARCH:
        return serve_search(database, &asked, request);
    case STORE_PUT:
        return store_database_put(database, asked.name, asked.data, asked.data_length,
                                  asked.offset_given, asked.offset);
    case STORE_DELETE:
        return store_database_delete(database, asked.name);
    default:
        return PORT_STATUS_INVALID; // the decoder passes only those above
    }
}

static enum port_progress store_submit(void *state, struct port_request *request)
{
    request->status = serve(state, request);
    if (request->status)
        request->reply_length = 0;
    return PORT_DONE;
}

static void store_nothing(void *state)
{
    (void)state;
}

static bool store_prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

const struct port_backend store_backend = {
    .kind = PORT_KIND_STORE,
    .name = "store",
    .operations = store_operations,
    .operation_count = STORE_OPERATIONS,
    .submit = store_submit,
    .resume = store_submit, // never pending
    .flush = store_nothing,
    .prepare_sleep = store_prepare_sleep,
    .forget = store_nothing,
};
