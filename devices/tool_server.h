// SPDX-License-Identifier: Apache-2.0
// The server behind a tool port, in a sandbox of its own.
#ifndef DEVICES_TOOL_SERVER_H
#define DEVICES_TOOL_SERVER_H

#include "error.h"
#include "tool_grant.h"

struct tool_server {
    int to_server;   // its standard input
    int from_server; // its standard output
};

// Starts it. It sees the system's programs and libraries read-only, the paths of the grant, an
// empty /tmp and a few devices, and nothing else of the file system; it has process numbers,
// semaphores and a host name of its own, no network unless that is granted, no capability, and
// where the caller is root another user: the owner of the first path that it may write, or nobody.
// Its standard error is the caller's. It is killed when the caller ends. The descriptors are the
// caller's.
int tool_server_start(struct tool_server *server, const struct tool_grant *grant,
                      struct error *err);

#endif
