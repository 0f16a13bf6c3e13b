// SPDX-License-Identifier: Apache-2.0
// Prints canonical JSON.
#include "canonical_json.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/linkhash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"

#define INTEGER_MAX ((1ll << 53) - 1)

static void print_string(FILE *out, const char *text, size_t length)
{
    static const char escaped[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        const char *found = byte ? strchr(escaped, byte) : NULL;
        if (found)
            fprintf(out, "\\%c", letters[found - escaped]);
        else if (byte < 0x20)
            fprintf(out, "\\u%04x", byte);
        else
            fputc(byte, out);
    }
    fputc('"', out);
}

// The order of UTF-16 code units is that of bytes, except that U+E000 to U+FFFF come after what
// UTF-16 writes as surrogates: leading bytes 0xee and 0xef after 0xf0 to 0xf4.
static unsigned rank(unsigned char byte)
{
    return byte == 0xee || byte == 0xef ? byte + 0x10u : byte;
}

static int compare_keys(const void *a, const void *b)
{
    const unsigned char *x = *(const unsigned char *const *)a;
    const unsigned char *y = *(const unsigned char *const *)b;
    while (*x && *x == *y) {
        x++;
        y++;
    }
    return (int)rank(*x) - (int)rank(*y);
}

static int print_value(FILE *out, struct json_object *value, struct error *err);

static int print_object(FILE *out, struct json_object *object, struct error *err)
{
    size_t count = (size_t)json_object_object_length(object);
    cleanup_free const char **keys = calloc(count + 1, sizeof(*keys));
    size_t used = 0;
    if (!keys)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "canonical JSON");
    json_object_object_foreach(object, name, unused)
    {
        (void)unused;
        keys[used++] = name;
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    fputc('{', out);
    for (size_t i = 0; i < count; i++) {
        struct json_object *member = NULL;
        json_object_object_get_ex(object, keys[i], &member);
        if (i)
            fputc(',', out);
        print_string(out, keys[i], strlen(keys[i]));
        fputc(':', out);
        if (print_value(out, member, err) < 0)
            return -1;
    }
    fputc('}', out);
    return 0;
}

static int print_array(FILE *out, struct json_object *array, struct error *err)
{
    fputc('[', out);
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        if (i)
            fputc(',', out);
        if (print_value(out, json_object_array_get_idx(array, i), err) < 0)
            return -1;
    }
    fputc(']', out);
    return 0;
}

static int print_integer(FILE *out, struct json_object *value, struct error *err)
{
    // Both readers saturate, so that what does not fit is out of the range too.
    int64_t number = json_object_get_int64(value);
    if (number > INTEGER_MAX || number < -INTEGER_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "an integer beyond 2^53 - 1 has no canonical form");
    fprintf(out, "%" PRId64, number);
    return 0;
}

static int print_value(FILE *out, struct json_object *value, struct error *err)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        fputs("null", out);
        return 0;
    case json_type_boolean:
        fputs(json_object_get_boolean(value) ? "true" : "false", out);
        return 0;
    case json_type_int:
        return print_integer(out, value, err);
    case json_type_string:
        print_string(out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
        return 0;
    case json_type_array:
        return print_array(out, value, err);
    case json_type_object:
        return print_object(out, value, err);
    case json_type_double:
    default:
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "only integers have a canonical form here");
    }
}

int canonical_json_print(struct json_object *value, char **text, size_t *length, struct error *err)
{
    cleanup_free char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "canonical JSON");
    int result = print_value(out, value, err);
    if (fclose(out) && result == 0)
        result = error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "canonical JSON");
    if (result < 0)
        return -1;
    *text = steal_pointer(&buffer);
    *length = size;
    return 0;
}

int canonical_json_check(const struct json_document *document, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length = 0;
    if (canonical_json_print(document->root, &text, &length, err) < 0)
        return error_wrap(err, "%s", document->name);
    size_t given = document->length;
    if (given && document->text[given - 1] == '\n')
        given--;
    size_t at = 0;
    while (at < given && at < length && document->text[at] == text[at])
        at++;
    if (at == given && at == length)
        return 0;
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     "%s: this is not the canonical form (RFC 8785) from byte %zu on: signatures "
                     "would be over another text; use the file as guillotine quorum wrote it",
                     document->name, at);
}

int canonical_field_uuid(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    return uuid_bytes_parse(text, (uint8_t *)target + place->field->offset)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "this is not a UUID in lower case");
}

int canonical_field_hex(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    size_t bytes = place->field->maximum;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    return hex_parse(text, (uint8_t *)target + place->field->offset, bytes)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "%zu hexadecimal digits in lower case are expected", 2 * bytes);
}

int canonical_field_text(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    size_t length = strlen(text);
    if (length < place->field->minimum || length >= place->field->maximum)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the text has %zu bytes, %zu to %zu are possible", length,
                           (size_t)place->field->minimum, (size_t)place->field->maximum - 1);
    memcpy((char *)target + place->field->offset, text, length + 1);
    return 0;
}

int canonical_read_format(const struct json_place *place, const char *format, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    return strcmp(text, format)
               ? json_refuse(place, JSON_PART_VALUE, err, "this reads format %s", format)
               : 0;
}
