// SPDX-License-Identifier: Apache-2.0
// A client of the Model Context Protocol (revision 2025-06-18: JSON-RPC 2.0). The server is trusted
// less than the host: its messages are bounded and parsed strictly; a tool whose description is not
// the pinned one does not exist.
#ifndef DEVICES_MCP_CLIENT_H
#define DEVICES_MCP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mcp_transport.h"
#include "tool_view.h"

struct json_object;

#define MCP_MAX_CALLS 64u
#define MCP_MAX_PAGES 64u // of a list of tools

// Most messages that a server may send beside its answers, from one call to the next.
#define MCP_UNASKED_MAX 10000u

// What the server says of a tool.
struct mcp_offer {
    char digest[65];            // SHA-256 of all of it in canonical form (RFC 8785), or "": nothing
    char *shown;                // for the model: JSON
    struct json_object *schema; // of its arguments
    bool checkable;             // that schema is one that this program can read
};

struct mcp_tool {
    const char *name;
    const char *pin;              // 64 digits, or ""
    struct json_object *narrower; // the operator's schema of arguments, or NULL
    struct mcp_offer offer;       // in force
    struct mcp_offer coming;      // of a list that is not complete yet
};

enum mcp_call_state {
    MCP_CALL_FREE,
    MCP_CALL_SENT,
    MCP_CALL_DONE,
};

struct mcp_call {
    enum mcp_call_state state;
    int64_t id;
    char *result; // JSON for the model; NULL: what the server answered is no result
};

struct mcp_client {
    struct mcp_transport *transport;
    struct mcp_tool tools[TOOL_MAX_TOOLS];
    uint32_t tool_count;
    int64_t last_id;
    int64_t greeting_id;
    bool greeted;
    int64_t list_id; // of a list that is under way, or 0
    unsigned pages;  // of it
    bool list_again; // its result is out of date already
    bool listed;     // at least once
    unsigned unasked;
    int64_t ping_id; // of one that is not answered yet, or 0
    struct mcp_call calls[MCP_MAX_CALLS];
};

// Binds a client to a grant and a transport, which outlive it, and greets the server. Returns 0
// or -1.
int mcp_client_open(struct mcp_client *client, const struct tool_grant_view *view,
                    struct mcp_transport *transport, struct error *err);

// Sends and takes what there is, without waiting. Returns 0, or -1: the server has gone or breaks
// the protocol; what *err says names no bytes of it.
int mcp_client_serve(struct mcp_client *client, struct error *err);

// Serves until the server has listed its tools, for `timeout_ms` at most. Returns 0 or -1.
int mcp_client_wait(struct mcp_client *client, uint32_t timeout_ms, struct error *err);

// True while a list is under way: what is in force may be so no more.
bool mcp_client_is_listing(const struct mcp_client *client);

// True if the model has this tool: the server offers what is pinned, and arguments can be checked.
bool mcp_tool_exists(const struct mcp_tool *tool);

// The tool of this name that the model has, or NULL.
const struct mcp_tool *mcp_client_find(const struct mcp_client *client, const char *name,
                                       size_t length);

// True if these arguments fit the pinned schema and the operator's. If not, `why` says what does
// not, printable.
bool mcp_tool_takes(const struct mcp_tool *tool, struct json_object *arguments, char *why,
                    size_t size);

// Calls a tool with arguments (borrowed). Returns the call's index, or -1.
int mcp_client_call(struct mcp_client *client, const struct mcp_tool *tool,
                    struct json_object *arguments, struct error *err);

// The call is over, or nobody waits for it any more: tells the server so.
void mcp_client_release(struct mcp_client *client, unsigned call);

// Asks the server for a sign of life, unless it owes one already.
void mcp_client_ping(struct mcp_client *client);

// True if the server owes a sign of life.
bool mcp_client_is_waiting_for_ping(const struct mcp_client *client);

// Frees all that the client owns.
void mcp_client_close(struct mcp_client *client);

#endif
