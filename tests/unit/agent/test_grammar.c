// SPDX-License-Identifier: Apache-2.0
// Tests of the agent's grammar and of the reading of tools' schemas.

#include "agent_ports.h"
#include "json_reader.h"
#include "tool_list.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char offered[] =
    "[{\"name\":\"get-sum\",\"description\":\"adds \\\"numbers\\\" "
    "}]\",\"inputSchema\":{"
    "\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"},\"note\":{\"type\":\"object\"}"
    ","
    "\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"]}},"
    "{\"name\":\"get-sums\",\"inputSchema\":{\"type\":\"object\"}},"
    "{\"name\":\"echo\",\"inputSchema\":{\"properties\":{\"message\":{\"type\":\"string\"}},"
    "\"required\":[\"message\"]}},"
    "{\"name\":\"weather\",\"inputSchema\":{\"properties\":{\"location\":{\"type\":\"string\","
    "\"enum\":[\"New York\",\"Newark\"]},\"now\":{\"type\":\"boolean\"}},"
    "\"required\":[\"now\",\"location\"]}},"
    "{\"name\":\"nested\",\"inputSchema\":{\"properties\":{\"x\":{\"type\":\"object\"}},"
    "\"required\":[\"x\"]}},"
    "{\"name\":\"undescribed\",\"inputSchema\":{\"properties\":{},\"required\":[\"x\"]}},"
    "{\"name\":\"search\",\"inputSchema\":{}},{\"name\":\"bad\\\"name\",\"inputSchema\":{}},"
    "{\"name\":\"\",\"inputSchema\":{}}, 7]";

static struct tool_list *make_list(void)
{
    static struct tool_list list;
    memset(&list, 0, sizeof(list));
    tool_list_add_store(&list);
    cr_assert_eq(tool_list_add_json(&list, offered, sizeof(offered) - 1), 10);
    return &list;
}

/* How many bytes of the text can be written, and whether it is an action then. */
static size_t write_text(const struct grammar *grammar, const char *text, bool *done)
{
    struct grammar_state state = grammar_start(grammar);
    size_t written = 0;
    while (text[written] != '\0' && grammar_step(grammar, &state, text[written])) {
        written++;
    }
    *done = text[written] == '\0' && state.done;
    return written;
}

static bool is_action(const char *text)
{
    bool done;
    write_text(&make_list()->grammar, text, &done);
    return done;
}

Test(grammar, takes_what_the_schemas_say)
{
    static const char *const actions[] = {
        "{\"tool\":\"search\",\"arguments\":{\"query\":\"Vel Tosk\"}}",
        "{\"tool\":\"get\",\"arguments\":{\"name\":\"\"}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":0,\"b\":-17}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":123456789012345,\"b\":1}}",
        "{\"tool\":\"get-sums\",\"arguments\":{}}",
        "{\"tool\":\"echo\",\"arguments\":{\"message\":\"a \\\"b\\\" \\\\ {}\"}}",
        "{\"tool\":\"weather\",\"arguments\":{\"location\":\"Newark\",\"now\":false}}",
        "{\"tool\":\"weather\",\"arguments\":{\"location\":\"New York\",\"now\":true}}",
    };
    for (size_t index = 0; index < sizeof(actions) / sizeof(actions[0]); index++) {
        cr_assert(is_action(actions[index]), "%s", actions[index]);
    }
}

