// SPDX-License-Identifier: Apache-2.0
// The actions that can be written: one JSON object for each tool, after its schema.

#ifndef AGENT_GRAMMAR_H
#define AGENT_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRAMMAR_TOOLS        32
#define GRAMMAR_VALUES       8     /* arguments of a tool */
#define GRAMMAR_CHOICES      16    /* values of an argument that is one of a list */
#define GRAMMAR_TEXT         16384 /* bytes of all literals */
#define GRAMMAR_STRING_BYTES 160   /* longest string that can be written, between its quotes */
#define GRAMMAR_DIGITS       15    /* longest number: every double holds that many */
#define GRAMMAR_NAME_BYTES   64    /* longest name of a tool or an argument */

enum grammar_kind {
    GRAMMAR_STRING, /* printable ASCII with JSON's short escapes */
    GRAMMAR_NUMBER, /* an integer, perhaps negative */
    GRAMMAR_CHOICE, /* one of several literals */
};

struct grammar_text {
    uint16_t offset; /* in grammar.text */
    uint16_t length; /* bytes */
};

struct grammar_value {
    enum grammar_kind kind;
    uint32_t choice_count;
    struct grammar_text choices[GRAMMAR_CHOICES];
    struct grammar_text behind; /* the literal that follows the value */
};

/* {"tool":"NAME","arguments":{"KEY": value ,"KEY": value }} */
struct grammar_tool {
    struct grammar_text start; /* all before the first value */
    struct grammar_text name;  /* inside `start` */
    uint16_t arguments;        /* offset of the arguments' brace inside `start` */
    uint32_t value_count;
    struct grammar_value values[GRAMMAR_VALUES];
};

struct grammar {
    struct grammar_tool tools[GRAMMAR_TOOLS];
    uint32_t tool_count;
    uint32_t used; /* bytes of text */
    char text[GRAMMAR_TEXT];
};

/* Where in an action a writer is; copied to try a token. */
struct grammar_state {
    uint32_t alive;    /* tools whose `start` begins like what is written, a bit each */
    uint32_t tool;     /* the tool, once `start` is complete, else GRAMMAR_TOOLS */
    uint32_t value;    /* index of the value that is written or was last */
    uint32_t offset;   /* bytes of the start, value or literal that are written */
    uint32_t possible; /* choices that begin like what is written, a bit each */
    bool behind;       /* in the literal behind the value */
    bool escaped;      /* in a string, behind a backslash */
    bool zero;         /* a number that starts with 0: no further digit */
    bool negative;     /* a number with a sign, which `offset` does not count */
    bool done;         /* the action is complete */
};

/* Adds a tool without arguments. `name` and every other name of `length` bytes has to be 1 to
 * GRAMMAR_NAME_BYTES bytes of printable ASCII without quotes and backslashes. Returns the tool, or
 * NULL if the name is not such, is there already, or if there is no room. A tool to which something
 * could not be added, and that shall not be used, is taken back with grammar_drop. */
struct grammar_tool *grammar_add(struct grammar *grammar, const char *name, size_t length);

/* Adds an argument to the tool that was added last. Of a GRAMMAR_CHOICE the choices, literal JSON,
 * follow with grammar_add_choice. Returns false if there is no room or the key is not a name. */
bool grammar_add_value(struct grammar *grammar, const char *key, size_t length,
                       enum grammar_kind kind);
bool grammar_add_choice(struct grammar *grammar, const char *literal, size_t length);

/* Completes the tool that was added last: nothing can be added to it any more. Returns false if
 * there is no room. */
bool grammar_finish(struct grammar *grammar);

/* Takes back the tool that was added last, finished or not. */
void grammar_drop(struct grammar *grammar);

struct grammar_state grammar_start(const struct grammar *grammar);

/* Writes a byte of an action. Returns false, with *state of no use any more, if no action goes on
 * like that. */
bool grammar_step(const struct grammar *grammar, struct grammar_state *state, char byte);

#endif
