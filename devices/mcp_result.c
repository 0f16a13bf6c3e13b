// SPDX-License-Identifier: Apache-2.0
// What a model gets of a server's answer to a call.
#include "mcp_result.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "mcp_offer.h"

static char *make(json_object *content, bool is_error)
{
    json_object *shown = json_object_new_object();
    json_object_object_add(shown, "content", content);
    json_object_object_add(shown, "isError", json_object_new_boolean(is_error));
    char *text = strdup(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(shown);
    return text;
}

char *mcp_result_of(const char *text, bool is_error)
{
    return make(json_object_new_string(text), is_error);
}

// Kinds of content that the protocol knows; a server's own words for others go nowhere.
static const char *known_kind(const char *kind)
{
    static const char *const kinds[] = {"image", "audio", "resource", "resource_link"};
    for (size_t i = 0; kind && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strcmp(kind, kinds[i]))
            return kinds[i];
    }
    return "unknown content";
}

static void write_part(FILE *out, json_object *part)
{
    const char *kind = mcp_member_text(part, "type");
    json_object *text;
    if (kind && !strcmp(kind, "text") && mcp_member_text(part, "text") &&
        json_object_object_get_ex(part, "text", &text))
        fwrite(json_object_get_string(text), 1, (size_t)json_object_get_string_len(text), out);
    else
        fprintf(out, "[%s]", known_kind(kind));
}

static char *join(json_object *content, bool is_error)
{
    cleanup_free char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    for (size_t i = 0; i < json_object_array_length(content); i++) {
        if (i)
            fputc('\n', out);
        write_part(out, json_object_array_get_idx(content, i));
    }
    if (fclose(out))
        return NULL;
    return make(json_object_new_string_len(text, (int)length), is_error);
}

char *mcp_result_make(struct json_object *message)
{
    json_object *result;
    json_object *content;
    json_object *failed = NULL;
    if (json_object_object_get_ex(message, "error", &result)) {
        const char *text = mcp_member_text(result, "message");
        return text ? mcp_result_of(text, true) : NULL;
    }
    if (!json_object_object_get_ex(message, "result", &result) ||
        !json_object_is_type(result, json_type_object) ||
        !json_object_object_get_ex(result, "content", &content) ||
        !json_object_is_type(content, json_type_array) ||
        (json_object_object_get_ex(result, "isError", &failed) &&
         !json_object_is_type(failed, json_type_boolean)))
        return NULL;
    return join(content, failed && json_object_get_boolean(failed));
}
