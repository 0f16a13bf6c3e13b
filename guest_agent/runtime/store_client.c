// SPDX-License-Identifier: Apache-2.0
// The client of a store. Requests are built where the port reads them, replies are copied once.
#include <guillotine/store.h>

#include <string.h>

#include "port_fields_abi.h"
#include "queue_client.h"

#define NUMBER_SIZE 20u

// A request that is being built. Fields ascend.
struct call {
    struct cell_queue *queue;
    uint8_t *payload; // NULL: it cannot be built
    uint32_t used;
};

static struct call start_call(struct cell_port *port)
{
    queue_attach(&port->queue); // others may be bound to the same port
    return (struct call){.queue = &port->queue, .payload = cell_queue_buffer(&port->queue)};
}

static void add_field(struct call *call, uint32_t field, const void *bytes, size_t length)
{
    if (!call->payload || length > call->queue->request_bytes ||
        !port_fields_append(call->payload, call->queue->request_bytes, &call->used, field, bytes,
                            (uint32_t)length))
        call->payload = NULL;
}

static void add_text(struct call *call, uint32_t field, const char *text)
{
    if (text)
        add_field(call, field, text, strlen(text));
}

static void add_number(struct call *call, uint32_t field, uint64_t number)
{
    char digits[NUMBER_SIZE];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    add_field(call, field, digits + at, sizeof(digits) - at);
}

// Sends the request and finds the fields of its reply, which stay where the port wrote them until
// the next request.
static int finish_call(struct call *call, uint32_t operation, struct port_fields *fields)
{
    struct cell_reply answer;
    if (!call->payload || cell_queue_send(call->queue, operation, 0, call->payload, call->used, 0))
        return -1;
    while (!cell_queue_poll(call->queue, &answer))
        cell_queue_wait(call->queue);
    bool sound = port_fields_read(fields, answer.payload, answer.length);
    return answer.status || sound ? (int)answer.status : -1;
}

static int copy_data(const struct port_fields *fields, void *data, size_t size, size_t *length)
{
    const struct port_field *field = &fields->field[STORE_FIELD_DATA];
    if (length)
        *length = 0;
    if (!field->bytes || field->length > size)
        return -1;
    if (field->length)
        memcpy(data, field->bytes, field->length);
    if (length)
        *length = field->length;
    return 0;
}

int cell_store_get(struct cell_port *port, const char *name, uint64_t offset, void *data,
                   size_t size, size_t *length, uint64_t *bytes)
{
    struct port_fields fields;
    uint64_t whole;
    struct call call = start_call(port);
    add_text(&call, STORE_FIELD_NAME, name);
    add_number(&call, STORE_FIELD_OFFSET, offset);
    add_number(&call, STORE_FIELD_BYTES, size);
    int status = finish_call(&call, STORE_GET, &fields);
    if (status)
        return status;
    if (!port_field_number(&fields.field[STORE_FIELD_BYTES], &whole))
        return -1;
    if (bytes)
        *bytes = whole;
    return copy_data(&fields, data, size, length);
}

int cell_store_list(struct cell_port *port, const char *prefix, const char *after, unsigned limit,
                    char *text, size_t size, size_t *length, char next[STORE_NAME_MAX + 1])
{
    struct port_fields fields;
    const struct port_field *more = &fields.field[STORE_FIELD_AFTER];
    struct call call = start_call(port);
    add_text(&call, STORE_FIELD_NAME, prefix);
    if (limit)
        add_number(&call, STORE_FIELD_LIMIT, limit);
    add_text(&call, STORE_FIELD_AFTER, after);
    next[0] = '\0'; // may be `after`
    int status = finish_call(&call, STORE_LIST, &fields);
    if (status)
        return status;
    if (more->length > STORE_NAME_MAX)
        return -1;
    if (more->bytes)
        memcpy(next, more->bytes, more->length);
    next[more->length] = '\0';
    return copy_data(&fields, text, size, length);
}

int cell_store_search(struct cell_port *port, const char *query, unsigned limit, char *text,
                      size_t size, size_t *length)
{
    struct port_fields fields;
    struct call call = start_call(port);
    add_text(&call, STORE_FIELD_QUERY, query);
    if (limit)
        add_number(&call, STORE_FIELD_LIMIT, limit);
    int status = finish_call(&call, STORE_SEARCH, &fields);
    return status ? status : copy_data(&fields, text, size, length);
}

// Takes a name and a space.
static bool take_name(const char **at, const char *end, char name[STORE_NAME_MAX + 1])
{
    size_t length = 0;
    while (*at + length < end && (*at)[length] != ' ')
        length++;
    if (*at + length == end || length > STORE_NAME_MAX)
        return false;
    memcpy(name, *at, length);
    name[length] = '\0';
    *at += length + 1;
    return true;
}

// Takes a number and the character that ends it.
static bool take_number(const char **at, const char *end, char until, uint64_t *number)
{
    size_t length = 0;
    while (*at + length < end && (*at)[length] != until)
        length++;
    const struct port_field field = {(const uint8_t *)*at, (uint32_t)length};
    if (*at + length == end || !port_field_number(&field, number))
        return false;
    *at += length + 1;
    return true;
}

int cell_store_next_object(const char **at, const char *end, struct cell_store_object *object)
{
    return take_name(at, end, object->name) && take_number(at, end, '\n', &object->bytes);
}

int cell_store_next_hit(const char **at, const char *end, struct cell_store_hit *hit)
{
    if (!take_name(at, end, hit->name) || !take_number(at, end, ' ', &hit->offset) ||
        !take_number(at, end, '\n', &hit->length) || hit->length >= (uint64_t)(end - *at))
        return 0;
    hit->text = *at;
    *at += hit->length + 1;
    return 1;
}

static int put(struct cell_port *port, const char *name, const uint64_t *offset, const void *data,
               size_t length)
{
    struct port_fields fields;
    struct call call = start_call(port);
    add_text(&call, STORE_FIELD_NAME, name);
    if (offset)
        add_number(&call, STORE_FIELD_OFFSET, *offset);
    add_field(&call, STORE_FIELD_DATA, data, length);
    return finish_call(&call, STORE_PUT, &fields);
}

int cell_store_put(struct cell_port *port, const char *name, const void *data, size_t length)
{
    return put(port, name, NULL, data, length);
}

int cell_store_append(struct cell_port *port, const char *name, uint64_t offset, const void *data,
                      size_t length)
{
    return put(port, name, &offset, data, length);
}

int cell_store_delete(struct cell_port *port, const char *name)
{
    struct port_fields fields;
    struct call call = start_call(port);
    add_text(&call, STORE_FIELD_NAME, name);
    return finish_call(&call, STORE_DELETE, &fields);
}
