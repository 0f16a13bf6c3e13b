// SPDX-License-Identifier: Apache-2.0
// Structured payloads, shared with guests: fields with a number, one behind the other.
//
// Requests and replies of store, http and tool ports are made of these, so that policy, backend and
// guest find the same field at the same place without a parser. Little-endian.
#ifndef BASE_PORT_FIELDS_ABI_H
#define BASE_PORT_FIELDS_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// `length` bytes follow, then zeros up to a multiple of 8. Numbers ascend: no field comes twice.
struct port_field_header {
    uint32_t number; // 1 to PORT_FIELDS - 1
    uint32_t length;
};
_Static_assert(sizeof(struct port_field_header) == 8, "ABI");

#define PORT_FIELDS 16u

struct port_field {
    const uint8_t *bytes; // NULL: not there
    uint32_t length;
};

// All fields of a payload, by number.
struct port_fields {
    struct port_field field[PORT_FIELDS];
};

static inline uint64_t port_field_size(uint64_t length)
{
    return sizeof(struct port_field_header) + (length + 7) / 8 * 8;
}

// Finds the fields of a payload that nobody changes meanwhile. They point into it. Returns false if
// it is not made of fields, whole and in order, or if padding is not zero.
static inline bool port_fields_read(struct port_fields *fields, const uint8_t *payload,
                                    uint32_t length)
{
    uint32_t last = 0;
    __builtin_memset(fields, 0, sizeof(*fields));
    for (uint32_t at = 0; at < length;) {
        struct port_field_header header;
        if (length - at < sizeof(header))
            return false;
        __builtin_memcpy(&header, payload + at, sizeof(header));
        uint64_t size = port_field_size(header.length);
        if (header.number <= last || header.number >= PORT_FIELDS || size > length - at)
            return false;
        const uint8_t *bytes = payload + at + sizeof(header);
        for (uint64_t i = header.length; i < size - sizeof(header); i++) {
            if (bytes[i])
                return false;
        }
        fields->field[header.number] = (struct port_field){bytes, header.length};
        last = header.number;
        at += (uint32_t)size;
    }
    return true;
}

// Appends a field at *used of a buffer of `size` bytes. Numbers have to ascend. Returns false, and
// appends nothing, if it does not fit.
static inline bool port_fields_append(uint8_t *buffer, uint64_t size, uint32_t *used,
                                      uint32_t number, const void *bytes, uint32_t length)
{
    const struct port_field_header header = {number, length};
    uint64_t needed = port_field_size(length);
    if (needed > size || *used > size - needed)
        return false;
    __builtin_memset(buffer + *used + needed - 8, 0, 8);
    __builtin_memcpy(buffer + *used, &header, sizeof(header));
    if (length)
        __builtin_memcpy(buffer + *used + sizeof(header), bytes, length);
    *used += (uint32_t)needed;
    return true;
}

// Numbers travel as text: decimal digits, no sign, no leading zero. Returns false for anything
// else, and for numbers of more than 64 bits.
static inline bool port_field_number(const struct port_field *field, uint64_t *value)
{
    *value = 0;
    if (!field->length || field->length > 20 || (field->bytes[0] == '0' && field->length > 1))
        return false;
    for (uint32_t i = 0; i < field->length; i++) {
        uint64_t digit = (uint64_t)field->bytes[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, digit, value))
            return false;
    }
    return true;
}

// Fields of a store's requests and replies.
enum store_field {
    STORE_FIELD_NAME = 1,   // of an object
    STORE_FIELD_OFFSET = 2, // number
    STORE_FIELD_BYTES = 3,  // number: of a range, of an object
    STORE_FIELD_QUERY = 4,  // words to search for
    STORE_FIELD_LIMIT = 5,  // number: most results
    STORE_FIELD_DATA = 6,
    STORE_FIELD_AFTER = 7, // a name: the list goes on behind it
};

// Fields of an http port's requests and replies.
enum http_field {
    HTTP_FIELD_METHOD = 1,
    HTTP_FIELD_SCHEME = 2,
    HTTP_FIELD_HOST = 3,    // in lower case; IPv6 without brackets
    HTTP_FIELD_PORT = 4,    // number
    HTTP_FIELD_PATH = 5,    // with the query
    HTTP_FIELD_HEADERS = 6, // "Name: value\n" each
    HTTP_FIELD_BODY = 7,
    HTTP_FIELD_STATUS = 8,  // number; of replies
    HTTP_FIELD_STREAM = 9,  // number; of replies: what HTTP_READ and HTTP_CLOSE name
    HTTP_FIELD_REASON = 10, // text; of replies: why there is no other
};

// Fields of a tool port's requests and replies.
enum tool_field {
    TOOL_FIELD_TOOL = 1,
    TOOL_FIELD_ARGUMENTS = 2, // a JSON object
    TOOL_FIELD_RESULT = 3,    // of replies: JSON
};

// Fields of a serve port's requests and replies.
enum serve_field {
    SERVE_FIELD_CALL = 1,        // number
    SERVE_FIELD_CLIENT = 2,      // number: what is kept of a call serves calls of this one only
    SERVE_FIELD_KIND = 3,        // "chat", or "text": one that the reply goes on with
    SERVE_FIELD_PARTS = 4,       // of a chat, "ROLE BYTES\n" for each message
    SERVE_FIELD_LIMIT = 5,       // number: tokens of the reply, at most
    SERVE_FIELD_TEMPERATURE = 6, // number: thousandths
    SERVE_FIELD_TOP_P = 7,       // number: thousandths
    SERVE_FIELD_SEED = 8,        // number
    SERVE_FIELD_TEXT = 9,        // of the messages, one behind the other; of the reply
    SERVE_FIELD_FINISH = 10,     // of an answer: "stop", "length", or "error" and TEXT says which
    SERVE_FIELD_PROMPT_TOKENS = 11, // number; of an answer
    SERVE_FIELD_REPLY_TOKENS = 12,  // number; of an answer
};

#endif
