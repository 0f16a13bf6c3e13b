// SPDX-License-Identifier: Apache-2.0
// A store's requests, decoded and checked.
#include "store_request.h"

#include <string.h>

#include "port_fields_abi.h"
#include "utf8.h"

#define BIT(field) (1u << (field))

// Fields that an operation needs, and those that it may have.
static const struct {
    uint32_t required;
    uint32_t permitted;
} field_rules[] = {
    [STORE_GET] = {BIT(STORE_FIELD_NAME), BIT(STORE_FIELD_OFFSET) | BIT(STORE_FIELD_BYTES)},
    [STORE_LIST] = {0, BIT(STORE_FIELD_NAME) | BIT(STORE_FIELD_LIMIT) | BIT(STORE_FIELD_AFTER)},
    [STORE_SEARCH] = {BIT(STORE_FIELD_QUERY), BIT(STORE_FIELD_LIMIT)},
    [STORE_PUT] = {BIT(STORE_FIELD_NAME) | BIT(STORE_FIELD_DATA), BIT(STORE_FIELD_OFFSET)},
    [STORE_DELETE] = {BIT(STORE_FIELD_NAME), 0},
};

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
}

// Whether the bytes can begin a name.
static bool is_prefix(const char *text, size_t length)
{
    if (!length || length > STORE_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!is_name_byte(text[i]))
            return false;
    }
    return true;
}

bool store_name_is_valid(const char *name, size_t length)
{
    if (!is_prefix(name, length))
        return false;
    for (size_t start = 0, i = 0; i <= length; i++) {
        if (i < length && name[i] != '/')
            continue;
        size_t part = i - start;
        if (!part || (part <= 2 && !memcmp(name + start, "..", part)))
            return false;
        start = i + 1;
    }
    return true;
}

bool store_is_text(const uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t n = utf8_length(bytes + at, length - at);
        if (!n || bytes[at] == 0x7f || (bytes[at] < ' ' && !memchr("\t\n\f\r", bytes[at], 4)))
            return false;
        at += n;
    }
    return true;
}

uint32_t store_query_compile(const uint8_t *query, uint32_t length,
                             char expression[STORE_EXPRESSION_SIZE])
{
    char *to = expression;
    unsigned words = 0;
    if (length > STORE_QUERY_MAX)
        return PORT_STATUS_TOO_LARGE;
    if (!store_is_text(query, length))
        return PORT_STATUS_INVALID;
    for (uint32_t at = 0; at < length;) {
        uint32_t end = at;
        while (end < length && query[end] > ' ')
            end++;
        if (end == at) {
            at++;
            continue;
        }
        if (end - at > STORE_WORD_MAX || words++ == STORE_WORDS_MAX)
            return PORT_STATUS_TOO_LARGE;
        to = words > 1 ? stpcpy(to, " OR \"") : stpcpy(to, "\"");
        for (; at < end; at++) {
            if (query[at] == '"')
                *to++ = '"';
            *to++ = (char)query[at];
        }
        *to++ = '"';
    }
    *to = '\0';
    return words ? PORT_STATUS_OK : PORT_STATUS_INVALID;
}

// Numbers that are not there leave the default.
static bool read_number(const struct port_field *field, uint64_t most, uint64_t *value)
{
    return !field->bytes || (port_field_number(field, value) && *value <= most);
}

static bool read_name(const struct port_field *field, bool prefix, char name[STORE_NAME_MAX + 1])
{
    const char *text = (const char *)field->bytes;
    if (!text)
        return true;
    if (!(prefix ? is_prefix(text, field->length) : store_name_is_valid(text, field->length)))
        return false;
    memcpy(name, text, field->length);
    name[field->length] = '\0';
    return true;
}

static bool has_right_fields(const struct port_fields *fields, uint32_t operation)
{
    uint32_t there = 0;
    for (uint32_t i = 1; i < PORT_FIELDS; i++)
        there |= fields->field[i].bytes ? BIT(i) : 0;
    uint32_t required = field_rules[operation].required;
    return (there & required) == required &&
           !(there & ~(required | field_rules[operation].permitted));
}

uint32_t store_request_decode(struct store_request *request, uint32_t operation,
                              const uint8_t *payload, uint32_t length)
{
    struct port_fields fields;
    if (operation < STORE_GET || operation > STORE_DELETE ||
        !port_fields_read(&fields, payload, length) || !has_right_fields(&fields, operation))
        return PORT_STATUS_INVALID;
    uint64_t limit = operation == STORE_SEARCH ? STORE_HITS_DEFAULT : STORE_LIMIT_DEFAULT;
    request->operation = operation;
    request->name[0] = request->after[0] = request->expression[0] = '\0';
    request->offset_given = fields.field[STORE_FIELD_OFFSET].bytes != NULL;
    request->offset = 0;
    request->bytes = UINT64_MAX;
    request->data = fields.field[STORE_FIELD_DATA].bytes;
    request->data_length = fields.field[STORE_FIELD_DATA].length;
    // Offsets are positions in SQLite's integers, which have a sign.
    if (!read_name(&fields.field[STORE_FIELD_NAME], operation == STORE_LIST, request->name) ||
        !read_name(&fields.field[STORE_FIELD_AFTER], false, request->after) ||
        !read_number(&fields.field[STORE_FIELD_OFFSET], INT64_MAX, &request->offset) ||
        !read_number(&fields.field[STORE_FIELD_BYTES], INT64_MAX, &request->bytes) ||
        !read_number(&fields.field[STORE_FIELD_LIMIT], STORE_LIMIT_MAX, &limit) || !limit)
        return PORT_STATUS_INVALID;
    request->limit = (uint32_t)limit;
    if (operation != STORE_SEARCH)
        return PORT_STATUS_OK;
    return store_query_compile(fields.field[STORE_FIELD_QUERY].bytes,
                               fields.field[STORE_FIELD_QUERY].length, request->expression);
}
