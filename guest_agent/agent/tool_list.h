// SPDX-License-Identifier: Apache-2.0
// From the tools that the ports offer to the grammar of actions.

#ifndef AGENT_TOOL_LIST_H
#define AGENT_TOOL_LIST_H

#include "agent_ports.h"
#include "grammar.h"

/* What an action does. */
enum agent_action {
    ACTION_SEARCH, /* the store's, with one argument: query */
    ACTION_GET,    /* the store's, with one argument: name */
    ACTION_CALL,   /* the tool port's tool of that name */
};

/* Everything that the model may do: its actions, and the grammar they are written in. */
struct tool_list {
    struct grammar grammar;
    enum agent_action actions[GRAMMAR_TOOLS]; /* of each tool of the grammar */
    uint32_t skipped; /* tools that were offered, but that the grammar cannot express */
};

/* Adds the store's two actions. */
void tool_list_add_store(struct tool_list *list);

/* Adds the tools of a JSON array, with the arguments that their schemas require: strings,
 * integers and numbers (written as integers), booleans, and enumerations of strings. Others are
 * skipped, as are names that are there already. Returns how many tools, those included, the array
 * has, or -1 if the text is no array. */
int tool_list_add_json(struct tool_list *list, const char *json, size_t length);

#endif
