// SPDX-License-Identifier: Apache-2.0
// What a server says of a tool.
#include "mcp_offer.h"

#include <errno.h>
#include <json-c/json.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"
#include "json_canonical.h"

const char *mcp_member_text(struct json_object *object, const char *key)
{
    json_object *member;
    return json_object_is_type(object, json_type_object) &&
                   json_object_object_get_ex(object, key, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : NULL;
}

// What the model sees of a tool. The order of properties is the server's: it helps to read.
static char *describe(json_object *tool)
{
    static const char *const keys[] = {"name", "description", "inputSchema"};
    json_object *shown = json_object_new_object();
    json_object *member;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (json_object_object_get_ex(tool, keys[i], &member))
            json_object_object_add(shown, keys[i], json_object_get(member));
    }
    char *text = strdup(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(shown);
    return text;
}

int mcp_offer_take(struct mcp_offer *offer, struct json_object *tool, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    unsigned char hash[crypto_hash_sha256_BYTES];
    struct error ignored;
    const struct json_document document = {.name = "inputSchema", .text = ""};
    struct json_place place = {.document = &document};
    // All of it is pinned, also what the model does not see.
    if (json_canonical_print(tool, JSON_NUMBERS_DOUBLE, &text, &length, err) < 0)
        return -1;
    crypto_hash_sha256(hash, (const unsigned char *)text, length);
    hex_format(offer->digest, hash, sizeof(hash));
    offer->shown = describe(tool);
    if (!offer->shown)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "a tool");
    if (json_object_object_get_ex(tool, "inputSchema", &place.value) && place.value) {
        offer->schema = json_object_get(place.value);
        offer->checkable = json_schema_check(&place, JSON_SCHEMA_OTHERS, &ignored) == 0;
    }
    return 0;
}

void mcp_offer_free(struct mcp_offer *offer)
{
    free(offer->shown);
    json_object_put(offer->schema);
    *offer = (struct mcp_offer){0};
}
