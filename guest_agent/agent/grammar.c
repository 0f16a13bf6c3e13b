// SPDX-License-Identifier: Apache-2.0
// The actions that can be written: one JSON object for each tool, after its schema.

#include "grammar.h"

#include <string.h>

static bool append(struct grammar *grammar, struct grammar_text *text, const char *bytes,
                   size_t length)
{
    if (length > sizeof(grammar->text) - grammar->used) {
        return false;
    }
    memcpy(grammar->text + grammar->used, bytes, length);
    if (text->length == 0) {
        text->offset = (uint16_t)grammar->used;
    }
    text->length = (uint16_t)(text->length + length);
    grammar->used += (uint32_t)length;
    return true;
}

static bool is_name(const char *name, size_t length)
{
    if (length == 0 || length > GRAMMAR_NAME_BYTES) {
        return false;
    }
    for (size_t index = 0; index < length; index++) {
        if (name[index] < ' ' || name[index] > '~' || name[index] == '"' || name[index] == '\\') {
            return false;
        }
    }
    return true;
}

static bool is_there(const struct grammar *grammar, const char *name, size_t length)
{
    for (uint32_t index = 0; index < grammar->tool_count; index++) {
        const struct grammar_text *have = &grammar->tools[index].name;
        if (have->length == length && memcmp(grammar->text + have->offset, name, length) == 0) {
            return true;
        }
    }
    return false;
}

struct grammar_tool *grammar_add(struct grammar *grammar, const char *name, size_t length)
{
    static const char before[] = "{\"tool\":\"";
    static const char after[] = "\",\"arguments\":";
    if (grammar->tool_count == GRAMMAR_TOOLS || !is_name(name, length) ||
        is_there(grammar, name, length)) {
        return NULL;
    }
    struct grammar_tool *tool = &grammar->tools[grammar->tool_count++];
    *tool = (struct grammar_tool){0};
    if (!append(grammar, &tool->start, before, sizeof(before) - 1)) {
        grammar_drop(grammar);
        return NULL;
    }
    tool->name = (struct grammar_text){(uint16_t)grammar->used, (uint16_t)length};
    if (!append(grammar, &tool->start, name, length) ||
        !append(grammar, &tool->start, after, sizeof(after) - 1)) {
        grammar_drop(grammar);
        return NULL;
    }
    tool->arguments = tool->start.length;
    return tool;
}

/* The literal that is being extended: the one behind the last value, or the start. */
static struct grammar_text *last_literal(struct grammar *grammar)
{
    struct grammar_tool *tool = &grammar->tools[grammar->tool_count - 1];
    return tool->value_count == 0 ? &tool->start : &tool->values[tool->value_count - 1].behind;
}

bool grammar_add_value(struct grammar *grammar, const char *key, size_t length,
                       enum grammar_kind kind)
{
    struct grammar_tool *tool = &grammar->tools[grammar->tool_count - 1];
    struct grammar_text *literal = last_literal(grammar);
    if (tool->value_count == GRAMMAR_VALUES || !is_name(key, length) ||
        !append(grammar, literal, tool->value_count == 0 ? "{\"" : ",\"", 2) ||
        !append(grammar, literal, key, length) || !append(grammar, literal, "\":", 2)) {
        return false;
    }
    struct grammar_value *value = &tool->values[tool->value_count++];
    *value = (struct grammar_value){.kind = kind};
    return true;
}

bool grammar_add_choice(struct grammar *grammar, const char *literal, size_t length)
{
    struct grammar_tool *tool = &grammar->tools[grammar->tool_count - 1];
    struct grammar_value *value = &tool->values[tool->value_count - 1];
    if (value->choice_count == GRAMMAR_CHOICES || length == 0 || length > GRAMMAR_STRING_BYTES) {
        return false;
    }
    return append(grammar, &value->choices[value->choice_count++], literal, length);
}

bool grammar_finish(struct grammar *grammar)
{
    const struct grammar_tool *tool = &grammar->tools[grammar->tool_count - 1];
    bool empty = tool->value_count == 0;
    return append(grammar, last_literal(grammar), empty ? "{}}" : "}}", empty ? 3 : 2);
}

void grammar_drop(struct grammar *grammar)
{
    const struct grammar_tool *tool = &grammar->tools[--grammar->tool_count];
    if (tool->start.length > 0) {
        grammar->used = tool->start.offset;
    }
}

