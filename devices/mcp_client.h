// SPDX-License-Identifier: Apache-2.0
// A client of the Model Context Protocol over two pipes (revision 2025-06-18: JSON-RPC 2.0, a
// message a line). The server is trusted less than the host: its lines are bounded and parsed
// strictly; a tool whose description is not the pinned one does not exist.
#ifndef DEVICES_MCP_CLIENT_H
#define DEVICES_MCP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "tool_grant.h"

struct json_object;

#define MCP_LINE_MAX  (4u << 20)
#define MCP_MAX_CALLS 64u
#define MCP_MAX_PAGES 64u // of a list of tools

struct mcp_tool {
    const char *name;
    const char *pin;            // 64 digits, or ""
    struct json_object *schema; // of arguments, or NULL: any object
    char *shown;                // for the model: JSON; NULL: it does not exist
    char digest[65];            // of what the server says, or ""
};

enum mcp_call_state {
    MCP_CALL_FREE,
    MCP_CALL_SENT,
    MCP_CALL_DONE,
    MCP_CALL_FORGOTTEN, // its request is gone, its answer is not
};

struct mcp_call {
    enum mcp_call_state state;
    int64_t id;
    bool failed;  // the server answered with an error, or with what is no result
    char *result; // JSON for the model; owned
};

struct mcp_client {
    int to_server;
    int from_server;
    struct mcp_tool tools[TOOL_MAX_TOOLS];
    uint32_t tool_count;
    bool pins_all; // take every granted tool as it is: to look at descriptions, not to serve
    int64_t next_id;
    int64_t greeting_id;
    bool greeted;
    int64_t list_id; // of a list that is under way, or 0
    unsigned pages;  // of it
    bool list_again; // its result is out of date already
    bool listed;     // at least once
    struct mcp_call calls[MCP_MAX_CALLS];
    uint8_t *input;
    size_t used;
    char *output;
    size_t output_used;
    size_t output_room;
};

// Greets the server on these descriptors (owned, made non-blocking) and lists its tools; waits
// `timeout_ms` for each answer at most. The grant outlives the client; it is checked here.
int mcp_client_open(struct mcp_client *client, const struct tool_grant *grant, size_t length,
                    int to_server, int from_server, struct error *err);

// Sends and receives what there is, without waiting. -1: the server has gone or talks nonsense.
int mcp_client_serve(struct mcp_client *client, struct error *err);

// The tool of this name that the model has, or NULL.
struct mcp_tool *mcp_client_find(struct mcp_client *client, const char *name, size_t length);

// Calls a tool with arguments (borrowed). Returns the call's index, or -1 if MCP_MAX_CALLS are
// under way.
int mcp_client_call(struct mcp_client *client, const struct mcp_tool *tool,
                    struct json_object *arguments, struct error *err);

// The call is over, or nobody waits for it any more: tells the server so.
void mcp_client_release(struct mcp_client *client, unsigned call);

// The texts of a grant one after the other; *at starts at NULL. NULL if it has no more.
const char *tool_grant_next(const struct tool_grant *grant, const char **at);

// True if a grant is whole: lengths, numbers, terminators.
bool tool_grant_is_sound(const struct tool_grant *grant, size_t length);

#endif
