// SPDX-License-Identifier: Apache-2.0
// Reads what a client of the OpenAI API asks for.
#include "serve_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "json_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool refuse(struct serve_problem *problem, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool refuse(struct serve_problem *problem, const char *param, const char *format, ...)
{
    va_list arguments;
    *problem = (struct serve_problem){.status = 400, .param = param};
    va_start(arguments, format);
    vsnprintf(problem->message, sizeof(problem->message), format, arguments);
    va_end(arguments);
    return false;
}

// A member that is there and is not null.
static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

// Values of a key that ask for nothing special, besides null, false and what is empty.
enum neutral {
    NEUTRAL_ZERO = 1, // the number 0
    NEUTRAL_ONE = 2,  // the number 1
    NEUTRAL_NONE = 4, // "none", and "auto": as many as there are, which is none
    NEUTRAL_TEXT = 8, // ["text"]
};

static bool is_number(struct json_object *value, double number)
{
    enum json_type type = json_object_get_type(value);
    double given = json_object_get_double(value);
    return (type == json_type_int || type == json_type_double) && given >= number &&
           given <= number;
}

static bool is_text(struct json_object *value, const char *text)
{
    return json_object_is_type(value, json_type_string) &&
           strcmp(json_object_get_string(value), text) == 0;
}

static bool asks_for_nothing(struct json_object *value, unsigned neutral)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        return !json_object_get_boolean(value);
    case json_type_array:
        return json_object_array_length(value) == 0 ||
               ((neutral & NEUTRAL_TEXT) && json_object_array_length(value) == 1 &&
                is_text(json_object_array_get_idx(value, 0), "text"));
    case json_type_object:
        return json_object_object_length(value) == 0;
    case json_type_string:
        return json_object_get_string_len(value) == 0 ||
               ((neutral & NEUTRAL_NONE) && (is_text(value, "none") || is_text(value, "auto")));
    case json_type_int:
    case json_type_double:
        return ((neutral & NEUTRAL_ZERO) && is_number(value, 0)) ||
               ((neutral & NEUTRAL_ONE) && is_number(value, 1));
    case json_type_null:
    default:
        return true;
    }
}

// What would change a reply, or its meaning, and is not supported.
static bool check_unsupported(struct json_object *root, struct serve_problem *problem)
{
    static const struct {
        const char *key;
        unsigned neutral;
    } keys[] = {
        {"audio", 0},
        {"best_of", NEUTRAL_ONE},
        {"echo", 0},
        {"frequency_penalty", NEUTRAL_ZERO},
        {"function_call", NEUTRAL_NONE},
        {"functions", 0},
        {"logit_bias", 0},
        {"logprobs", 0}, // 0 is a wish: the token's own
        {"modalities", NEUTRAL_TEXT},
        {"n", NEUTRAL_ONE},
        {"prediction", 0},
        {"presence_penalty", NEUTRAL_ZERO},
        {"suffix", 0},
        {"tool_choice", NEUTRAL_NONE},
        {"tools", 0},
        {"top_logprobs", NEUTRAL_ZERO},
    };
    for (size_t i = 0; i < COUNT(keys); i++) {
        struct json_object *value = member(root, keys[i].key);
        if (value && !asks_for_nothing(value, keys[i].neutral))
            return refuse(problem, keys[i].key, "'%s' is not supported here", keys[i].key);
    }
    struct json_object *format = member(root, "response_format");
    struct json_object *type =
        format && json_object_is_type(format, json_type_object) ? member(format, "type") : NULL;
    if (format && (!type || !is_text(type, "text")))
        return refuse(problem, "response_format", "only the response format 'text' is supported");
    return true;
}

static bool check_model(struct json_object *root, const char *served, struct serve_problem *problem)
{
    struct json_object *model = member(root, "model");
    char excerpt[JSON_EXCERPT_SIZE];
    if (!model)
        return true;
    if (!json_object_is_type(model, json_type_string))
        return refuse(problem, "model", "'model' is a text");
    const char *name = json_object_get_string(model);
    if (!*name || strcmp(name, served) == 0)
        return true;
    refuse(problem, "model", "the model '%s' does not exist; this is '%s'",
           json_excerpt(excerpt, name), served);
    problem->status = 404;
    problem->code = "model_not_found";
    return false;
}

static bool read_flag(struct json_object *root, const char *key, bool *value,
                      struct serve_problem *problem)
{
    struct json_object *given = member(root, key);
    if (given && !json_object_is_type(given, json_type_boolean))
        return refuse(problem, key, "'%s' is true or false", key);
    *value = given && json_object_get_boolean(given);
    return true;
}