struct grammar_state grammar_start(const struct grammar *grammar)
{
    return (struct grammar_state){
        .alive = grammar->tool_count == 32 ? UINT32_MAX : (1u << grammar->tool_count) - 1,
        .tool = GRAMMAR_TOOLS,
        .done = grammar->tool_count == 0,
    };
}

/* No start of a tool begins another one: the names differ, and a quote ends them. */
static bool step_start(const struct grammar *grammar, struct grammar_state *state, char byte)
{
    uint32_t alive = 0;
    for (uint32_t index = 0; index < grammar->tool_count; index++) {
        const struct grammar_text *start = &grammar->tools[index].start;
        if ((state->alive >> index & 1) == 0 || state->offset >= start->length ||
            grammar->text[start->offset + state->offset] != byte) {
            continue;
        }
        alive |= 1u << index;
        if (state->offset + 1 == start->length) {
            state->tool = index;
        }
    }
    state->alive = alive;
    state->offset++;
    if (state->tool != GRAMMAR_TOOLS) {
        state->offset = 0;
        state->possible = UINT32_MAX;
        state->done = grammar->tools[state->tool].value_count == 0;
    }
    return alive != 0;
}

static void end_value(struct grammar_state *state)
{
    state->behind = true;
    state->offset = 0;
}

static bool step_behind(const struct grammar *grammar, struct grammar_state *state, char byte)
{
    const struct grammar_tool *tool = &grammar->tools[state->tool];
    const struct grammar_text *literal = &tool->values[state->value].behind;
    if (grammar->text[literal->offset + state->offset] != byte) {
        return false;
    }
    if (++state->offset == literal->length) {
        state->done = ++state->value == tool->value_count;
        state->behind = false;
        state->offset = 0;
        state->possible = UINT32_MAX;
        state->zero = false;
        state->negative = false;
    }
    return true;
}

static bool step_string(struct grammar_state *state, char byte)
{
    bool quote = byte == '"';
    if (state->offset == 0) {
        state->offset = 1;
        return quote;
    }
    if (state->escaped) {
        state->escaped = false;
        state->offset++;
        return byte != '\0' && strchr("\"\\/bfnrt", byte) != NULL;
    }
    if (quote) {
        end_value(state);
        return true;
    }
    state->escaped = byte == '\\';
    state->offset++;
    return byte >= ' ' && byte <= '~' && state->offset + state->escaped <= GRAMMAR_STRING_BYTES + 1;
}

static bool step_number(const struct grammar *grammar, struct grammar_state *state, char byte)
{
    if (byte >= '0' && byte <= '9') {
        bool fits = !state->zero && state->offset < GRAMMAR_DIGITS;
        state->zero = state->offset == 0 && byte == '0';
        state->offset++;
        return fits;
    }
    if (state->offset == 0) {
        bool sign = byte == '-' && !state->negative;
        state->negative = true;
        return sign;
    }
    end_value(state);
    return step_behind(grammar, state, byte);
}

/* Choices are complete JSON values: none begins another one, but for numbers. The longest that
 * fits is not looked for; a choice ends as soon as it is one. */
static bool step_choice(const struct grammar *grammar, struct grammar_state *state, char byte)
{
    const struct grammar_value *value = &grammar->tools[state->tool].values[state->value];
    uint32_t possible = 0;
    bool complete = false;
    for (uint32_t index = 0; index < value->choice_count; index++) {
        const struct grammar_text *choice = &value->choices[index];
        if ((state->possible >> index & 1) != 0 && state->offset < choice->length &&
            grammar->text[choice->offset + state->offset] == byte) {
            possible |= 1u << index;
            complete = complete || state->offset + 1 == choice->length;
        }
    }
    state->possible = possible;
    state->offset++;
    if (complete) {
        end_value(state);
    }
    return possible != 0;
}

bool grammar_step(const struct grammar *grammar, struct grammar_state *state, char byte)
{
    if (state->done) {
        return false;
    }
    if (state->tool == GRAMMAR_TOOLS) {
        return step_start(grammar, state, byte);
    }
    if (state->behind) {
        return step_behind(grammar, state, byte);
    }
    switch (grammar->tools[state->tool].values[state->value].kind) {
    case GRAMMAR_STRING:
        return step_string(state, byte);
    case GRAMMAR_NUMBER:
        return step_number(grammar, state, byte);
    case GRAMMAR_CHOICE:
    default:
        return step_choice(grammar, state, byte);
    }
}