Test(grammar, refuses_everything_else)
{
    static const char *const texts[] = {
        "",
        "{\"tool\":\"get-sum\"",
        "{\"tool\":\"delete\",\"arguments\":{}}",
        "{\"tool\": \"get\",\"arguments\":{\"name\":\"x\"}}",
        "{\"tool\":\"get\",\"arguments\":{\"names\":\"x\"}}",
        "{\"tool\":\"get\",\"arguments\":{\"name\":7}}",
        "{\"tool\":\"get\",\"arguments\":{\"name\":\"x\"}}}",
        "{\"tool\":\"get\",\"arguments\":{\"name\":\"x\",\"more\":\"y\"}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"b\":1,\"a\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":01,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":-,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":--1,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":1.5,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":1234567890123456,\"b\":2}}",
        "{\"tool\":\"get-sum\",\"arguments\":{\"a\":\"1\",\"b\":2}}",
        "{\"tool\":\"echo\",\"arguments\":{\"message\":\"a\\x\"}}",
        "{\"tool\":\"echo\",\"arguments\":{\"message\":\"a\nb\"}}",
        "{\"tool\":\"echo\",\"arguments\":{\"message\":\"\xc3\xa9\"}}",
        "{\"tool\":\"weather\",\"arguments\":{\"location\":\"Boston\",\"now\":true}}",
        "{\"tool\":\"weather\",\"arguments\":{\"location\":\"New\",\"now\":true}}",
        "{\"tool\":\"nested\",\"arguments\":{}}",
        "{\"tool\":\"undescribed\",\"arguments\":{}}",
    };
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        cr_assert_not(is_action(texts[index]), "%s", texts[index]);
    }
}

Test(grammar, skips_and_counts_what_it_cannot_express)
{
    const struct tool_list *list = make_list();
    cr_assert_eq(list->grammar.tool_count, 6); /* search, get, get-sum, get-sums, echo, weather */
    cr_assert_eq(list->skipped, 6);
    cr_assert_eq(list->actions[0], ACTION_SEARCH); /* the store's, not the tool of that name */
    cr_assert_eq(list->actions[5], ACTION_CALL);
}

Test(grammar, bounds_strings)
{
    char text[512] = "{\"tool\":\"echo\",\"arguments\":{\"message\":\"";
    size_t start = strlen(text);
    bool done;
    memset(text + start, 'a', 300);
    cr_assert_eq(write_text(&make_list()->grammar, text, &done), start + GRAMMAR_STRING_BYTES);
    memset(text + start, '\\', 300); /* pairs of them are escapes */
    cr_assert_eq(write_text(&make_list()->grammar, text, &done), start + GRAMMAR_STRING_BYTES);
}

/* Whatever is written under the grammar at random ends, and is what another reader of JSON finds to
 * be an action. */
Test(grammar, random_actions_are_json)
{
    const struct grammar *grammar = &make_list()->grammar;
    unsigned seed = 5;
    for (unsigned round = 0; round < 2000; round++) {
        struct grammar_state state = grammar_start(grammar);
        char text[1024];
        size_t length = 0;
        while (!state.done) {
            char allowed[256];
            size_t count = 0;
            for (unsigned byte = 0; byte < 256; byte++) {
                struct grammar_state trial = state;
                if (grammar_step(grammar, &trial, (char)byte)) {
                    allowed[count++] = (char)byte;
                }
            }
            cr_assert_gt(count, 0, "stuck behind %.*s", (int)length, text);
            cr_assert_lt(length, sizeof(text) - 1);
            text[length] = allowed[(unsigned)rand_r(&seed) % count];
            cr_assert(grammar_step(grammar, &state, text[length++]));
        }
        text[length] = '\0';
        struct json_object *action = json_tokener_parse(text);
        struct json_object *tool;
        struct json_object *arguments;
        cr_assert_not_null(action, "%s", text);
        cr_assert(json_object_object_get_ex(action, "tool", &tool));
        cr_assert(json_object_object_get_ex(action, "arguments", &arguments));
        cr_assert(json_object_is_type(arguments, json_type_object));
        const struct grammar_text *name = &grammar->tools[state.tool].name;
        cr_assert_eq(json_object_get_string_len(tool), name->length);
        cr_assert_arr_eq(json_object_get_string(tool), grammar->text + name->offset, name->length);
        json_object_put(action);
    }
}

Test(tool_list, holds_as_many_tools_as_fit)
{
    static struct tool_list list;
    char json[8192] = "[";
    for (unsigned index = 0; index < 60; index++) {
        size_t used = strlen(json);
        snprintf(json + used, sizeof(json) - used, "%s{\"name\":\"tool%u\",\"inputSchema\":{}}",
                 index == 0 ? "" : ",", index);
    }
    strcat(json, "]");
    cr_assert_eq(tool_list_add_json(&list, json, strlen(json)), 60);
    cr_assert_eq(list.grammar.tool_count, GRAMMAR_TOOLS);
    cr_assert_eq(list.skipped, 60 - GRAMMAR_TOOLS);
}

