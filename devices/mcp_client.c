// SPDX-License-Identifier: Apache-2.0
// A client of the Model Context Protocol over two pipes.
#include "mcp_client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "json_text.h"

#define PROTOCOL "2025-06-18"

// What it may be behind with reading.
#define OUTPUT_MAX (8u << 20)

static int nonsense(struct error *err, const char *what)
{
    return error_set(err, EXIT_STATUS_ISOLATED, 0, "the server talks nonsense: %s", what);
}

static int queue(struct mcp_client *client, const char *text, struct error *err)
{
    size_t length = strlen(text) + 1; // with a newline in the terminator's place
    if (length > OUTPUT_MAX - client->output_used)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "the server does not read");
    if (client->output_used + length > client->output_room) {
        size_t room = client->output_used + length + 65536;
        char *grown = realloc(client->output, room);
        if (!grown)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "output");
        client->output = grown;
        client->output_room = room;
    }
    memcpy(client->output + client->output_used, text, length - 1);
    client->output[client->output_used + length - 1] = '\n';
    client->output_used += length;
    return 0;
}

static int queue_object(struct mcp_client *client, json_object *message, struct error *err)
{
    json_object_object_add(message, "jsonrpc", json_object_new_string("2.0"));
    int result =
        queue(client, json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN), err);
    json_object_put(message);
    return result;
}

static int send_request(struct mcp_client *client, const char *method, json_object *parameters,
                        int64_t *id, struct error *err)
{
    json_object *message = json_object_new_object();
    *id = ++client->next_id;
    json_object_object_add(message, "id", json_object_new_int64(*id));
    json_object_object_add(message, "method", json_object_new_string(method));
    if (parameters)
        json_object_object_add(message, "params", parameters);
    return queue_object(client, message, err);
}

static int send_output(struct mcp_client *client, struct error *err)
{
    size_t done = 0;
    while (done < client->output_used) {
        ssize_t n = write(client->to_server, client->output + done, client->output_used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return error_set(err, EXIT_STATUS_ISOLATED, errno, "the server has gone");
        done += (size_t)n;
    }
    client->output_used -= done;
    memmove(client->output, client->output + done, client->output_used);
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The canonical text of a value: keys in order of their bytes, no blanks; texts and numbers as
// json-c writes them. Appends to `out`.
static void write_canonical(FILE *out, json_object *value)
{
    if (json_object_is_type(value, json_type_array)) {
        fputc('[', out);
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (i)
                fputc(',', out);
            write_canonical(out, json_object_array_get_idx(value, i));
        }
        fputc(']', out);
    } else if (json_object_is_type(value, json_type_object)) {
        size_t count = (size_t)json_object_object_length(value);
        const char **keys = calloc(count + 1, sizeof(*keys));
        size_t used = 0;
        json_object_object_foreach(value, key, ignored)
        {
            (void)ignored;
            if (keys)
                keys[used++] = key;
        }
        qsort(keys, used, sizeof(*keys), compare_keys);
        fputc('{', out);
        for (size_t i = 0; i < used; i++) {
            json_object *text = json_object_new_string(keys[i]);
            json_object *member;
            json_object_object_get_ex(value, keys[i], &member);
            fprintf(out, "%s%s:", i ? "," : "",
                    json_object_to_json_string_ext(text, JSON_C_TO_STRING_PLAIN));
            write_canonical(out, member);
            json_object_put(text);
        }
        fputc('}', out);
        free(keys);
    } else {
        fputs(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN), out);
    }
}

static int make_digest(char digest[65], json_object *tool, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    unsigned char hash[crypto_hash_sha256_BYTES];
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "digest");
    write_canonical(out, tool);
    if (fclose(out))
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "digest");
    crypto_hash_sha256(hash, (const unsigned char *)text, length);
    for (unsigned i = 0; i < sizeof(hash); i++)
        snprintf(digest + 2 * i, 3, "%02x", hash[i]);
    return 0;
}

