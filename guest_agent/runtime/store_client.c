// SPDX-License-Identifier: Apache-2.0
// The client of a store. Requests are built where the port reads them, replies are copied once.
#include <guillotine/store.h>

#include <string.h>

#include "fields_call.h"

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
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, STORE_FIELD_NAME, name);
    fields_call_number(&call, STORE_FIELD_OFFSET, offset);
    fields_call_number(&call, STORE_FIELD_BYTES, size);
    int status = fields_call_finish(&call, STORE_GET, 0, &fields);
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
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, STORE_FIELD_NAME, prefix);
    if (limit)
        fields_call_number(&call, STORE_FIELD_LIMIT, limit);
    fields_call_text(&call, STORE_FIELD_AFTER, after);
    next[0] = '\0'; // may be `after`
    int status = fields_call_finish(&call, STORE_LIST, 0, &fields);
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
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, STORE_FIELD_QUERY, query);
    if (limit)
        fields_call_number(&call, STORE_FIELD_LIMIT, limit);
    int status = fields_call_finish(&call, STORE_SEARCH, 0, &fields);
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
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, STORE_FIELD_NAME, name);
    if (offset)
        fields_call_number(&call, STORE_FIELD_OFFSET, *offset);
    fields_call_bytes(&call, STORE_FIELD_DATA, data ? data : "", length);
    return fields_call_finish(&call, STORE_PUT, 0, &fields);
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
    struct fields_call call = fields_call_start(port);
    fields_call_text(&call, STORE_FIELD_NAME, name);
    return fields_call_finish(&call, STORE_DELETE, 0, &fields);
}