static bool read_stream(struct serve_request *request, struct serve_problem *problem)
{
    struct json_object *options = member(request->root, "stream_options");
    if (!read_flag(request->root, "stream", &request->stream, problem))
        return false;
    if (!options)
        return true;
    if (!json_object_is_type(options, json_type_object))
        return refuse(problem, "stream_options", "'stream_options' is an object");
    return read_flag(options, "include_usage", &request->include_usage, problem);
}

// Thousandths, at least `least`, of a number from 0 to `most`.
static bool read_milli(struct json_object *root, const char *key, uint32_t least, double most,
                       uint32_t *milli, struct serve_problem *problem)
{
    struct json_object *given = member(root, key);
    *milli = SERVE_DEFAULT;
    if (!given)
        return true;
    bool number =
        json_object_is_type(given, json_type_int) || json_object_is_type(given, json_type_double);
    double value = number ? json_object_get_double(given) : -1.0;
    if (!(value >= 0 && value <= most))
        return refuse(problem, key, "'%s' is a number from 0 to %g", key, most);
    *milli = (uint32_t)(value * 1000.0 + 0.5);
    if (*milli < least)
        *milli = least;
    return true;
}

static bool read_limit(struct serve_request *request, struct serve_problem *problem)
{
    static const char *const keys[] = {"max_completion_tokens", "max_tokens"};
    request->prompt.limit = SERVE_DEFAULT;
    for (size_t i = 0; i < COUNT(keys); i++) {
        struct json_object *given = member(request->root, keys[i]);
        if (!given)
            continue;
        int64_t value =
            json_object_is_type(given, json_type_int) ? json_object_get_int64(given) : 0;
        if (value < 1)
            return refuse(problem, keys[i], "'%s' is an integer of at least 1", keys[i]);
        if (request->prompt.limit == SERVE_DEFAULT)
            request->prompt.limit = value < INT32_MAX ? (uint32_t)value : INT32_MAX;
    }
    return true;
}

static bool read_seed(struct serve_request *request, struct serve_problem *problem)
{
    struct json_object *given = member(request->root, "seed");
    if (!given)
        return true;
    if (!json_object_is_type(given, json_type_int))
        return refuse(problem, "seed", "'seed' is an integer");
    request->prompt.has_seed = true;
    request->prompt.seed = (uint64_t)json_object_get_int64(given);
    return true;
}

static bool add_stop(struct serve_request *request, struct json_object *stop,
                     struct serve_problem *problem)
{
    struct serve_prompt *prompt = &request->prompt;
    size_t length =
        json_object_is_type(stop, json_type_string) ? (size_t)json_object_get_string_len(stop) : 0;
    if (!length || length > SERVE_STOP_BYTES_MAX || prompt->stop_count == SERVE_STOPS_MAX)
        return refuse(problem, "stop", "'stop' is a text, or up to %u texts, of 1 to %u bytes",
                      SERVE_STOPS_MAX, SERVE_STOP_BYTES_MAX);
    prompt->stops[prompt->stop_count] = json_object_get_string(stop);
    prompt->stop_lengths[prompt->stop_count++] = length;
    return true;
}

static bool read_stops(struct serve_request *request, struct serve_problem *problem)
{
    struct json_object *stop = member(request->root, "stop");
    if (!stop)
        return true;
    if (!json_object_is_type(stop, json_type_array))
        return add_stop(request, stop, problem);
    for (size_t i = 0; i < json_object_array_length(stop); i++) {
        if (!add_stop(request, json_object_array_get_idx(stop, i), problem))
            return false;
    }
    return true;
}

// The text of a conversation, or of a prompt, as it grows.
struct builder {
    char *text;
    size_t length;
    size_t size;
};

static bool append(struct builder *builder, struct json_object *text, const char *param,
                   struct serve_problem *problem)
{
    const char *bytes = json_object_get_string(text);
    size_t length = (size_t)json_object_get_string_len(text);
    // The texts of a body are no longer than the body is: it has made room.
    if (length > builder->size - builder->length)
        return refuse(problem, param, "the texts are too long");
    if (memchr(bytes, 0, length))
        return refuse(problem, param, "a text contains U+0000");
    memcpy(builder->text + builder->length, bytes, length);
    builder->length += length;
    return true;
}

// A content: a text, or a list of parts that are texts.
static bool append_content(struct builder *builder, struct json_object *content,
                           struct serve_problem *problem)
{
    if (!content) // of an assistant's message that only called tools, or is empty
        return true;
    if (json_object_is_type(content, json_type_string))
        return append(builder, content, "messages", problem);
    if (!json_object_is_type(content, json_type_array))
        return refuse(problem, "messages", "'content' is a text or a list of parts");
    for (size_t i = 0; i < json_object_array_length(content); i++) {
        struct json_object *part = json_object_array_get_idx(content, i);
        struct json_object *type =
            json_object_is_type(part, json_type_object) ? member(part, "type") : NULL;
        struct json_object *text = type ? member(part, "text") : NULL;
        if (!type || !is_text(type, "text") || !text ||
            !json_object_is_type(text, json_type_string))
            return refuse(problem, "messages", "parts of a content are of type 'text' here");
        if (!append(builder, text, "messages", problem))
            return false;
    }
    return true;
}

