// SPDX-License-Identifier: Apache-2.0
// A reader of JSON texts that were written elsewhere: spans inside the text, no tree, no memory.

#include "json_reader.h"

#include <stdint.h>
#include <string.h>

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
        at++;
    }
    return at;
}

/* Returns the byte behind the string that starts at `at`, or NULL. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"') {
            return at + 1;
        }
        if ((unsigned char)*at < 0x20) {
            return NULL;
        }
        if (*at == '\\' && (++at == end || *at == '\0' || strchr("\"\\/bfnrtu", *at) == NULL)) {
            return NULL;
        }
    }
    return NULL;
}

static const char *skip_word(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '-' ||
                        *at == '+' || *at == '.' || *at == 'E')) {
        at++;
    }
    return at > start ? at : NULL;
}

/* Where a scan stands inside an object or array. */
enum expect { EXPECT_VALUE, EXPECT_FIRST, EXPECT_KEY, EXPECT_FIRST_KEY, EXPECT_COMMA };

/* The objects and arrays around the place of a scan: their closing brackets. */
struct nest {
    char close[JSON_DEPTH];
    size_t depth;
};

/* Reads a key and its colon. Returns the byte behind them, or NULL. */
static const char *skip_key(const char *at, const char *end)
{
    if (*at != '"') {
        return NULL;
    }
    at = skip_string(at, end);
    if (at == NULL) {
        return NULL;
    }
    at = skip_space(at, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

/* Returns the byte behind the value that starts at `at`, or NULL if it is none: a loop instead of a
 * recursion, because the text decides the depth. */
static const char *skip_value(const char *at, const char *end)
{
    struct nest nest = {.depth = 0};
    enum expect expect = EXPECT_VALUE;

    for (;;) {
        at = skip_space(at, end);
        if (at == NULL || at == end) {
            return NULL;
        }
        if (expect == EXPECT_COMMA && *at == ',') {
            expect = nest.close[nest.depth - 1] == '}' ? EXPECT_KEY : EXPECT_VALUE;
            at++;
            continue;
        }
        if (nest.depth > 0 && *at == nest.close[nest.depth - 1] && expect != EXPECT_KEY &&
            expect != EXPECT_VALUE) {
            nest.depth--;
            at++;
        } else if (expect == EXPECT_COMMA) {
            return NULL;
        } else if (expect == EXPECT_KEY || expect == EXPECT_FIRST_KEY) {
            at = skip_key(at, end);
            expect = EXPECT_VALUE;
            if (at == NULL) {
                return NULL;
            }
            continue;
        } else if (*at == '{' || *at == '[') {
            if (nest.depth == JSON_DEPTH) {
                return NULL;
            }
            nest.close[nest.depth++] = *at == '{' ? '}' : ']';
            expect = *at == '{' ? EXPECT_FIRST_KEY : EXPECT_FIRST;
            at++;
            continue;
        } else {
            at = *at == '"' ? skip_string(at, end) : skip_word(at, end);
        }
        if (at == NULL || nest.depth == 0) {
            return at;
        }
        expect = EXPECT_COMMA;
    }
}

bool json_whole(const char *text, size_t length, struct json_span *value)
{
    const char *end = text + length;
    const char *start = skip_space(text, end);
    const char *behind = start < end ? skip_value(start, end) : NULL;

    *value = (struct json_span){0};
    if (behind == NULL || skip_space(behind, end) != end) {
        return false;
    }
    *value = (struct json_span){start, (size_t)(behind - start)};
    return true;
}

static struct json_walk start_walk(struct json_span value, char open, char close)
{
    if (value.length < 2 || value.text[0] != open) {
        return (struct json_walk){NULL, NULL, close, true};
    }
    return (struct json_walk){value.text + 1, value.text + value.length, close, true};
}

struct json_walk json_members(struct json_span value)
{
    return start_walk(value, '{', '}');
}

struct json_walk json_elements(struct json_span value)
{
    return start_walk(value, '[', ']');
}

/* Moves to the next key or element; false behind the last. */
static bool advance(struct json_walk *walk)
{
    if (walk->at == NULL) {
        return false;
    }
    walk->at = skip_space(walk->at, walk->end);
    if (!walk->first && walk->at < walk->end && *walk->at == ',') {
        walk->at = skip_space(walk->at + 1, walk->end);
    }
    walk->first = false;
    return walk->at < walk->end && *walk->at != walk->close;
}

bool json_next_element(struct json_walk *walk, struct json_span *value)
{
    if (!advance(walk)) {
        return false;
    }
    const char *behind = skip_value(walk->at, walk->end);
    if (behind == NULL) {
        return false;
    }
    *value = (struct json_span){walk->at, (size_t)(behind - walk->at)};
    walk->at = behind;
    return true;
}

bool json_next_member(struct json_walk *walk, struct json_span *key, struct json_span *value)
{
    if (!json_next_element(walk, key)) {
        return false;
    }
    walk->at = skip_space(walk->at, walk->end);
    if (walk->at == walk->end || *walk->at != ':') {
        return false;
    }
    walk->at = skip_space(walk->at + 1, walk->end);
    const char *behind = skip_value(walk->at, walk->end);
    if (behind == NULL) {
        return false;
    }
    *value = (struct json_span){walk->at, (size_t)(behind - walk->at)};
    walk->at = behind;
    return true;
}

struct json_span json_find(struct json_span object, const char *key)
{
    struct json_walk walk = json_members(object);
    struct json_span name;
    struct json_span value;
    while (json_next_member(&walk, &name, &value)) {
        if (json_is_string(name, key)) {
            return value;
        }
    }
    return (struct json_span){0};
}

static unsigned digit(char byte)
{
    return byte >= '0' && byte <= '9'   ? (unsigned)(byte - '0')
           : byte >= 'a' && byte <= 'f' ? (unsigned)(byte - 'a') + 10
           : byte >= 'A' && byte <= 'F' ? (unsigned)(byte - 'A') + 10
                                        : 16;
}

/* Reads the four digits of an escape; a value outside 16 bits if they are none. */
static uint32_t read_unit(const char *at, const char *end)
{
    uint32_t unit = 0;
    if (end - at < 4) {
        return UINT32_MAX;
    }
    for (size_t index = 0; index < 4; index++) {
        if (digit(at[index]) > 15) {
            return UINT32_MAX;
        }
        unit = unit * 16 + digit(at[index]);
    }
    return unit;
}

static size_t encode_character(uint32_t character, char *bytes)
{
    if (character < 0x80) {
        bytes[0] = (char)character;
        return 1;
    }
    size_t more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const unsigned char starts[] = {0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (char)(starts[more] | character >> (6 * more));
    for (size_t index = 1; index <= more; index++) {
        bytes[index] = (char)(0x80 | (character >> (6 * (more - index)) & 0x3f));
    }
    return more + 1;
}

/* Decodes the escape behind a backslash at *at, moves *at behind it, and returns the number of
 * bytes written to `bytes`. */
static size_t decode_escape(const char **at, const char *end, char *bytes)
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    char name = *(*at)++;
    if (name != 'u') {
        const char *known = name != '\0' ? strchr(names, name) : NULL;
        bytes[0] = known == NULL ? name : values[known - names];
        return 1;
    }
    uint32_t unit = read_unit(*at, end);
    if (unit == UINT32_MAX) {
        bytes[0] = '?';
        return 1;
    }
    *at += 4;
    if (unit >= 0xd800 && unit < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t second = read_unit(*at + 2, end);
        if (second >= 0xdc00 && second < 0xe000) {
            *at += 6;
            return encode_character(0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00), bytes);
        }
    }
    return encode_character(unit >= 0xd800 && unit < 0xe000 ? '?' : unit, bytes);
}

bool json_string(struct json_span value, char *buffer, size_t size, size_t *length)
{
    size_t used = 0;
    if (value.length < 2 || value.text[0] != '"') {
        return false;
    }
    const char *end = value.text + value.length - 1;
    for (const char *at = value.text + 1; at < end;) {
        char bytes[4];
        size_t count = 1;
        if (*at == '\\' && end - at >= 2) {
            at++;
            count = decode_escape(&at, end, bytes);
        } else {
            bytes[0] = *at++;
            while (count < 4 && at < end && ((unsigned char)*at & 0xc0) == 0x80 &&
                   ((unsigned char)bytes[0] & 0x80) != 0) {
                bytes[count++] = *at++;
            }
        }
        if (count > size - used) {
            break;
        }
        memcpy(buffer + used, bytes, count);
        used += count;
    }
    *length = used;
    return true;
}

bool json_is_string(struct json_span value, const char *text)
{
    size_t length = strlen(text);
    return value.length == length + 2 && value.text[0] == '"' &&
           memcmp(value.text + 1, text, length) == 0;
}

bool json_is_word(struct json_span value, const char *text)
{
    return value.length == strlen(text) && memcmp(value.text, text, value.length) == 0;
}
