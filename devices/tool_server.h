// SPDX-License-Identifier: Apache-2.0
// An MCP server in a sandbox of its own.
#ifndef DEVICES_TOOL_SERVER_H
#define DEVICES_TOOL_SERVER_H

#include "tool_view.h"

// The pipes of a server that runs.
struct tool_server {
    int in;   // from it, non-blocking
    int out;  // to it, non-blocking
    int life; // open as long as it may run
};

// Starts the server of a grant in new mount, process, IPC, host-name and (unless it is granted the
// host's) network namespaces. It sees /usr and what belongs to it, what it was granted, and empty
// temporary files; it has no capability, a user id of its own (if this process is root), bounded
// memory, processes and files, and a filter of system calls. Standard error goes nowhere. It is
// killed with everything it started when this process ends.
//
// Refuses to start it if the host denies any of that. Returns 0 or -1; what it says of the reason
// names no bytes of the server.
int tool_server_start(const struct tool_grant_view *view, struct tool_server *server,
                      struct error *err);

#endif