static const char *member_text(json_object *object, const char *key)
{
    json_object *member;
    return json_object_is_type(object, json_type_object) &&
                   json_object_object_get_ex(object, key, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : NULL;
}

// What the model sees of a tool.
static char *describe(json_object *tool)
{
    static const char *const keys[] = {"name", "description", "inputSchema"};
    json_object *shown = json_object_new_object();
    json_object *member;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (json_object_object_get_ex(tool, keys[i], &member))
            json_object_object_add(shown, keys[i], json_object_get(member));
    }
    char *text = strdup(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN));
    json_object_put(shown);
    return text;
}

static int take_tool(struct mcp_client *client, json_object *tool, struct error *err)
{
    const char *name = member_text(tool, "name");
    if (!name)
        return nonsense(err, "a tool without a name");
    for (uint32_t i = 0; i < client->tool_count; i++) {
        struct mcp_tool *own = &client->tools[i];
        if (strcmp(own->name, name) != 0)
            continue;
        if (own->digest[0])
            return nonsense(err, "two tools of one name");
        if (make_digest(own->digest, tool, err) < 0)
            return -1;
        free(own->shown);
        own->shown = client->pins_all || !strcmp(own->pin, own->digest) ? describe(tool) : NULL;
    }
    return 0;
}

static int ask_for_tools(struct mcp_client *client, const char *cursor, struct error *err)
{
    json_object *parameters = NULL;
    if (!cursor) {
        client->pages = 0;
        client->list_again = false;
        // What was there is not, until the server has said it again.
        for (uint32_t i = 0; i < client->tool_count; i++) {
            free(client->tools[i].shown);
            client->tools[i].shown = NULL;
            client->tools[i].digest[0] = '\0';
        }
    } else {
        parameters = json_object_new_object();
        json_object_object_add(parameters, "cursor", json_object_new_string(cursor));
    }
    if (++client->pages > MCP_MAX_PAGES)
        return nonsense(err, "a list of tools without an end");
    return send_request(client, "tools/list", parameters, &client->list_id, err);
}

static int take_tools(struct mcp_client *client, json_object *result, struct error *err)
{
    json_object *tools;
    client->list_id = 0;
    if (!json_object_object_get_ex(result, "tools", &tools) ||
        !json_object_is_type(tools, json_type_array))
        return nonsense(err, "a list of tools that is none");
    for (size_t i = 0; i < json_object_array_length(tools); i++) {
        if (take_tool(client, json_object_array_get_idx(tools, i), err) < 0)
            return -1;
    }
    const char *cursor = member_text(result, "nextCursor");
    if (cursor || client->list_again)
        return ask_for_tools(client, client->list_again ? NULL : cursor, err);
    client->listed = true;
    return 0;
}

// {"content": all text, "isError": ...}; what is not text is named only.
static char *make_result(json_object *result)
{
    cleanup_free char *text = NULL;
    size_t length;
    json_object *content;
    json_object *is_error;
    if (!json_object_is_type(result, json_type_object) ||
        !json_object_object_get_ex(result, "content", &content) ||
        !json_object_is_type(content, json_type_array))
        return NULL;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    for (size_t i = 0; i < json_object_array_length(content); i++) {
        json_object *part = json_object_array_get_idx(content, i);
        const char *kind = member_text(part, "type");
        const char *said = kind && !strcmp(kind, "text") ? member_text(part, "text") : NULL;
        fprintf(out, "%s%s%.40s%s", i ? "\n" : "", said ? said : "[",
                said   ? ""
                : kind ? kind
                       : "?",
                said ? "" : "]");
    }
    if (fclose(out))
        return NULL;
    json_object *shown = json_object_new_object();
    json_object_object_add(shown, "content", json_object_new_string_len(text, (int)length));
    json_object_object_add(
        shown, "isError",
        json_object_new_boolean(json_object_object_get_ex(result, "isError", &is_error) &&
                                json_object_get_boolean(is_error)));
    char *made = strdup(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN));
    json_object_put(shown);
    return made;
}

static int take_greeting(struct mcp_client *client, json_object *result, struct error *err)
{
    static const char *const known[] = {PROTOCOL, "2025-03-26", "2024-11-05"};
    const char *version = member_text(result, "protocolVersion");
    if (client->greeted || !version)
        return nonsense(err, "a greeting that is none");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        client->greeted = client->greeted || !strcmp(version, known[i]);
    return client->greeted
               ? 0
               : error_set(err, EXIT_STATUS_BAD_FILE, 0,
                           "the server speaks none of the revisions " PROTOCOL ", 2025-03-26 and "
                           "2024-11-05 of the protocol");
}

