// SPDX-License-Identifier: Apache-2.0
// Prints canonical JSON.
#include "json_canonical.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/linkhash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define INTEGER_MAX ((1ll << 53) - 1)

// Digits that tell every double from its neighbours.
#define DOUBLE_DIGITS 17

struct printer {
    FILE *out;
    enum json_numbers numbers;
    struct error *err;
};

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

static int print_value(const struct printer *printer, struct json_object *value);

static int print_object(const struct printer *printer, struct json_object *object)
{
    size_t count = (size_t)json_object_object_length(object);
    cleanup_free const char **keys = calloc(count + 1, sizeof(*keys));
    size_t used = 0;
    if (!keys)
        return error_set(printer->err, EXIT_STATUS_RESOURCES, ENOMEM, "canonical JSON");
    json_object_object_foreach(object, name, unused)
    {
        (void)unused;
        keys[used++] = name;
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    fputc('{', printer->out);
    for (size_t i = 0; i < count; i++) {
        struct json_object *member = NULL;
        json_object_object_get_ex(object, keys[i], &member);
        if (i)
            fputc(',', printer->out);
        print_string(printer->out, keys[i], strlen(keys[i]));
        fputc(':', printer->out);
        if (print_value(printer, member) < 0)
            return -1;
    }
    fputc('}', printer->out);
    return 0;
}

static int print_array(const struct printer *printer, struct json_object *array)
{
    fputc('[', printer->out);
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        if (i)
            fputc(',', printer->out);
        if (print_value(printer, json_object_array_get_idx(array, i)) < 0)
            return -1;
    }
    fputc(']', printer->out);
    return 0;
}

// As ECMAScript writes a number: the fewest digits that are read as the same double.
static void print_double(FILE *out, double number)
{
    char text[DOUBLE_DIGITS + 16];
    char digits[DOUBLE_DIGITS + 1] = "";
    if (number == 0) { // also the negative one
        fputc('0', out);
        return;
    }
    int precision = 0;
    do
        snprintf(text, sizeof(text), "%.*e", precision, number);
    while (strtod(text, NULL) != number && ++precision < DOUBLE_DIGITS);
    int count = 0;
    for (const char *at = text; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9')
            digits[count++] = *at;
    }
    int point =
        (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1; // digits in front of the decimal point
    if (number < 0)
        fputc('-', out);
    if (count <= point && point <= 21)
        fprintf(out, "%.*s%.*s", count, digits, point - count, "000000000000000000000");
    else if (point > 0 && point < count)
        fprintf(out, "%.*s.%.*s", point, digits, count - point, digits + point);
    else if (point > -6 && point <= 0)
        fprintf(out, "0.%.*s%.*s", -point, "00000", count, digits);
    else
        fprintf(out, "%c%s%.*se%+d", digits[0], count > 1 ? "." : "", count - 1, digits + 1,
                point - 1);
}

static int print_number(const struct printer *printer, struct json_object *value)
{
    if (json_object_is_type(value, json_type_int)) {
        // Both readers saturate, so that what does not fit is out of the range too.
        int64_t number = json_object_get_int64(value);
        if (number <= INTEGER_MAX && number >= -INTEGER_MAX) {
            fprintf(printer->out, "%" PRId64, number);
            return 0;
        }
        if (printer->numbers == JSON_NUMBERS_INTEGER)
            return error_set(printer->err, EXIT_STATUS_BAD_FILE, 0,
                             "an integer beyond 2^53 - 1 has no canonical form");
        if (number < 0)
            print_double(printer->out, (double)number);
        else
            print_double(printer->out, (double)json_object_get_uint64(value));
        return 0;
    }
    if (printer->numbers == JSON_NUMBERS_INTEGER)
        return error_set(printer->err, EXIT_STATUS_BAD_FILE, 0,
                         "only integers have a canonical form here");
    print_double(printer->out, json_object_get_double(value));
    return 0;
}

static int print_value(const struct printer *printer, struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        fputs("null", printer->out);
        return 0;
    case json_type_boolean:
        fputs(json_object_get_boolean(value) ? "true" : "false", printer->out);
        return 0;
    case json_type_int:
    case json_type_double:
        return print_number(printer, value);
    case json_type_string:
        print_string(printer->out, json_object_get_string(value),
                     (size_t)json_object_get_string_len(value));
        return 0;
    case json_type_array:
        return print_array(printer, value);
    case json_type_object:
        return print_object(printer, value);
    default:
        return error_set(printer->err, EXIT_STATUS_INTERNAL, 0, "no type of JSON");
    }
}

int json_canonical_print(struct json_object *value, enum json_numbers numbers, char **text,
                         size_t *length, struct error *err)
{
    cleanup_free char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "canonical JSON");
    const struct printer printer = {out, numbers, err};
    int result = print_value(&printer, value);
    if (fclose(out) && result == 0)
        result = error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "canonical JSON");
    if (result < 0)
        return -1;
    *text = steal_pointer(&buffer);
    *length = size;
    return 0;
}
