// SPDX-License-Identifier: Apache-2.0
// The tool backend: requests of the model for the tools of one server.
//
// What the model wrote never reaches the server: its arguments are parsed, checked against the
// granted schema, and written anew.
#include "tool.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json_schema.h"
#include "port_fields_abi.h"
#include "tool_port.h"

// How soon the server's pipe is looked at again while a call is under way.
#define LOOK_NS NS_PER_MS

#define NO_CALL UINT32_MAX

// A server that has gone, or talks nonsense, ends the process: the supervisor counts, and starts
// both again.
static void serve(struct mcp_client *client)
{
    struct error err;
    if (mcp_client_serve(client, &err) < 0)
        _exit(EXIT_STATUS_FAILURE);
}

static uint32_t reply_text(struct port_request *request, const char *text, size_t length)
{
    return port_fields_append(request->reply, request->reply_capacity, &request->reply_length,
                              TOOL_FIELD_RESULT, text, (uint32_t)length)
               ? PORT_STATUS_OK
               : PORT_STATUS_TOO_LARGE;
}

// As many descriptions as fit, in front of the closing bracket.
static uint32_t list(struct mcp_client *client, struct port_request *request)
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
        const char *shown = client->tools[i].shown;
        if (!shown || index++ < request->argument)
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
    json_object *shown = json_object_new_object();
    json_object_object_add(shown, "content", json_object_new_string(why));
    json_object_object_add(shown, "isError", json_object_new_boolean(true));
    const char *text = json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN);
    uint32_t status = reply_text(request, text, strlen(text));
    json_object_put(shown);
    return status ? status : PORT_STATUS_INVALID;
}

// Makes the call. Returns a status if that is the end of it; else *call is set.
static uint32_t call(struct mcp_client *client, struct port_request *request, uint32_t *index)
{
    struct port_fields fields;
    struct json_document document;
    struct error err;
    char why[256] = "";
    *index = NO_CALL;
    if (!port_fields_read(&fields, request->payload, request->length))
        return PORT_STATUS_INVALID;
    const struct port_field *name = &fields.field[TOOL_FIELD_TOOL];
    const struct port_field *arguments = &fields.field[TOOL_FIELD_ARGUMENTS];
    if (!name->bytes || !arguments->bytes)
        return PORT_STATUS_INVALID;
    struct mcp_tool *tool = mcp_client_find(client, (const char *)name->bytes, name->length);
    if (!tool)
        return PORT_STATUS_DENIED;
    if (json_document_parse(&document, "arguments", (const char *)arguments->bytes,
                            arguments->length, PORT_MAX_BYTES, &err))
        return explain(request, err.text);
    uint32_t status = PORT_STATUS_OK;
    if (!json_object_is_type(document.root, json_type_object))
        status = explain(request, "arguments are an object");
    else if (tool->schema && !json_schema_matches(tool->schema, document.root, why, sizeof(why)))
        status = explain(request, why);
    if (status == PORT_STATUS_OK) {
        int made = mcp_client_call(client, tool, document.root, &err);
        *index = made < 0 ? NO_CALL : (uint32_t)made;
        status = made < 0 ? PORT_STATUS_FAILED : PORT_STATUS_OK;
    }
    json_document_free(&document);
    return status;
}

static enum port_progress finish(struct port_request *request, uint32_t status)
{
    request->status = status;
    if (status != PORT_STATUS_OK && status != PORT_STATUS_INVALID)
        request->reply_length = 0;
    return PORT_DONE;
}

static enum port_progress resume(void *state, struct port_request *request)
{
    struct mcp_client *client = state;
    struct mcp_call *own = &client->calls[request->tag];
    if (own->state != MCP_CALL_DONE)
        return PORT_PENDING;
    uint32_t status =
        own->failed ? PORT_STATUS_FAILED : reply_text(request, own->result, strlen(own->result));
    mcp_client_release(client, request->tag);
    return finish(request, status);
}

static enum port_progress submit(void *state, struct port_request *request)
{
    struct mcp_client *client = state;
    if (request->operation == TOOL_LIST)
        return finish(request, list(client, request));
    uint32_t status = call(client, request, &request->tag);
    if (request->tag == NO_CALL)
        return finish(request, status);
    return PORT_PENDING;
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
    uint64_t soon_ns = clock_now_ns(&clock_host) + LOOK_NS;
    (void)state;
    if (soon_ns < *wake_ns)
        *wake_ns = soon_ns;
    return false;
}

static void forget(void *state)
{
    struct mcp_client *client = state;
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++) {
        if (client->calls[i].state == MCP_CALL_SENT || client->calls[i].state == MCP_CALL_DONE)
            mcp_client_release(client, i);
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
