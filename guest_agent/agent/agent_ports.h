// SPDX-License-Identifier: Apache-2.0
// What the agent can reach: a store of documents and tools, in a cell or in a test.

#ifndef AGENT_PORTS_H
#define AGENT_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_SEARCH_LIMIT      8     /* names that a search returns; scripts/agent_corpus.py too */
#define AGENT_OBSERVATION_BYTES 480   /* longest observation; scripts/agent_corpus.py too */
#define AGENT_TOOL_LIST_BYTES   65536 /* longest part of the list of tools */

/* How a call ended. All but the first become observations that say so. */
enum agent_result {
    AGENT_DONE,
    AGENT_DENIED,  /* by policy, the isolation level or an operator */
    AGENT_MISSING, /* there is no such object */
    AGENT_FAILED,
};

/* A buffer that a port fills: bytes that others wrote, to be believed in nothing. */
struct agent_text {
    char *bytes;
    size_t size;   /* of the buffer */
    size_t length; /* bytes in it */
};

/* The calls wait for their reply. Texts are not terminated; what does not fit is cut. */
struct agent_ports {
    bool has_store;
    bool has_tools;

    /* Names of objects that have a word of the query, best first, with a space between two. */
    enum agent_result (*search)(const char *query, size_t length, struct agent_text *reply);

    /* The first bytes of an object. */
    enum agent_result (*get)(const char *name, size_t length, struct agent_text *reply);

    /* Some of the tools, from the index `first` on: a JSON array, none behind the last tool. Each
     * is an object as in MCP's tools/list. */
    enum agent_result (*list)(uint32_t first, struct agent_text *reply);

    /* What a tool returned, as text. `arguments` is a JSON object. */
    enum agent_result (*call)(const char *tool, size_t tool_length, const char *arguments,
                              size_t arguments_length, struct agent_text *reply);
};

/* Connects to what there is. Returns static storage, or NULL with *why set to a message if
 * something is there but unusable. One of: agent_ports_cell.c, agent_ports_host.c. */
const struct agent_ports *agent_ports_open(const char **why);

/* Appends to a text what fits. */
void agent_text_append(struct agent_text *text, const char *bytes, size_t length);

/* Writes the text in the result of a call at a tool port, {"content":TEXT,"isError":BOOLEAN}, to
 * *reply, as far as it fits. Returns AGENT_FAILED if the result is nothing such, or is marked as an
 * error. */
enum agent_result agent_read_tool_result(const char *json, size_t length, struct agent_text *reply);

#endif
