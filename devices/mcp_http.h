// SPDX-License-Identifier: Apache-2.0
// The streamable HTTP transport of the Model Context Protocol (revision 2025-06-18, "Transports"):
// each message of the client is a POST, whose reply is JSON or a stream of events; the server's own
// messages come on a stream that a GET opens.
#ifndef DEVICES_MCP_HTTP_H
#define DEVICES_MCP_HTTP_H

#include "http_exchange.h"
#include "mcp_events.h"
#include "mcp_transport.h"

// Messages of the client that have no whole reply yet.
#define MCP_HTTP_POSTS 128u

#define MCP_HTTP_HEADERS_SIZE 768u

enum mcp_http_state {
    MCP_HTTP_FREE,
    MCP_HTTP_WAITING, // for an exchange
    MCP_HTTP_SENT,
};

enum mcp_http_reply {
    MCP_HTTP_UNKNOWN, // no head yet
    MCP_HTTP_NOTHING,
    MCP_HTTP_JSON,
    MCP_HTTP_EVENTS,
};

struct mcp_http_post {
    enum mcp_http_state state;
    enum mcp_http_reply reply;
    char *body; // NULL: the GET
    size_t length;
    char headers[MCP_HTTP_HEADERS_SIZE]; // as they were sent
    struct http_exchange *exchange;
    struct mcp_events events; // also collects JSON
};

struct mcp_http {
    struct mcp_transport transport;
    struct http_pool *pool;
    const char *path;
    char version[32];  // agreed upon; empty: not yet
    char session[257]; // the server's name for this session; empty: none
    size_t output;     // bytes that wait in posts
    struct mcp_http_post posts[MCP_HTTP_POSTS];
    struct mcp_http_post stream; // of the server's own messages
    bool streams;                // the server has one, as far as is known
    uint64_t stream_ns;          // not opened again before
    struct mcp_messages messages;
};

// Binds it to a pool whose grant has one rule, the server's origin, and to the path of its
// endpoint; both outlive it.
void mcp_http_open(struct mcp_http *http, struct http_pool *pool, const char *path);

// Ends all exchanges and frees its memory.
void mcp_http_close(struct mcp_http *http);

#endif
