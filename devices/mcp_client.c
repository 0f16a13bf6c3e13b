// SPDX-License-Identifier: Apache-2.0
// A client of the Model Context Protocol.
#include "mcp_client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "json_text.h"
#include "mcp_offer.h"
#include "mcp_result.h"

#define PROTOCOL "2025-06-18"

static int nonsense(struct error *err, const char *what)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the server talks nonsense: %s", what);
}

// Takes ownership of the message.
static int send_object(struct mcp_client *client, json_object *message, struct error *err)
{
    size_t length;
    json_object_object_add(message, "jsonrpc", json_object_new_string("2.0"));
    const char *text = json_object_to_json_string_length(
        message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    int result = client->transport->send(client->transport, text, length, err);
    json_object_put(message);
    return result;
}

static int send_request(struct mcp_client *client, const char *method, json_object *parameters,
                        int64_t *id, struct error *err)
{
    json_object *message = json_object_new_object();
    *id = ++client->last_id;
    json_object_object_add(message, "id", json_object_new_int64(*id));
    json_object_object_add(message, "method", json_object_new_string(method));
    if (parameters)
        json_object_object_add(message, "params", parameters);
    return send_object(client, message, err);
}

static int send_notification(struct mcp_client *client, const char *method, json_object *parameters,
                             struct error *err)
{
    json_object *message = json_object_new_object();
    json_object_object_add(message, "method", json_object_new_string(method));
    if (parameters)
        json_object_object_add(message, "params", parameters);
    return send_object(client, message, err);
}

static int take_tool(struct mcp_client *client, json_object *tool, struct error *err)
{
    const char *name = mcp_member_text(tool, "name");
    if (!name)
        return nonsense(err, "a tool without a name");
    for (uint32_t i = 0; i < client->tool_count; i++) {
        struct mcp_tool *own = &client->tools[i];
        if (strcmp(own->name, name) != 0)
            continue;
        if (own->coming.digest[0])
            return nonsense(err, "two tools of one name");
        return mcp_offer_take(&own->coming, tool, err);
    }
    return 0; // not granted
}

static int ask_for_tools(struct mcp_client *client, const char *cursor, struct error *err)
{
    json_object *parameters = NULL;
    if (!cursor) {
        client->pages = 0;
        client->list_again = false;
        for (uint32_t i = 0; i < client->tool_count; i++)
            mcp_offer_free(&client->tools[i].coming);
    } else {
        parameters = json_object_new_object();
        json_object_object_add(parameters, "cursor", json_object_new_string(cursor));
    }
    if (++client->pages > MCP_MAX_PAGES) {
        json_object_put(parameters);
        return nonsense(err, "a list of tools without an end");
    }
    return send_request(client, "tools/list", parameters, &client->list_id, err);
}

static int take_tools(struct mcp_client *client, json_object *result, struct error *err)
{
    json_object *tools;
    client->list_id = 0;
    if (!json_object_is_type(result, json_type_object) ||
        !json_object_object_get_ex(result, "tools", &tools) ||
        !json_object_is_type(tools, json_type_array))
        return nonsense(err, "a list of tools that is none");
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        if (take_tool(client, json_object_array_get_idx(tools, i), err) < 0)
            return -1;
    }
    const char *cursor = mcp_member_text(result, "nextCursor");
    if (cursor || client->list_again)
        return ask_for_tools(client, client->list_again ? NULL : cursor, err);
    for (uint32_t i = 0; i < client->tool_count; i++) {
        struct mcp_tool *tool = &client->tools[i];
        mcp_offer_free(&tool->offer);
        tool->offer = tool->coming;
        tool->coming = (struct mcp_offer){0};
    }
    client->listed = true;
    return 0;
}

static int take_greeting(struct mcp_client *client, json_object *result, struct error *err)
{
    static const char *const known[] = {PROTOCOL, "2025-03-26", "2024-11-05"};
    const char *version = mcp_member_text(result, "protocolVersion");
    if (client->greeted || !version)
        return nonsense(err, "a greeting that is none");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        client->greeted = client->greeted || !strcmp(version, known[i]);
    if (!client->greeted)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the server speaks none of the revisions " PROTOCOL ", 2025-03-26 and "
                         "2024-11-05 of the protocol");
    if (client->transport->greeted)
        client->transport->greeted(client->transport, version);
    return send_notification(client, "notifications/initialized", NULL, err) < 0
               ? -1
               : ask_for_tools(client, NULL, err);
}

