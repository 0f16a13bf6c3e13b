// SPDX-License-Identifier: Apache-2.0
// Canonical JSON of signed documents.
#include "canonical_json.h"

#include <string.h>

#include "cleanup.h"
#include "hex.h"
#include "json_canonical.h"

int canonical_json_print(struct json_object *value, char **text, size_t *length, struct error *err)
{
    return json_canonical_print(value, JSON_NUMBERS_INTEGER, text, length, err);
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