static const char *role_of(struct json_object *message)
{
    static const struct {
        const char *said;
        const char *role;
    } roles[] = {
        {"system", "system"},       {"developer", "system"}, {"user", "user"},
        {"assistant", "assistant"}, {"tool", "tool"},
    };
    struct json_object *role =
        json_object_is_type(message, json_type_object) ? member(message, "role") : NULL;
    for (size_t i = 0; role && json_object_is_type(role, json_type_string) && i < COUNT(roles);
         i++) {
        if (strcmp(json_object_get_string(role), roles[i].said) == 0)
            return roles[i].role;
    }
    return NULL;
}

// Bytes of a line of the parts: the longest role, a space, a number, a newline, a terminator.
#define PART_SIZE 40u

static bool read_messages(struct serve_request *request, struct builder *builder,
                          struct serve_problem *problem)
{
    struct json_object *messages = member(request->root, "messages");
    size_t used = 0;
    size_t count = messages && json_object_is_type(messages, json_type_array)
                       ? json_object_array_length(messages)
                       : 0;
    if (!count || count > SERVE_MESSAGES_MAX)
        return refuse(problem, "messages", "'messages' is a list of 1 to %u messages",
                      SERVE_MESSAGES_MAX);
    request->parts = malloc(count * PART_SIZE);
    if (!request->parts)
        return refuse(problem, "messages", "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct json_object *message = json_object_array_get_idx(messages, i);
        const char *role = role_of(message);
        size_t before = builder->length;
        if (!role)
            return refuse(problem, "messages",
                          "messages/%zu: 'role' is system, developer, user, assistant or tool", i);
        if (!append_content(builder, member(message, "content"), problem))
            return false;
        used += (size_t)snprintf(request->parts + used, PART_SIZE, "%s %zu\n", role,
                                 builder->length - before);
    }
    request->prompt.chat = true;
    request->prompt.parts = request->parts;
    return true;
}

static bool read_prompt(struct serve_request *request, struct builder *builder,
                        struct serve_problem *problem)
{
    struct json_object *prompt = member(request->root, "prompt");
    // Some clients send a list of one.
    if (prompt && json_object_is_type(prompt, json_type_array) &&
        json_object_array_length(prompt) == 1)
        prompt = json_object_array_get_idx(prompt, 0);
    if (!prompt || !json_object_is_type(prompt, json_type_string))
        return refuse(problem, "prompt", "'prompt' is one text");
    request->prompt.parts = "";
    return append(builder, prompt, "prompt", problem);
}

static bool read_all(struct serve_request *request, bool chat, const char *model, size_t length,
                     struct serve_problem *problem)
{
    struct serve_prompt *prompt = &request->prompt;
    struct builder builder = {.text = malloc(length + 1), .size = length};
    request->text = builder.text;
    if (!builder.text)
        return refuse(problem, NULL, "out of memory");
    if (!check_model(request->root, model, problem) || !check_unsupported(request->root, problem) ||
        !read_stream(request, problem) || !read_limit(request, problem) ||
        !read_seed(request, problem) || !read_stops(request, problem) ||
        !read_milli(request->root, "temperature", 0, 2, &prompt->temperature_milli, problem) ||
        !read_milli(request->root, "top_p", 1, 1, &prompt->top_p_milli, problem))
        return false;
    if (!(chat ? read_messages(request, &builder, problem)
               : read_prompt(request, &builder, problem)))
        return false;
    prompt->text = builder.text;
    prompt->text_length = builder.length;
    return true;
}

bool serve_request_read(struct serve_request *request, bool chat, const char *model,
                        const char *body, size_t length, struct serve_problem *problem)
{
    struct json_document document = {0};
    struct error err;
    *request = (struct serve_request){0};
    if (json_document_parse_fractions(&document, "body", body, length, SERVE_BODY_MAX, &err) < 0)
        return refuse(problem, NULL, "%s", err.text);
    request->root = document.root; // the tree is kept, the text is not needed
    if (!json_object_is_type(request->root, json_type_object))
        return refuse(problem, NULL, "the body is a JSON object");
    return read_all(request, chat, model, length, problem);
}

void serve_request_free(struct serve_request *request)
{
    json_object_put(request->root);
    free(request->text);
    free(request->parts);
    *request = (struct serve_request){0};
}
