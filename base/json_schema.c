// SPDX-License-Identifier: Apache-2.0
// A subset of JSON Schema, for arguments of tools.
#include "json_schema.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "escape.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const type_names[] = {"object", "array",   "string", "integer",
                                         "number", "boolean", "null"};

// Readers get this: of the schema that they read a part of.
struct level {
    enum json_schema_origin origin;
    unsigned depth;
};

static int check(const struct json_place *schema, const struct level *level, struct error *err);

static int read_type_name(const struct json_place *place, void *target, struct error *err)
{
    size_t index;
    (void)target;
    return json_read_name(place, type_names, COUNT(type_names), &index, err);
}

static int read_type(const struct json_place *place, void *target, struct error *err)
{
    return json_object_is_type(place->value, json_type_array)
               ? json_read_array(place, COUNT(type_names), read_type_name, target, err)
               : read_type_name(place, target, err);
}

static int read_schema(const struct json_place *place, void *target, struct error *err)
{
    const struct level *level = target;
    const struct level inner = {level->origin, level->depth + 1};
    return check(place, &inner, err);
}

static int read_properties(const struct json_place *place, void *target, struct error *err)
{
    if (json_expect(place, json_type_object, err))
        return -1;
    json_object_object_foreach(place->value, key, value)
    {
        struct json_place member;
        (void)value;
        if (!json_member(place, key, &member) || read_schema(&member, target, err))
            return -1;
    }
    return 0;
}

static int read_text(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    return json_read_text(place, &text, err);
}

static int read_required(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, SIZE_MAX, read_text, target, err);
}

static int read_any(const struct json_place *place, void *target, struct error *err)
{
    (void)place;
    (void)target;
    (void)err;
    return 0;
}

static int read_enum(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, SIZE_MAX, read_any, target, err);
}

// A schema of others may have one in its place, which then is not looked at.
static int read_additional(const struct json_place *place, void *target, struct error *err)
{
    const struct level *level = target;
    bool value;
    return level->origin == JSON_SCHEMA_OTHERS &&
                   json_object_is_type(place->value, json_type_object)
               ? 0
               : json_read_bool(place, &value, err);
}

static int read_number(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return json_object_is_type(place->value, json_type_double)
               ? 0
               : json_expect(place, json_type_int, err);
}

static int read_count(const struct json_place *place, void *target, struct error *err)
{
    uint64_t value;
    (void)target;
    return json_read_integer(place, 0, UINT32_MAX, &value, err);
}

static int check(const struct json_place *schema, const struct level *level, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "type", .read = read_type},
        {.key = "properties", .read = read_properties},
        {.key = "required", .read = read_required},
        {.key = "additionalProperties", .read = read_additional},
        {.key = "enum", .read = read_enum},
        {.key = "const", .read = read_any},
        {.key = "minimum", .read = read_number},
        {.key = "maximum", .read = read_number},
        {.key = "minLength", .read = read_count},
        {.key = "maxLength", .read = read_count},
        {.key = "items", .read = read_schema},
        {.key = "minItems", .read = read_count},
        {.key = "maxItems", .read = read_count},
        {.key = "description", .read = read_text},
        {.key = "title", .read = read_text},
    };
    struct level own = *level;
    if (level->depth > JSON_SCHEMA_DEPTH)
        return json_refuse(schema, JSON_PART_VALUE, err, "more than %u schemas inside each other",
                           JSON_SCHEMA_DEPTH);
    if (level->origin == JSON_SCHEMA_OWN)
        return json_read_object(schema, fields, COUNT(fields), &own, err);
    if (json_expect(schema, json_type_object, err))
        return -1;
    for (size_t i = 0; i < COUNT(fields); i++) {
        struct json_place member;
        if (json_member(schema, fields[i].key, &member) && fields[i].read(&member, &own, err))
            return -1;
    }
    return 0;
}

int json_schema_check(const struct json_place *schema, enum json_schema_origin origin,
                      struct error *err)
{
    const struct level top = {origin, 0};
    return check(schema, &top, err);
}

static const char *type_of(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_object:
        return "object";
    case json_type_array:
        return "array";
    case json_type_string:
        return "string";
    case json_type_int:
        return "integer";
    case json_type_double:
        return "number";
    case json_type_boolean:
        return "boolean";
    case json_type_null:
    default:
        return "null";
    }
}

static bool fails(char *why, size_t size, const char *what, const char *name)
{
    char safe[200];
    size_t length = strlen(name);
    escape_line(safe, sizeof(safe), name, length < 40 ? length : 40);
    snprintf(why, size, "%s%s%s", what, *name ? ": " : "", safe);
    return false;
}

static bool is_named(struct json_object *type, struct json_object *value)
{
    const char *wanted = json_object_get_string(type);
    const char *found = type_of(value);
    return !strcmp(wanted, found) || (!strcmp(wanted, "number") && !strcmp(found, "integer"));
}