static int take_answer(struct mcp_client *client, json_object *message, int64_t id,
                       struct error *err)
{
    json_object *result = NULL;
    json_object_object_get_ex(message, "result", &result);
    if (id < 1 || id > client->last_id)
        return nonsense(err, "an answer to nothing");
    if (id == client->greeting_id)
        return take_greeting(client, result, err);
    if (id == client->list_id)
        return take_tools(client, result, err);
    if (id == client->ping_id) {
        client->ping_id = 0; // an error is a sign of life too
        return 0;
    }
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++) {
        struct mcp_call *call = &client->calls[i];
        if (call->state == MCP_CALL_FREE || call->id != id)
            continue;
        if (call->state == MCP_CALL_DONE)
            return nonsense(err, "two answers to one call");
        call->result = mcp_result_make(message);
        call->state = MCP_CALL_DONE;
        return 0;
    }
    client->unasked++; // nobody waits for it any more
    return 0;
}

// The server asks for what no model and no host gives it: samples, roots, people's answers.
static int answer_request(struct mcp_client *client, const char *method, json_object *id,
                          struct error *err)
{
    json_object *message = json_object_new_object();
    json_object_object_add(message, "id", json_object_get(id));
    if (!strcmp(method, "ping")) {
        json_object_object_add(message, "result", json_object_new_object());
        return send_object(client, message, err);
    }
    json_object *error = json_object_new_object();
    json_object_object_add(error, "code", json_object_new_int(-32601));
    json_object_object_add(error, "message", json_object_new_string("not supported"));
    json_object_object_add(message, "error", error);
    return send_object(client, message, err);
}

static int take_call(struct mcp_client *client, json_object *message, const char *method,
                     struct error *err)
{
    json_object *id;
    client->unasked++;
    if (json_object_object_get_ex(message, "id", &id)) {
        if (!json_object_is_type(id, json_type_int) && !json_object_is_type(id, json_type_string))
            return nonsense(err, "a request whose number is none");
        return answer_request(client, method, id, err);
    }
    if (strcmp(method, "notifications/tools/list_changed") != 0 || !client->greeted)
        return 0;
    client->list_again = client->list_id != 0;
    return client->list_id ? 0 : ask_for_tools(client, NULL, err);
}

static int take_message(struct mcp_client *client, json_object *message, struct error *err)
{
    json_object *id;
    if (!json_object_is_type(message, json_type_object))
        return nonsense(err, "a message that is no object");
    const char *method = mcp_member_text(message, "method");
    int result;
    if (method)
        result = take_call(client, message, method, err);
    else if (!json_object_object_get_ex(message, "id", &id) ||
             !json_object_is_type(id, json_type_int))
        result = nonsense(err, "an answer without a number");
    else
        result = take_answer(client, message, json_object_get_int64(id), err);
    return result == 0 && client->unasked > MCP_UNASKED_MAX
               ? nonsense(err, "it does not stop talking")
               : result;
}

int mcp_client_serve(struct mcp_client *client, struct error *err)
{
    struct mcp_transport *transport = client->transport;
    const char *text;
    size_t length;
    if (transport->exchange(transport, err) < 0)
        return -1;
    while (transport->next(transport, &text, &length)) {
        struct json_document document;
        struct error inner;
        if (json_document_parse_fractions(&document, "server", text, length, MCP_MESSAGE_MAX,
                                          &inner))
            return nonsense(err, "no JSON");
        int result = take_message(client, document.root, err);
        json_document_free(&document);
        if (result < 0)
            return -1;
    }
    return 0;
}

int mcp_client_wait(struct mcp_client *client, uint32_t timeout_ms, struct error *err)
{
    uint64_t until_ns = clock_now_ns(&clock_host) + timeout_ms * NS_PER_MS;
    while (!client->listed) {
        struct pollfd fds[2];
        uint64_t now_ns = clock_now_ns(&clock_host);
        if (now_ns >= until_ns)
            return error_set(err, EXIT_STATUS_RESOURCES, 0,
                             "the server did not list its tools in %u ms", timeout_ms);
        uint64_t rest_ns = client->transport->watch(client->transport, fds);
        if (rest_ns > until_ns - now_ns)
            rest_ns = until_ns - now_ns;
        const struct timespec rest = {(time_t)(rest_ns / NS_PER_S), (long)(rest_ns % NS_PER_S)};
        if (ppoll(fds, 2, &rest, NULL) < 0 && errno != EINTR)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "poll");
        if (mcp_client_serve(client, err) < 0)
            return -1;
    }
    return 0;
}

