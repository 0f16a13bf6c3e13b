// SPDX-License-Identifier: Apache-2.0
// Fuzzes requests to a store, with a database behind them: whatever a model sends, the status is
// known, the reply is in its bounds and made of what it should be, and the database is sound.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "port_fields_abi.h"
#include "store.h"
#include "store_request.h"

#define REPLY_MAX 4096u
#define FIELDS    8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store_database database;

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void open_store(void)
{
    static const struct store_grant grant = {1 << 20, 50, 1, 0};
    static const char text[] = "some words of an object, and \"quotes\" NEAR others";
    const struct store_files files = {memfd_create("database", 0), memfd_create("journal", 0)};
    struct error err = {0};
    require_that(store_database_open(&database, &files, &grant, &err) == 0);
    for (char name[] = "object/a"; name[7] <= 'e'; name[7]++) {
        for (uint64_t at = 0; at < 4000; at += sizeof(text))
            require_that(store_database_put(&database, name, (const uint8_t *)text, sizeof(text),
                                            true, at) == PORT_STATUS_OK);
    }
}

// The input, taken from the left; zeros behind its end.
struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct input *input)
{
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

static size_t take_bytes(struct input *input, uint8_t *target, size_t most)
{
    size_t length = most < input->size ? most : input->size;
    if (length)
        memcpy(target, input->data, length);
    input->data += length;
    input->size -= length;
    return length;
}

// A payload: bytes as they come, or fields with contents as they come.
static uint32_t make_payload(struct input *input, uint8_t *payload, uint32_t room)
{
    uint8_t fields = take(input);
    uint32_t used = 0;
    uint8_t content[256];
    if (fields & 1)
        return (uint32_t)take_bytes(input, payload, take(input));
    for (uint32_t field = 1; field < FIELDS; field++) {
        if (fields >> field & 1)
            port_fields_append(payload, room, &used, field, content,
                               (uint32_t)take_bytes(input, content, take(input)));
    }
    return used;
}

static void check_list(const struct port_field *text)
{
    for (uint32_t at = 0, end = 0; at < text->length; at = end + 1) {
        const uint8_t *space = memchr(text->bytes + at, ' ', text->length - at);
        const uint8_t *line = memchr(text->bytes + at, '\n', text->length - at);
        require_that(space && line && space < line);
        require_that(store_name_is_valid((const char *)text->bytes + at,
                                         (size_t)(space - text->bytes - at)));
        end = (uint32_t)(line - text->bytes);
    }
}

static void check_reply(const struct port_request *request)
{
    struct port_fields fields;
    require_that(request->reply_length <= request->reply_capacity);
    if (request->status || request->operation > STORE_SEARCH) {
        require_that(request->reply_length == 0);
        return;
    }
    require_that(port_fields_read(&fields, request->reply, request->reply_length));
    require_that(fields.field[STORE_FIELD_DATA].bytes != NULL);
    if (request->operation == STORE_LIST)
        check_list(&fields.field[STORE_FIELD_DATA]);
}

static void ask(struct input *input)
{
    static uint8_t reply[REPLY_MAX + 16];
    static uint8_t payload[4096];
    struct port_request request = {
        .operation = STORE_GET + take(input) % 6, // one is unknown
        .reply = reply,
        .reply_capacity = take(input) * 16u,
        .payload = payload,
    };
    request.argument = request.reply_capacity == 16 ? take(input) : 0;
    request.length = make_payload(input, payload, sizeof(payload));
    memset(reply + request.reply_capacity, 0xa5, 16);
    require_that(store_backend.submit(&database, &request) == PORT_DONE);
    for (unsigned i = 0; i < 16; i++)
        require_that(reply[request.reply_capacity + i] == 0xa5);
    require_that(request.status == PORT_STATUS_OK || request.status == PORT_STATUS_NOT_FOUND ||
                 request.status == PORT_STATUS_INVALID || request.status == PORT_STATUS_TOO_LARGE ||
                 request.status == PORT_STATUS_EXHAUSTED);
    check_reply(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    struct input input = {data, size};
    struct error err = {0};
    if (!database.handle)
        open_store();
    require_that(store_database_begin(&database) == PORT_STATUS_OK);
    for (unsigned i = 0; i < 16 && input.size; i++)
        ask(&input);
    if (++runs % 1000 == 0)
        require_that(store_database_check(&database, &err) == 0);
    // Undone: each input finds the same.
    require_that(store_database_end(&database, PORT_STATUS_INVALID) == PORT_STATUS_INVALID);
    require_that(database.objects == 5);
    return 0;
}
