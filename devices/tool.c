// SPDX-License-Identifier: Apache-2.0
// The tool backend: requests of the model for the tools of one server.
//
// What the model wrote never reaches the server: its arguments are parsed, checked against the
// granted schema, and written anew.
#include "tool.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_text.h"
#include "mcp_result.h"
#include "port_fields_abi.h"
#include "tool_port.h"

// How soon the server is listened to again while a call is under way.
#define LOOK_NS NS_PER_MS

static void serve(struct tool *tool)
{
    struct error err;
    if (mcp_client_serve(&tool->client, &err) < 0)
        tool->fail(&err);
}

static uint32_t reply_text(struct port_request *request, const char *text, size_t length)
{
    return port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                              TOOL_FIELD_RESULT, text, (uint32_t)length)
               ? PORT_STATUS_OK
               : PORT_STATUS_TOO_LARGE;
}

// As many descriptions as fit, in front of the closing bracket.
static uint32_t list(const struct mcp_client *client, struct port_request *request)
{
    uint32_t head = (uint32_t)sizeof(struct port_field_header);
    uint32_t room = request->reply_capacity > head + 8 ? (request->reply_capacity - head) & ~7u : 0;
    char *text = (char *)request->reply + head;
    uint32_t used = 0;
    uint32_t index = 0;
    bool some = false;
    if (room < 8)
        return PORT_STATUS_TOO_LARGE;
    text[used++] = '[';
    for (uint32_t i = 0; i < client->tool_count; i++) {
        const char *shown = client->tools[i].offer.shown;
        if (!mcp_tool_exists(&client->tools[i]) || index++ < request->argument)
            continue;
        size_t length = strlen(shown);
        if (length + 2 > room - used) {
            if (!some)
                return PORT_STATUS_TOO_LARGE;
            break;
        }
        if (some)
            text[used++] = ',';
        memcpy(text + used, shown, length);
        used += (uint32_t)length;
        some = true;
    }
    text[used++] = ']';
    const struct port_field_header header = {TOOL_FIELD_RESULT, used};
    memcpy(request->reply, &header, sizeof(header));
    memset(text + used, 0, port_field_size(used) - sizeof(header) - used);
    request->reply_length = (uint32_t)port_field_size(used);
    return PORT_STATUS_OK;
}

// Why a call is not made, as a result that the model can read.
static uint32_t explain(struct port_request *request, const char *why)
{
    cleanup_free char *text = mcp_result_of(why, true);
    uint32_t status = text ? reply_text(request, text, strlen(text)) : (uint32_t)PORT_STATUS_FAILED;
    return status ? status : PORT_STATUS_INVALID;
}

static uint32_t call_with(struct tool *tool, struct port_request *request,
                          const struct mcp_tool *called, struct json_object *arguments, int *call)
{
    char why[256] = "";
    struct error err;
    if (!json_object_is_type(arguments, json_type_object))
        return explain(request, "arguments are an object");
    if (!mcp_tool_takes(called, arguments, why, sizeof(why)))
        return explain(request, why);
    *call = mcp_client_call(&tool->client, called, arguments, &err);
    return *call < 0 ? PORT_STATUS_FAILED : PORT_STATUS_OK;
}

// Makes the call. Returns PORT_STATUS_OK, or the status that is the end of it.
static uint32_t make_call(struct tool *tool, struct port_request *request, int *call)
{
    struct port_fields fields;
    struct json_document document;
    struct error err;
    if (!port_fields_read(&fields, request->payload, request->length))
        return PORT_STATUS_INVALID;
    const struct port_field *name = &fields.field[TOOL_FIELD_TOOL];
    const struct port_field *arguments = &fields.field[TOOL_FIELD_ARGUMENTS];
    if (!name->bytes || !arguments->bytes || fields.field[TOOL_FIELD_RESULT].bytes)
        return PORT_STATUS_INVALID;
    const struct mcp_tool *called =
        mcp_client_find(&tool->client, (const char *)name->bytes, name->length);
    if (!called)
        return PORT_STATUS_DENIED;
    if (json_document_parse_fractions(&document, "arguments", (const char *)arguments->bytes,
                                      arguments->length, PORT_MAX_BYTES, &err))
        return explain(request, err.text);
    uint32_t status = call_with(tool, request, called, document.root, call);
    json_document_free(&document);
    return status;
}