static int greet(struct mcp_client *client, struct error *err)
{
    json_object *parameters = json_object_new_object();
    json_object *information = json_object_new_object();
    json_object_object_add(information, "name", json_object_new_string("guillotine"));
    json_object_object_add(information, "version", json_object_new_string("1"));
    json_object_object_add(parameters, "protocolVersion", json_object_new_string(PROTOCOL));
    json_object_object_add(parameters, "capabilities", json_object_new_object());
    json_object_object_add(parameters, "clientInfo", information);
    return send_request(client, "initialize", parameters, &client->greeting_id, err);
}

int mcp_client_open(struct mcp_client *client, const struct tool_grant_view *view,
                    struct mcp_transport *transport, struct error *err)
{
    *client = (struct mcp_client){.transport = transport};
    for (uint32_t i = 0; i < view->grant->tool_count; i++) {
        struct mcp_tool *tool = &client->tools[client->tool_count++];
        const char *schema = view->tools[i].schema;
        struct json_document document;
        tool->name = view->tools[i].name;
        tool->pin = view->tools[i].pin;
        if (!*schema)
            continue;
        if (json_document_parse_fractions(&document, "arguments", schema, strlen(schema),
                                          TOOL_TEXTS_MAX, err))
            return -1;
        tool->narrower = document.root; // the document itself owns nothing else
    }
    return greet(client, err);
}

bool mcp_client_is_listing(const struct mcp_client *client)
{
    return client->list_id || !client->listed;
}

bool mcp_tool_exists(const struct mcp_tool *tool)
{
    const struct mcp_offer *offer = &tool->offer;
    return offer->digest[0] && !strcmp(tool->pin, offer->digest) &&
           (offer->checkable || tool->narrower);
}

const struct mcp_tool *mcp_client_find(const struct mcp_client *client, const char *name,
                                       size_t length)
{
    for (uint32_t i = 0; i < client->tool_count; i++) {
        const struct mcp_tool *tool = &client->tools[i];
        if (strlen(tool->name) == length && !memcmp(tool->name, name, length))
            return mcp_tool_exists(tool) ? tool : NULL;
    }
    return NULL;
}

bool mcp_tool_takes(const struct mcp_tool *tool, struct json_object *arguments, char *why,
                    size_t size)
{
    return (!tool->narrower || json_schema_matches(tool->narrower, arguments, why, size)) &&
           (!tool->offer.checkable ||
            json_schema_matches(tool->offer.schema, arguments, why, size));
}

int mcp_client_call(struct mcp_client *client, const struct mcp_tool *tool,
                    struct json_object *arguments, struct error *err)
{
    unsigned index = 0;
    while (index < MCP_MAX_CALLS && client->calls[index].state != MCP_CALL_FREE)
        index++;
    if (index == MCP_MAX_CALLS)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "too many calls");
    json_object *parameters = json_object_new_object();
    json_object_object_add(parameters, "name", json_object_new_string(tool->name));
    json_object_object_add(parameters, "arguments", json_object_get(arguments));
    if (send_request(client, "tools/call", parameters, &client->calls[index].id, err) < 0)
        return -1;
    client->calls[index].state = MCP_CALL_SENT;
    client->unasked = 0;
    return (int)index;
}

void mcp_client_release(struct mcp_client *client, unsigned index)
{
    struct mcp_call call = client->calls[index];
    struct error ignored;
    client->calls[index] = (struct mcp_call){0};
    free(call.result);
    if (call.state != MCP_CALL_SENT)
        return;
    json_object *parameters = json_object_new_object();
    json_object_object_add(parameters, "requestId", json_object_new_int64(call.id));
    send_notification(client, "notifications/cancelled", parameters, &ignored);
}

void mcp_client_ping(struct mcp_client *client)
{
    struct error ignored;
    if (!client->ping_id && send_request(client, "ping", NULL, &client->ping_id, &ignored) < 0)
        client->ping_id = client->last_id; // never sent, never answered
}

bool mcp_client_is_waiting_for_ping(const struct mcp_client *client)
{
    return client->ping_id != 0;
}

void mcp_client_close(struct mcp_client *client)
{
    for (uint32_t i = 0; i < client->tool_count; i++) {
        mcp_offer_free(&client->tools[i].offer);
        mcp_offer_free(&client->tools[i].coming);
        json_object_put(client->tools[i].narrower);
    }
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++)
        free(client->calls[i].result);
    *client = (struct mcp_client){0};
}
