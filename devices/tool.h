// SPDX-License-Identifier: Apache-2.0
// The tool backend: requests of the model for the tools of one server.
#ifndef DEVICES_TOOL_H
#define DEVICES_TOOL_H

#include "clock.h"
#include "mcp_client.h"
#include "port_backend.h"

// A request that waits for the server.
struct tool_request {
    bool used;
    int call; // of the client; -1: not made yet
    uint64_t since_ns;
};

// State of the backend; zero but for what its maker sets.
struct tool {
    struct mcp_client client;
    const struct clock *clock;
    uint64_t limit_ns; // for a call; then the server is told that nobody waits any more
    uint64_t ping_ns;  // when it was asked for a sign of life
    // Called when the server has gone, or talks nonsense; does not return.
    void (*fail)(const struct error *err);
    struct tool_request requests[MCP_MAX_CALLS];
};

// State: struct tool, its client open.
extern const struct port_backend tool_backend;

#endif
