// SPDX-License-Identifier: Apache-2.0
// The stdio transport of the Model Context Protocol: two pipes, a message a line.
#ifndef DEVICES_MCP_PIPE_H
#define DEVICES_MCP_PIPE_H

#include <stdint.h>

#include "mcp_transport.h"

struct mcp_pipe {
    struct mcp_transport transport;
    int to_server;   // borrowed, non-blocking
    int from_server; // same
    char *input;
    size_t used;    // bytes of it that have arrived
    size_t start;   // of the message that was not taken yet
    size_t scanned; // from here on nobody has looked for a line's end
    char *output;
    size_t output_used;
    size_t output_room;
};

// Binds it to two descriptors. Returns 0 or -1.
int mcp_pipe_open(struct mcp_pipe *pipe, int to_server, int from_server, struct error *err);

// Frees its memory; the descriptors stay open.
void mcp_pipe_close(struct mcp_pipe *pipe);

#endif