static int take_answer(struct mcp_client *client, json_object *message, int64_t id,
                       struct error *err)
{
    json_object *result = NULL;
    json_object_object_get_ex(message, "result", &result);
    if (id == client->greeting_id)
        return take_greeting(client, result, err);
    if (id == client->list_id)
        return result ? take_tools(client, result, err) : nonsense(err, "no list of tools");
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++) {
        struct mcp_call *call = &client->calls[i];
        if (call->state == MCP_CALL_FREE || call->id != id)
            continue;
        if (call->state == MCP_CALL_DONE)
            return nonsense(err, "two answers to one call");
        if (call->state == MCP_CALL_FORGOTTEN) {
            *call = (struct mcp_call){0};
            return 0;
        }
        call->result = result ? make_result(result) : NULL;
        call->failed = !call->result;
        call->state = MCP_CALL_DONE;
        return 0;
    }
    return nonsense(err, "an answer to nothing");
}

// The server asks for what no model and no host gives it: samples, roots, people's answers.
static int refuse_request(struct mcp_client *client, json_object *id, struct error *err)
{
    json_object *message = json_object_new_object();
    json_object *error = json_object_new_object();
    json_object_object_add(message, "id", json_object_get(id));
    json_object_object_add(error, "code", json_object_new_int(-32601));
    json_object_object_add(error, "message", json_object_new_string("not supported"));
    json_object_object_add(message, "error", error);
    return queue_object(client, message, err);
}

static int take_message(struct mcp_client *client, json_object *message, struct error *err)
{
    json_object *id;
    if (!json_object_is_type(message, json_type_object))
        return nonsense(err, "a message that is no object");
    const char *method = member_text(message, "method");
    bool has_id = json_object_object_get_ex(message, "id", &id);
    if (method && has_id)
        return refuse_request(client, id, err);
    if (method && !strcmp(method, "notifications/tools/list_changed")) {
        client->list_again = client->list_id != 0;
        return client->list_id || !client->listed ? 0 : ask_for_tools(client, NULL, err);
    }
    if (method)
        return 0; // any other notification
    if (!has_id || !json_object_is_type(id, json_type_int))
        return nonsense(err, "an answer without a number");
    return take_answer(client, message, json_object_get_int64(id), err);
}

static int take_line(struct mcp_client *client, const char *line, size_t length, struct error *err)
{
    struct json_document document;
    struct error inner;
    if (length && line[length - 1] == '\r')
        length--;
    if (!length)
        return 0;
    if (json_document_parse(&document, "server", line, length, MCP_LINE_MAX, &inner))
        return nonsense(err, "no JSON");
    int result = take_message(client, document.root, err);
    json_document_free(&document);
    return result;
}

static int take_lines(struct mcp_client *client, struct error *err)
{
    size_t done = 0;
    uint8_t *end;
    while ((end = memchr(client->input + done, '\n', client->used - done))) {
        size_t length = (size_t)(end - client->input) - done;
        if (take_line(client, (const char *)client->input + done, length, err) < 0)
            return -1;
        done += length + 1;
    }
    client->used -= done;
    memmove(client->input, client->input + done, client->used);
    return client->used == MCP_LINE_MAX ? nonsense(err, "a line that is too long") : 0;
}

int mcp_client_serve(struct mcp_client *client, struct error *err)
{
    // One buffer's worth at a time: others have their turn.
    ssize_t n =
        read(client->from_server, client->input + client->used, MCP_LINE_MAX - client->used);
    if (n == 0)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "the server has gone");
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "the server");
    if (n > 0) {
        client->used += (size_t)n;
        if (take_lines(client, err) < 0)
            return -1;
    }
    return client->output_used ? send_output(client, err) : 0;
}

