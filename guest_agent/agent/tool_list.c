// SPDX-License-Identifier: Apache-2.0
// From the tools that the ports offer to the grammar of actions.

#include "tool_list.h"

#include "json_reader.h"

#include <string.h>

static void add_store_action(struct tool_list *list, const char *name, const char *key,
                             enum agent_action action)
{
    struct grammar *grammar = &list->grammar;
    if (grammar_add(grammar, name, strlen(name)) == NULL) {
        return;
    }
    if (!grammar_add_value(grammar, key, strlen(key), GRAMMAR_STRING) || !grammar_finish(grammar)) {
        grammar_drop(grammar);
        return;
    }
    list->actions[grammar->tool_count - 1] = action;
}

void tool_list_add_store(struct tool_list *list)
{
    add_store_action(list, "search", "query", ACTION_SEARCH);
    add_store_action(list, "get", "name", ACTION_GET);
}

static bool is_required(struct json_span required, struct json_span key)
{
    struct json_walk walk = json_elements(required);
    struct json_span element;
    while (json_next_element(&walk, &element)) {
        if (element.length == key.length && memcmp(element.text, key.text, key.length) == 0) {
            return true;
        }
    }
    return false;
}

/* Adds the values of an enumeration of strings, as they stand in the schema. */
static bool add_choices(struct grammar *grammar, struct json_span values)
{
    struct json_walk walk = json_elements(values);
    struct json_span value;
    bool any = false;
    while (json_next_element(&walk, &value)) {
        if (value.text[0] != '"' || !grammar_add_choice(grammar, value.text, value.length)) {
            return false;
        }
        any = true;
    }
    return any;
}

static bool add_argument(struct grammar *grammar, struct json_span key, struct json_span schema)
{
    struct json_span type = json_find(schema, "type");
    struct json_span values = json_find(schema, "enum");
    const char *name = key.text + 1;
    size_t length = key.length - 2;

    if (values.length > 0) {
        return grammar_add_value(grammar, name, length, GRAMMAR_CHOICE) &&
               add_choices(grammar, values);
    }
    if (json_is_string(type, "boolean")) {
        return grammar_add_value(grammar, name, length, GRAMMAR_CHOICE) &&
               grammar_add_choice(grammar, "true", 4) && grammar_add_choice(grammar, "false", 5);
    }
    if (json_is_string(type, "string")) {
        return grammar_add_value(grammar, name, length, GRAMMAR_STRING);
    }
    return (json_is_string(type, "integer") || json_is_string(type, "number")) &&
           grammar_add_value(grammar, name, length, GRAMMAR_NUMBER);
}

/* Adds the required arguments in the order in which the schema describes them. */
static bool add_arguments(struct grammar *grammar, struct json_span schema)
{
    struct json_span required = json_find(schema, "required");
    struct json_walk walk = json_members(json_find(schema, "properties"));
    struct json_walk wanted = json_elements(required);
    struct json_span key;
    struct json_span value;
    uint32_t added = 0;

    while (json_next_member(&walk, &key, &value)) {
        if (is_required(required, key)) {
            if (!add_argument(grammar, key, value)) {
                return false;
            }
            added++;
        }
    }
    while (json_next_element(&wanted, &value)) { /* one that is not described cannot be written */
        if (added-- == 0) {
            return false;
        }
    }
    return added == 0;
}

static bool add_tool(struct tool_list *list, struct json_span tool)
{
    struct grammar *grammar = &list->grammar;
    char name[GRAMMAR_NAME_BYTES + 1]; /* one more: a name that is too long does not get in */
    size_t length;

    if (!json_string(json_find(tool, "name"), name, sizeof(name), &length) ||
        grammar_add(grammar, name, length) == NULL) {
        return false;
    }
    if (!add_arguments(grammar, json_find(tool, "inputSchema")) || !grammar_finish(grammar)) {
        grammar_drop(grammar);
        return false;
    }
    list->actions[grammar->tool_count - 1] = ACTION_CALL;
    return true;
}

int tool_list_add_json(struct tool_list *list, const char *json, size_t length)
{
    struct json_span tools;
    struct json_span tool;
    int count = 0;
    if (!json_whole(json, length, &tools) || tools.text[0] != '[') {
        return -1;
    }
    struct json_walk walk = json_elements(tools);
    while (json_next_element(&walk, &tool)) {
        list->skipped += add_tool(list, tool) ? 0 : 1;
        count++;
    }
    return count;
}