Test(tool_list, refuses_what_is_no_list)
{
    static struct tool_list list;
    static const char *const texts[] = {
        "", "{", "7", "{}", "{\"tools\":{}}", "[] []", "{\"tools\":[}"};
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        cr_assert_eq(tool_list_add_json(&list, texts[index], strlen(texts[index])), -1, "%s",
                     texts[index]);
    }
}

/* The reader takes a text if json-c does, for all texts that are one mutation away from a good
 * one, except for what it leaves to others: words and numbers. */
Test(json_reader, agrees_with_another_reader_about_structure)
{
    static const char good[] = "{\"a\":[1,{\"b\":\"x\\\"y\"},[]],\"c\":{},\"d\":\"\"}";
    static const char bytes[] = "{}[],:\"\\ 1";
    struct json_span whole;
    cr_assert(json_whole(good, sizeof(good) - 1, &whole));
    for (size_t at = 0; at < sizeof(good) - 1; at++) {
        for (size_t byte = 0; byte < sizeof(bytes) - 1; byte++) {
            char text[sizeof(good)];
            memcpy(text, good, sizeof(good));
            text[at] = bytes[byte];
            struct json_tokener *tokener = json_tokener_new();
            json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
            struct json_object *value = json_tokener_parse_ex(tokener, text, -1);
            bool valid = json_tokener_get_error(tokener) == json_tokener_success;
            json_object_put(value);
            json_tokener_free(tokener);
            cr_assert_eq(json_whole(text, strlen(text), &whole), valid, "%s", text);
        }
    }
}

Test(json_reader, bounds_depth)
{
    char text[2 * JSON_DEPTH + 3];
    struct json_span whole;
    memset(text, '[', JSON_DEPTH + 1);
    memset(text + JSON_DEPTH + 1, ']', JSON_DEPTH + 1);
    cr_assert_not(json_whole(text, (size_t)2 * JSON_DEPTH + 2, &whole));
    cr_assert(json_whole(text + 1, (size_t)2 * JSON_DEPTH, &whole));
}

static const char *decoded(const char *json, size_t size)
{
    static char text[64];
    size_t length;
    struct json_span whole;
    cr_assert(json_whole(json, strlen(json), &whole));
    cr_assert(json_string(whole, text, size, &length));
    text[length] = '\0';
    return text;
}

Test(json_reader, decodes_strings)
{
    cr_assert_str_eq(decoded("\"a\\n\\u0041\\u00e9\\ud83e\\udd8a\\\"\"", 63),
                     "a\nA\xc3\xa9\xf0\x9f\xa6\x8a\"");
    cr_assert_str_eq(decoded("\"\\ud83e!\\udd8a\"", 63), "?!?");
    cr_assert_str_eq(decoded("\"ab\xc3\xa9\"", 3), "ab"); /* cut between characters */
}

static const char *tool_text(const char *json)
{
    static char bytes[32];
    struct agent_text reply = {bytes, sizeof(bytes) - 1, 0};
    if (agent_read_tool_result(json, strlen(json), &reply) != AGENT_DONE) {
        return "failed";
    }
    bytes[reply.length] = '\0';
    return bytes;
}

Test(tool_result, shows_the_text)
{
    cr_assert_str_eq(tool_text("{\"content\":\"Echo: <a>\",\"isError\":false}"), "Echo: <a>");
    cr_assert_str_eq(tool_text("{\"content\":\"[image]\\nx\"}"), "[image]\nx");
    cr_assert_str_eq(tool_text("{\"content\":\"\",\"isError\":false}"), "");
    cr_assert_str_eq(tool_text("{\"content\":\"x\",\"isError\":true}"), "failed");
    cr_assert_str_eq(tool_text("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}"), "failed");
    cr_assert_str_eq(tool_text("{}"), "failed");
    cr_assert_str_eq(tool_text("nonsense {"), "failed");
    cr_assert_str_eq(tool_text("{\"content\":\"0123456789012345678901234567890123456789\"}"),
                     "0123456789012345678901234567890");
}
