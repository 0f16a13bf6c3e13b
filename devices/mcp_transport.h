// SPDX-License-Identifier: Apache-2.0
// How messages get to a server of the Model Context Protocol and back. None of it waits.
#ifndef DEVICES_MCP_TRANSPORT_H
#define DEVICES_MCP_TRANSPORT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Longest message of a server.
#define MCP_MESSAGE_MAX (4u << 20)

// What it may be behind with reading.
#define MCP_OUTPUT_MAX (8u << 20)

struct mcp_transport {
    // Takes a message (JSON, copied) to be sent. Returns 0, or -1: the server does not read.
    int (*send)(struct mcp_transport *transport, const char *text, size_t length,
                struct error *err);
    // Moves bytes both ways, a bounded number of them. Returns 0, or -1: the server has gone, or
    // broke a rule of the transport.
    int (*exchange)(struct mcp_transport *transport, struct error *err);
    // Finds the next whole message that has arrived; valid until the next call of `exchange`.
    // Returns false if there is none.
    bool (*next)(struct mcp_transport *transport, const char **text, size_t *length);
    // What has to happen before `exchange` can do more. Returns after how many nanoseconds it
    // should be called anyway; UINT64_MAX: never.
    uint64_t (*watch)(const struct mcp_transport *transport, struct pollfd fds[2]);
    // The revision of the protocol that was agreed upon. NULL: the transport need not know.
    void (*greeted)(struct mcp_transport *transport, const char *version);
};

#endif