static bool has_type(struct json_object *schema, struct json_object *value)
{
    struct json_object *type;
    if (!json_object_object_get_ex(schema, "type", &type))
        return true;
    if (!json_object_is_type(type, json_type_array))
        return is_named(type, value);
    for (size_t i = 0; i < json_object_array_length(type); i++) {
        if (is_named(json_object_array_get_idx(type, i), value))
            return true;
    }
    return false;
}

static bool is_allowed_value(struct json_object *schema, struct json_object *value)
{
    struct json_object *wanted;
    if (json_object_object_get_ex(schema, "const", &wanted) && !json_object_equal(wanted, value))
        return false;
    if (!json_object_object_get_ex(schema, "enum", &wanted))
        return true;
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        if (json_object_equal(json_object_array_get_idx(wanted, i), value))
            return true;
    }
    return false;
}

// A count of the schema; `otherwise` if it has none.
static int64_t count_of(struct json_object *schema, const char *key, int64_t otherwise)
{
    struct json_object *value;
    return json_object_object_get_ex(schema, key, &value) ? json_object_get_int64(value)
                                                          : otherwise;
}

// -1, 0 or 1, as `value` is less than, equal to or greater than `bound`; exact for two integers of
// 63 bits. Greater ones saturate on both sides.
static int compare(struct json_object *value, struct json_object *bound)
{
    if (json_object_is_type(value, json_type_int) && json_object_is_type(bound, json_type_int)) {
        int64_t a = json_object_get_int64(value);
        int64_t b = json_object_get_int64(bound);
        return (a > b) - (a < b);
    }
    double a = json_object_get_double(value);
    double b = json_object_get_double(bound);
    return (a > b) - (a < b);
}

static bool is_in_range(struct json_object *schema, struct json_object *value)
{
    struct json_object *bound;
    if (json_object_object_get_ex(schema, "minimum", &bound) && compare(value, bound) < 0)
        return false;
    return !json_object_object_get_ex(schema, "maximum", &bound) || compare(value, bound) <= 0;
}

// Characters, not bytes.
static int64_t text_length(struct json_object *value)
{
    const char *text = json_object_get_string(value);
    int64_t length = 0;
    for (int i = 0; i < json_object_get_string_len(value); i++)
        length += ((unsigned char)text[i] & 0xc0) != 0x80;
    return length;
}

static bool is_in_bounds(struct json_object *schema, struct json_object *value)
{
    int64_t length;
    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double:
        return is_in_range(schema, value);
    case json_type_string:
        length = text_length(value);
        return length >= count_of(schema, "minLength", 0) &&
               length <= count_of(schema, "maxLength", INT64_MAX);
    case json_type_array:
        length = (int64_t)json_object_array_length(value);
        return length >= count_of(schema, "minItems", 0) &&
               length <= count_of(schema, "maxItems", INT64_MAX);
    case json_type_object:
    case json_type_boolean:
    case json_type_null:
    default:
        return true;
    }
}

static bool members_fit(struct json_object *schema, struct json_object *value, char *why,
                        size_t size)
{
    struct json_object *properties = NULL;
    struct json_object *required;
    struct json_object *more;
    json_object_object_get_ex(schema, "properties", &properties);
    // One that is an object is of others, and not looked at.
    bool others = json_object_object_get_ex(schema, "additionalProperties", &more) &&
                  (json_object_is_type(more, json_type_object) || json_object_get_boolean(more));
    if (json_object_object_get_ex(schema, "required", &required)) {
        for (size_t i = 0; i < json_object_array_length(required); i++) {
            const char *key = json_object_get_string(json_object_array_get_idx(required, i));
            if (!json_object_object_get_ex(value, key, NULL))
                return fails(why, size, "a required member is missing", key);
        }
    }
    json_object_object_foreach(value, key, member)
    {
        struct json_object *own;
        if (properties && json_object_object_get_ex(properties, key, &own)) {
            if (!json_schema_matches(own, member, why, size))
                return false;
        } else if (!others) {
            return fails(why, size, "a member that is not granted", key);
        }
    }
    return true;
}

bool json_schema_matches(struct json_object *schema, struct json_object *value, char *why,
                         size_t size)
{
    struct json_object *items;
    if (!has_type(schema, value))
        return fails(why, size, "a value of another type than the granted one", type_of(value));
    if (!is_allowed_value(schema, value) || !is_in_bounds(schema, value))
        return fails(why, size, "a value that is not granted", "");
    if (json_object_is_type(value, json_type_object))
        return members_fit(schema, value, why, size);
    if (json_object_is_type(value, json_type_array) &&
        json_object_object_get_ex(schema, "items", &items)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (!json_schema_matches(items, json_object_array_get_idx(value, i), why, size))
                return false;
        }
    }
    return true;
}
