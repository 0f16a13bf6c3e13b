// SPDX-License-Identifier: Apache-2.0
// A subset of JSON Schema, for arguments of tools: what a value may be.
//
// type (a name or several), properties, required, additionalProperties (boolean), enum, const,
// minimum, maximum, minLength, maxLength, items, minItems, maxItems, description, title.
//
// An object has no members but those that `properties` names, unless additionalProperties says so
// (in JSON Schema that is the other way round). An integer with a fraction of zero is no integer.
#ifndef BASE_JSON_SCHEMA_H
#define BASE_JSON_SCHEMA_H

#include <stdbool.h>

#include "json_text.h"

#define JSON_SCHEMA_DEPTH 16u

enum json_schema_origin {
    JSON_SCHEMA_OWN,    // other keywords are refused: whoever wrote one relies on it
    JSON_SCHEMA_OTHERS, // other keywords are passed over: what they demand is their owner's to
                        // check
};

// Checks a schema. Errors name the place. Returns 0 or -1.
int json_schema_check(const struct json_place *schema, enum json_schema_origin origin,
                      struct error *err);

// True if a value fits a schema that json_schema_check has accepted. If not, `why` says what does
// not, printable.
bool json_schema_matches(struct json_object *schema, struct json_object *value, char *why,
                         size_t size);

#endif
