// SPDX-License-Identifier: Apache-2.0
// Ports of the agent in a cell: a store port named "store", a tool port named "tool".

#include "agent_ports.h"
#include "grammar.h"

#include <guillotine/cell.h>
#include <guillotine/store.h>
#include <guillotine/tool.h>
#include <string.h>

static struct cell_port store;
static struct cell_port tool;
static char reply_bytes[1 << 16];

static size_t reply_room(const struct cell_port *port)
{
    size_t room = port->queue.reply_bytes;
    return room < sizeof(reply_bytes) ? room : sizeof(reply_bytes);
}

static enum agent_result result_of(int status)
{
    switch (status) {
    case PORT_STATUS_OK:
        return AGENT_DONE;
    case PORT_STATUS_DENIED:
    case PORT_STATUS_CLOSED:
        return AGENT_DENIED;
    case PORT_STATUS_NOT_FOUND:
        return AGENT_MISSING;
    default:
        return AGENT_FAILED;
    }
}

/* Several passages of an object come as several hits: its name is wanted once. */
static bool has_name(const struct agent_text *reply, const char *name, size_t length)
{
    for (size_t at = 0; at + length <= reply->length; at++) {
        bool begins = at == 0 || reply->bytes[at - 1] == ' ';
        bool ends = at + length == reply->length || reply->bytes[at + length] == ' ';
        if (begins && ends && memcmp(reply->bytes + at, name, length) == 0) {
            return true;
        }
    }
    return false;
}

static enum agent_result search(const char *query, size_t length, struct agent_text *reply)
{
    char text[GRAMMAR_STRING_BYTES + 1];
    struct cell_store_hit hit;
    size_t found;
    if (length >= sizeof(text)) {
        return AGENT_FAILED;
    }
    memcpy(text, query, length);
    text[length] = '\0';
    int status = cell_store_search(&store, text, AGENT_SEARCH_LIMIT, reply_bytes,
                                   reply_room(&store), &found);
    if (status == PORT_STATUS_INVALID) {
        return AGENT_DONE; /* a query without a word finds nothing */
    }
    if (status != PORT_STATUS_OK) {
        return result_of(status);
    }
    const char *at = reply_bytes;
    while (cell_store_next_hit(&at, reply_bytes + found, &hit) == 1) {
        size_t name_length = strlen(hit.name);
        if (!has_name(reply, hit.name, name_length)) {
            agent_text_append(reply, " ", reply->length > 0 ? 1 : 0);
            agent_text_append(reply, hit.name, name_length);
        }
    }
    return AGENT_DONE;
}

static enum agent_result get(const char *name, size_t length, struct agent_text *reply)
{
    char text[GRAMMAR_STRING_BYTES + 1];
    if (length >= sizeof(text)) {
        return AGENT_FAILED;
    }
    memcpy(text, name, length);
    text[length] = '\0';
    int status = cell_store_get(&store, text, 0, reply->bytes, reply->size, &reply->length, NULL);
    /* What cannot be a name is none of an object. */
    return status == PORT_STATUS_INVALID ? AGENT_MISSING : result_of(status);
}

static enum agent_result list(uint32_t first, struct agent_text *reply)
{
    const char *tools;
    size_t length;
    int status = cell_tool_list(&tool, first, &tools, &length);
    if (status == PORT_STATUS_OK) {
        agent_text_append(reply, tools, length);
    }
    return result_of(status);
}

static enum agent_result call(const char *name, size_t name_length, const char *arguments,
                              size_t arguments_length, struct agent_text *reply)
{
    char name_text[GRAMMAR_NAME_BYTES + 1];
    char arguments_text[1024];
    const char *returned;
    size_t length;
    if (name_length >= sizeof(name_text) || arguments_length >= sizeof(arguments_text)) {
        return AGENT_FAILED;
    }
    memcpy(name_text, name, name_length);
    name_text[name_length] = '\0';
    memcpy(arguments_text, arguments, arguments_length);
    arguments_text[arguments_length] = '\0';
    int status = cell_tool_call(&tool, name_text, arguments_text, &returned, &length);
    return status == PORT_STATUS_OK ? agent_read_tool_result(returned, length, reply)
                                    : result_of(status);
}

const struct agent_ports *agent_ports_open(const char **why)
{
    static struct agent_ports ports = {.search = search, .get = get, .list = list, .call = call};
    (void)why;
    ports.has_store = cell_port_open(&store, "store") == 0;
    ports.has_tools = cell_port_open(&tool, "tool") == 0;
    return &ports;
}