// Serves until *done, or the time is over.
static int wait_for(struct mcp_client *client, const bool *done, uint64_t timeout_ms,
                    struct error *err)
{
    uint64_t until_ns = clock_now_ns(&clock_host) + timeout_ms * NS_PER_MS;
    while (!*done) {
        struct pollfd fds[] = {
            {.fd = client->from_server, .events = POLLIN},
            {.fd = client->output_used ? client->to_server : -1, .events = POLLOUT},
        };
        uint64_t now_ns = clock_now_ns(&clock_host);
        if (now_ns >= until_ns)
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server does not answer");
        if (poll(fds, 2, (int)((until_ns - now_ns) / NS_PER_MS) + 1) < 0 && errno != EINTR)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "poll");
        if (mcp_client_serve(client, err) < 0)
            return -1;
    }
    return 0;
}

static int greet(struct mcp_client *client, uint64_t timeout_ms, struct error *err)
{
    json_object *parameters = json_object_new_object();
    json_object *information = json_object_new_object();
    json_object_object_add(information, "name", json_object_new_string("guillotine"));
    json_object_object_add(information, "version", json_object_new_string("1"));
    json_object_object_add(parameters, "protocolVersion", json_object_new_string(PROTOCOL));
    json_object_object_add(parameters, "capabilities", json_object_new_object());
    json_object_object_add(parameters, "clientInfo", information);
    if (send_request(client, "initialize", parameters, &client->greeting_id, err) < 0 ||
        wait_for(client, &client->greeted, timeout_ms, err) < 0)
        return -1;
    json_object *message = json_object_new_object();
    json_object_object_add(message, "method", json_object_new_string("notifications/initialized"));
    return queue_object(client, message, err);
}

static int read_tools(struct mcp_client *client, const struct tool_grant *grant, struct error *err)
{
    const char *at = NULL;
    for (uint32_t i = 0;
         i < grant->argument_count + grant->variable_count + grant->read_count + grant->write_count;
         i++)
        tool_grant_next(grant, &at);
    for (uint32_t i = 0; i < grant->tool_count; i++) {
        struct mcp_tool *tool = &client->tools[i];
        tool->name = tool_grant_next(grant, &at);
        tool->pin = tool_grant_next(grant, &at);
        const char *schema = tool_grant_next(grant, &at);
        if (*schema && !(tool->schema = json_tokener_parse(schema)))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "a schema of the grant");
    }
    client->tool_count = grant->tool_count;
    return 0;
}

int mcp_client_open(struct mcp_client *client, const struct tool_grant *grant, size_t length,
                    int to_server, int from_server, struct error *err)
{
    client->to_server = to_server;
    client->from_server = from_server;
    client->input = malloc(MCP_LINE_MAX);
    if (!client->input)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "input");
    if (fcntl(to_server, F_SETFL, O_NONBLOCK) < 0 || fcntl(from_server, F_SETFL, O_NONBLOCK) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "pipes");
    if (!tool_grant_is_sound(grant, length))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of another version");
    if (read_tools(client, grant, err) < 0 || greet(client, grant->timeout_ms, err) < 0 ||
        ask_for_tools(client, NULL, err) < 0)
        return -1;
    return wait_for(client, &client->listed, grant->timeout_ms, err);
}

struct mcp_tool *mcp_client_find(struct mcp_client *client, const char *name, size_t length)
{
    for (uint32_t i = 0; i < client->tool_count; i++) {
        struct mcp_tool *tool = &client->tools[i];
        if (tool->shown && strlen(tool->name) == length && !memcmp(tool->name, name, length))
            return tool;
    }
    return NULL;
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
    return (int)index;
}

void mcp_client_release(struct mcp_client *client, unsigned index)
{
    struct mcp_call *call = &client->calls[index];
    struct error ignored;
    free(call->result);
    call->result = NULL;
    if (call->state != MCP_CALL_SENT) {
        *call = (struct mcp_call){0};
        return;
    }
    json_object *message = json_object_new_object();
    json_object *parameters = json_object_new_object();
    json_object_object_add(message, "method", json_object_new_string("notifications/cancelled"));
    json_object_object_add(parameters, "requestId", json_object_new_int64(call->id));
    json_object_object_add(message, "params", parameters);
    queue_object(client, message, &ignored);
    call->state = MCP_CALL_FORGOTTEN; // a late answer is for nobody
}
