// SPDX-License-Identifier: Apache-2.0
// Fuzzes schemas of tools' arguments: two lines, a schema and a value, as anybody may write them.
// What is accepted as one's own schema is accepted as that of others and decides the same, every
// refusal has a printable reason, and nothing is decided twice differently.
#include <stdlib.h>
#include <string.h>

#include "json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void check(const struct json_document *schema, struct json_object *value)
{
    const struct json_place place = json_document_root(schema);
    struct error err = {0};
    char why[100];
    char again[100];
    int own = json_schema_check(&place, JSON_SCHEMA_OWN, &err);
    int others = json_schema_check(&place, JSON_SCHEMA_OTHERS, &err);
    require_that(own < 0 || others == 0);
    if (others < 0) {
        require_that(err.text[0]);
        return;
    }
    memset(why, 1, sizeof(why));
    bool fits = json_schema_matches(schema->root, value, why, sizeof(why));
    require_that(fits == json_schema_matches(schema->root, value, again, sizeof(again)));
    if (fits)
        return;
    size_t length = strnlen(why, sizeof(why));
    require_that(length && length < sizeof(why));
    for (size_t i = 0; i < length; i++)
        require_that(why[i] >= 0x20 && why[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_document schema;
    struct json_document value;
    struct error err = {0};
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    if (!end)
        return 0;
    size_t length = (size_t)(end - data);
    if (json_document_parse_fractions(&schema, "schema", (const char *)data, length, 1 << 16, &err))
        return 0;
    if (json_document_parse_fractions(&value, "value", (const char *)end + 1, size - length - 1,
                                      1 << 16, &err) == 0) {
        check(&schema, value.root);
        json_document_free(&value);
    }
    json_document_free(&schema);
    return 0;
}