static enum port_progress finish(struct tool *tool, struct port_request *request, uint32_t status)
{
    struct tool_request *own = &tool->requests[request->tag];
    if (own->call >= 0)
        mcp_client_release(&tool->client, (unsigned)own->call);
    *own = (struct tool_request){0};
    request->status = status;
    if (status != PORT_STATUS_OK && status != PORT_STATUS_INVALID)
        request->reply_length = 0;
    return PORT_DONE;
}

// After a call without an answer: a server that hangs is given up when it owes a sign of life for
// as long as it may take for a call.
static void check_life(struct tool *tool, uint64_t now_ns)
{
    struct error err;
    if (!mcp_client_is_waiting_for_ping(&tool->client)) {
        tool->ping_ns = now_ns;
        mcp_client_ping(&tool->client);
    } else if (now_ns - tool->ping_ns >= tool->limit_ns) {
        error_set(&err, EXIT_STATUS_RESOURCES, 0, "the server hangs");
        tool->fail(&err);
    }
}

// Takes a request as far as it goes without waiting.
static enum port_progress advance(struct tool *tool, struct port_request *request)
{
    struct tool_request *own = &tool->requests[request->tag];
    // What the server has announced counts before anything is done with what it said earlier.
    if (own->call < 0 && !mcp_client_is_listing(&tool->client)) {
        uint32_t status = request->operation == TOOL_LIST ? list(&tool->client, request)
                                                          : make_call(tool, request, &own->call);
        if (own->call < 0)
            return finish(tool, request, status);
    }
    const struct mcp_call *call = own->call >= 0 ? &tool->client.calls[own->call] : NULL;
    if (call && call->state == MCP_CALL_DONE)
        return finish(tool, request,
                      call->result ? reply_text(request, call->result, strlen(call->result))
                                   : (uint32_t)PORT_STATUS_FAILED);
    uint64_t now_ns = clock_now_ns(tool->clock);
    if (now_ns - own->since_ns < tool->limit_ns)
        return PORT_PENDING;
    check_life(tool, now_ns);
    return finish(tool, request, PORT_STATUS_TIMED_OUT);
}

static enum port_progress submit(void *state, struct port_request *request)
{
    struct tool *tool = state;
    uint32_t index = 0;
    while (index < MCP_MAX_CALLS && tool->requests[index].used)
        index++;
    if (index == MCP_MAX_CALLS) { // the grant bounds what is in flight: never
        request->status = PORT_STATUS_FAILED;
        return PORT_DONE;
    }
    tool->requests[index] = (struct tool_request){true, -1, clock_now_ns(tool->clock)};
    request->tag = index;
    return advance(tool, request);
}

static enum port_progress resume(void *state, struct port_request *request)
{
    return advance(state, request);
}

static void poll_server(void *state)
{
    serve(state);
}

static void flush(void *state)
{
    serve(state);
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    const struct tool *tool = state;
    uint64_t soon_ns = clock_now_ns(tool->clock) + LOOK_NS;
    if (soon_ns < *wake_ns)
        *wake_ns = soon_ns;
    return false;
}

static void forget(void *state)
{
    struct tool *tool = state;
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++) {
        if (tool->client.calls[i].state != MCP_CALL_FREE)
            mcp_client_release(&tool->client, i);
        tool->requests[i] = (struct tool_request){0};
    }
}

const struct port_backend tool_backend = {
    .kind = PORT_KIND_TOOL,
    .name = "tool",
    .operations = tool_operations,
    .operation_count = TOOL_OPERATIONS,
    .submit = submit,
    .resume = resume,
    .poll = poll_server,
    .flush = flush,
    .prepare_sleep = prepare_sleep,
    .forget = forget,
};
