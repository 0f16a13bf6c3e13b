// SPDX-License-Identifier: Apache-2.0
// The reply of a serve port's endpoint to `guillotine ask`.
#include "ask_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "json_text.h"

int ask_stream_open(struct ask_stream *stream, struct error *err)
{
    stream->line = malloc(ASK_LINE_MAX);
    return stream->line ? 0 : error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "memory of a line");
}

void ask_stream_close(struct ask_stream *stream)
{
    free(stream->line);
    stream->line = NULL;
}

static struct json_object *member(struct json_object *object, const char *key, json_type type)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
        return NULL;
    return value;
}

// Statuses of HTTP that say something of their own; any other is a failure.
static enum exit_status exit_status_of(unsigned status)
{
    static const struct {
        unsigned http;
        enum exit_status exit;
    } statuses[] = {
        {200, EXIT_STATUS_FAILURE},   // the stream broke
        {429, EXIT_STATUS_RESOURCES}, // the queue is full
        {503, EXIT_STATUS_ISOLATED},
    };
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].http == status)
            return statuses[i].exit;
    }
    return EXIT_STATUS_FAILURE;
}

// Fills *err with what an error object says. Returns -1.
static int refuse(const struct ask_stream *stream, struct json_object *root, struct error *err)
{
    struct json_object *error = member(root, "error", json_type_object);
    struct json_object *message = member(error, "message", json_type_string);
    struct json_object *type = member(error, "type", json_type_string);
    char text[512];
    const char *said = message ? json_object_get_string(message) : "no reason is given";
    enum exit_status status = exit_status_of(stream->status);
    if (type && strcmp(json_object_get_string(type), "isolated") == 0)
        status = EXIT_STATUS_ISOLATED;
    escape_line(text, sizeof(text), said, strlen(said));
    return error_set(err, status, 0, "%s", text);
}

static int take_event(struct ask_stream *stream, const char *text, size_t length, struct error *err)
{
    struct json_document document = {0};
    if (length == 6 && memcmp(text, "[DONE]", 6) == 0) {
        stream->state = ASK_DONE;
        return 0;
    }
    if (json_document_parse_fractions(&document, "event", text, length, ASK_LINE_MAX, err) < 0)
        return error_wrap(err, "the endpoint's reply");
    int result = 0;
    struct json_object *choices = member(document.root, "choices", json_type_array);
    struct json_object *choice =
        choices && json_object_array_length(choices) ? json_object_array_get_idx(choices, 0) : NULL;
    struct json_object *delta = member(choice, "delta", json_type_object);
    struct json_object *content = delta ? member(delta, "content", json_type_string)
                                        : member(choice, "text", json_type_string);
    struct json_object *finish = member(choice, "finish_reason", json_type_string);
    if (content)
        stream->text(stream->context, json_object_get_string(content),
                     (size_t)json_object_get_string_len(content));
    if (finish)
        snprintf(stream->finish, sizeof(stream->finish), "%s", json_object_get_string(finish));
    if (member(document.root, "error", json_type_object))
        result = refuse(stream, document.root, err);
    json_document_free(&document);
    return result;
}

static int take_line(struct ask_stream *stream, struct error *err)
{
    static const char data[] = "data: ";
    const char *line = stream->line;
    size_t length = stream->used;
    if (length && line[length - 1] == '\r')
        length--;
    switch (stream->state) {
    case ASK_STATUS_LINE:
        if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the endpoint does not speak HTTP/1");
        for (unsigned i = 9; i < 12; i++)
            stream->status = stream->status * 10 + (unsigned)(line[i] - '0') % 10;
        stream->state = ASK_HEADERS;
        return 0;
    case ASK_HEADERS:
        if (!length)
            stream->state = stream->status == 200 ? ASK_EVENTS : ASK_BODY;
        return 0;
    case ASK_EVENTS:
        return length > sizeof(data) - 1 && memcmp(line, data, sizeof(data) - 1) == 0
                   ? take_event(stream, line + sizeof(data) - 1, length - (sizeof(data) - 1), err)
                   : 0;
    case ASK_BODY:
    case ASK_DONE:
    default:
        return 0;
    }
}

int ask_stream_take(struct ask_stream *stream, const char *bytes, size_t length, struct error *err)
{
    for (size_t i = 0; i < length && stream->state != ASK_DONE; i++) {
        bool ends = bytes[i] == '\n' && stream->state != ASK_BODY;
        if (ends && take_line(stream, err) < 0)
            return -1;
        if (ends) {
            stream->used = 0;
            continue;
        }
        if (stream->used == ASK_LINE_MAX)
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "the endpoint's reply has a line of "
                             "more than %u bytes",
                             ASK_LINE_MAX);
        stream->line[stream->used++] = bytes[i];
    }
    return 0;
}

int ask_stream_end(struct ask_stream *stream, struct error *err)
{
    struct json_document document = {0};
    struct error ignored;
    if (stream->state == ASK_DONE)
        return 0;
    if (stream->state != ASK_BODY ||
        json_document_parse_fractions(&document, "reply", stream->line, stream->used, ASK_LINE_MAX,
                                      &ignored) < 0)
        return error_set(err, exit_status_of(stream->status), 0,
                         stream->state == ASK_EVENTS
                             ? "the reply broke off: the VM has ended, or was isolated"
                             : "the endpoint's reply cannot be read");
    refuse(stream, document.root, err);
    json_document_free(&document);
    return -1;
}
