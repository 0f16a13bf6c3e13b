// SPDX-License-Identifier: Apache-2.0
// A subset of JSON Schema, for arguments of tools: what a value may be. Whatever it does not know
// is refused when the schema is read, never passed over.
//
// type (one name), properties, required, additionalProperties (boolean; false if missing), enum,
// const, minimum, maximum (integers), minLength, maxLength, items, maxItems, description, title.
#ifndef BASE_JSON_SCHEMA_H
#define BASE_JSON_SCHEMA_H

#include <stdbool.h>

#include "json_text.h"

#define JSON_SCHEMA_DEPTH 16u

// Checks a schema. Errors name the place.
int json_schema_check(const struct json_place *schema, struct error *err);

// True if a value fits a schema that json_schema_check has accepted. If not, `why` says what does
// not, printable.
bool json_schema_matches(struct json_object *schema, struct json_object *value, char *why,
                         size_t size);

#endif
