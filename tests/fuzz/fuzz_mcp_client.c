// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a server says to the client of the Model Context Protocol, behind its two pipes:
// bytes come in pieces, calls are made and given up in between. The client ends with an error or
// goes on; what the model would see is whole JSON, and no tool exists that is not the pinned one.
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_text.h"
#include "mcp_client.h"
#include "mcp_pipe.h"

#define TOOLS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static int to_client[2];
static int from_client[2];
static struct mcp_client client;
static struct mcp_pipe ends;

static void drain(int fd)
{
    static char waste[65536];
    while (read(fd, waste, sizeof(waste)) > 0)
        continue;
}

static void open_client(void)
{
    static const struct tool_grant grant = {.tool_count = TOOLS, .start_ms = 1};
    // The digest of the first is that of {"name":"a"}.
    static const struct tool_grant_view view = {
        .grant = &grant,
        .tools = {{"a", "d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064", ""},
                  {"b", "", "{\"type\":\"object\"}"},
                  {"c", "x", ""},
                  {"d", "", ""}},
    };
    struct error err = {0};
    if (!to_client[1]) {
        signal(SIGPIPE, SIG_IGN);
        require_that(pipe2(to_client, O_NONBLOCK) == 0 && pipe2(from_client, O_NONBLOCK) == 0);
    }
    drain(to_client[0]);
    drain(from_client[0]);
    require_that(mcp_pipe_open(&ends, from_client[1], to_client[0], &err) == 0);
    require_that(mcp_client_open(&client, &view, &ends.transport, &err) == 0);
}

static void check_json(const char *text, enum json_type type)
{
    struct json_document document;
    struct error err = {0};
    require_that(json_document_parse_fractions(&document, "shown", text, strlen(text),
                                               MCP_MESSAGE_MAX * 8, &err) == 0);
    require_that(json_object_is_type(document.root, type));
    json_document_free(&document);
}

static void check_client(void)
{
    for (uint32_t i = 0; i < TOOLS; i++) {
        struct mcp_tool *tool = &client.tools[i];
        const char *name = tool->name;
        require_that(!tool->offer.digest[0] == !tool->offer.shown);
        require_that((mcp_client_find(&client, name, strlen(name)) != NULL) ==
                     mcp_tool_exists(tool));
        require_that(!mcp_tool_exists(tool) || !strcmp(tool->pin, tool->offer.digest));
        if (tool->offer.shown)
            check_json(tool->offer.shown, json_type_object);
    }
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++) {
        require_that(client.calls[i].state == MCP_CALL_DONE || !client.calls[i].result);
        if (client.calls[i].result)
            check_json(client.calls[i].result, json_type_object);
    }
    require_that(client.unasked <= MCP_UNASKED_MAX + 1);
}

static void do_something(uint8_t what)
{
    struct error err = {0};
    char why[80];
    struct json_object *arguments = json_object_new_object();
    unsigned number = what % MCP_MAX_CALLS;
    (void)mcp_tool_takes(&client.tools[what % TOOLS], arguments, why, sizeof(why));
    switch (what >> 6) {
    case 0:
        mcp_client_call(&client, &client.tools[what % TOOLS], arguments, &err);
        break;
    case 1:
        if (client.calls[number].state != MCP_CALL_FREE)
            mcp_client_release(&client, number);
        break;
    case 2:
        mcp_client_ping(&client);
        break;
    default:
        break;
    }
    json_object_put(arguments);
}

// The input is a sequence of pieces: a byte that says what the client does, one that says how much
// the server sends, and that.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    int result = 0;
    open_client();
    while (size > 2 && result == 0) {
        size_t length = data[1] * 4u < size - 2 ? data[1] * 4u : size - 2;
        do_something(data[0]);
        require_that(write(to_client[1], data + 2, length) == (ssize_t)length);
        result = mcp_client_serve(&client, &err);
        require_that(result == 0 || (result == -1 && err.text[0]));
        check_client();
        drain(from_client[0]);
        data += 2 + length;
        size -= 2 + length;
    }
    mcp_client_close(&client);
    mcp_pipe_close(&ends);
    return 0;
}
