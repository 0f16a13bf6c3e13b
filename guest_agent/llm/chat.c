// SPDX-License-Identifier: Apache-2.0
// Chat templates: the writing of a conversation.

/* Text between two control tokens is put together before it is tokenized, because tokens may span
 * markup and message. Control tokens are looked up in markup alone: this is why a message that
 * contains their names cannot act as markup. */

#include "chat_template.h"
#include "tokenizer_text.h"

#include <string.h>

/* A conversation being written. */
struct writing {
    const struct llm_chat_template *chat;
    struct llm_tokenizer *tokenizer;
    struct llm_id_list list;
    size_t length; /* bytes at tokenizer->composed */
    size_t floor;  /* bytes of them that trimming leaves alone */
    struct llm_error *err;
};

const struct llm_chat_template *llm_chat_at(size_t index)
{
    return index < llm_chat_template_count ? &llm_chat_templates[index] : NULL;
}

const struct llm_chat_template *llm_chat_find(const char *name)
{
    for (size_t index = 0; index < llm_chat_template_count; index++) {
        if (strcmp(llm_chat_templates[index].name, name) == 0) {
            return &llm_chat_templates[index];
        }
    }
    return NULL;
}

const char *llm_chat_name(const struct llm_chat_template *chat)
{
    return chat->name;
}

static bool contains(struct gguf_string text, const char *part)
{
    size_t length = strlen(part);
    for (uint64_t start = 0; start + length <= text.length; start++) {
        if (memcmp(text.text + start, part, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool matches(const struct llm_chat_template *chat, struct gguf_string text)
{
    if (chat->marks[0] == NULL || (chat->other != NULL && contains(text, chat->other))) {
        return false;
    }
    for (size_t index = 0; index < sizeof(chat->marks) / sizeof(chat->marks[0]); index++) {
        if (chat->marks[index] != NULL && !contains(text, chat->marks[index])) {
            return false;
        }
    }
    return true;
}

const struct llm_chat_template *llm_chat_detect(const struct gguf_file *file)
{
    const struct llm_chat_template *none = &llm_chat_templates[llm_chat_template_count - 1];
    struct gguf_string text = {NULL, 0};
    struct llm_error ignored; /* a value of another type says nothing about the family */

    if (gguf_read_string(file, "tokenizer.chat_template", false, &text, &ignored) != 0 ||
        text.text == NULL) {
        return none;
    }
    for (size_t index = 0; index < llm_chat_template_count; index++) {
        if (matches(&llm_chat_templates[index], text)) {
            return &llm_chat_templates[index];
        }
    }
    return none;
}

/* Tokenizes the text put together so far. */
static int flush(struct writing *writing)
{
    size_t length = writing->length;
    writing->length = 0;
    writing->floor = 0;
    return llm_tokenize_part(writing->tokenizer, writing->tokenizer->composed, length,
                             &writing->list, writing->err);
}

static int put_text(struct writing *writing, const char *text, size_t length)
{
    struct llm_tokenizer *tokenizer = writing->tokenizer;
    if (length > tokenizer->text_limit - writing->length) {
        return llm_fail(writing->err, "the conversation has a part of more than %zu bytes",
                        tokenizer->text_limit);
    }
    if (length > 0) {
        memcpy(tokenizer->composed + writing->length, text, length);
        writing->length += length;
    }
    return 0;
}

static int put_token(struct writing *writing, uint32_t id)
{
    if (id == LLM_NO_TOKEN) {
        return 0;
    }
    if (flush(writing) != 0) {
        return -1;
    }
    llm_id_append(&writing->list, id);
    return 0;
}

/* Returns the control token at the start of the markup and in *length its bytes, or LLM_NO_TOKEN.
 */
static uint32_t find_markup(const struct llm_tokenizer *tokenizer, const char *markup,
                            size_t *length)
{
    if (*markup != '<' && *markup != '[') {
        return LLM_NO_TOKEN;
    }
    const char *end = strchr(markup, *markup == '<' ? '>' : ']');
    if (end == NULL) {
        return LLM_NO_TOKEN;
    }
    *length = (size_t)(end - markup) + 1;
    return llm_token_find_special(tokenizer, markup, *length);
}

static int put_markup(struct writing *writing, const char *markup)
{
    const struct llm_tokenizer *tokenizer = writing->tokenizer;
    int result = 0;
    while (*markup != '\0' && result == 0) {
        size_t length = 1;
        uint32_t id = find_markup(tokenizer, markup, &length);
        if (*markup == LLM_CHAT_BEGIN[0]) {
            result = put_token(writing, tokenizer->begin);
        } else if (*markup == LLM_CHAT_END[0]) {
            result = put_token(writing, tokenizer->end);
        } else if (id != LLM_NO_TOKEN) {
            result = put_token(writing, id);
        } else {
            length = 1;
            result = put_text(writing, markup, 1);
        }
        markup += length;
    }
    return result;
}

/* White space as the templates' engine takes it, as far as it is ASCII. */
static bool is_space(char character)
{
    return character == ' ' || (character >= '\t' && character <= '\r');
}

static int put_message(struct writing *writing, const struct llm_chat_message *message, bool whole)
{
    enum llm_chat_trim trim = writing->chat->trim;
    const char *text = message->text;
    size_t length = message->length;
    bool trims = trim == LLM_CHAT_TRIM_ALL ||
                 (trim == LLM_CHAT_TRIM_REPLIES && message->role == LLM_CHAT_ASSISTANT);

    while (trims && whole && length > 0 && is_space(*text)) {
        text++;
        length--;
    }
    if (put_text(writing, text, length) != 0) {
        return -1;
    }
    while (trims && writing->length > writing->floor &&
           is_space(writing->tokenizer->composed[writing->length - 1])) {
        writing->length--;
    }
    return 0;
}

/* Returns the message that system message `index` goes into, or `index` if it stays apart. */
static size_t host_of(enum llm_chat_system system, const struct llm_chat_message *messages,
                      size_t count, size_t index)
{
    size_t host = index;
    for (size_t other = index + 1; system != LLM_CHAT_SYSTEM_APART && other < count; other++) {
        if (messages[other].role == LLM_CHAT_USER) {
            host = other;
            if (system == LLM_CHAT_SYSTEM_NEXT) {
                break;
            }
        }
    }
    return host;
}

/* Writes the system messages that go into message `index`; sets *any if there are some. */
static int put_guests(struct writing *writing, const struct llm_chat_message *messages,
                      size_t count, size_t index, bool *any)
{
    const struct llm_chat_template *chat = writing->chat;
    const struct llm_chat_markup *markup = &chat->markup[LLM_CHAT_SYSTEM];
    *any = false;
    for (size_t guest = 0; guest < index && messages[index].role == LLM_CHAT_USER; guest++) {
        if (messages[guest].role != LLM_CHAT_SYSTEM ||
            host_of(chat->system, messages, count, guest) != index) {
            continue;
        }
        *any = true;
        if (put_markup(writing, markup->before) != 0 ||
            put_text(writing, messages[guest].text, messages[guest].length) != 0 ||
            put_markup(writing, markup->after) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Writes message `index`. A system message without a host is written as if the user had said it,
 * in families where it has no form of its own. */
static int put_turn(struct writing *writing, const struct llm_chat_message *messages, size_t count,
                    size_t index)
{
    const struct llm_chat_template *chat = writing->chat;
    const struct llm_chat_message *message = &messages[index];
    enum llm_chat_role role = message->role;
    bool guests;

    if (role == LLM_CHAT_SYSTEM && chat->system != LLM_CHAT_SYSTEM_APART) {
        if (host_of(chat->system, messages, count, index) != index) {
            return 0;
        }
        role = LLM_CHAT_USER;
    }
    if (put_markup(writing, chat->markup[role].before) != 0) {
        return -1;
    }
    writing->floor = writing->length;
    if (put_guests(writing, messages, count, index, &guests) != 0 ||
        put_message(writing, message, !guests) != 0) {
        return -1;
    }
    return put_markup(writing, chat->markup[role].after);
}

int llm_chat_tokenize(const struct llm_chat_template *chat, struct llm_tokenizer *tokenizer,
                      const struct llm_chat_message *messages, size_t count, uint32_t *ids,
                      size_t capacity, size_t *used, struct llm_error *err)
{
    struct writing writing = {
        .chat = chat,
        .tokenizer = tokenizer,
        .list = {ids, capacity, 0},
        .err = err,
    };
    if (tokenizer->add_begin && tokenizer->begin != LLM_NO_TOKEN && !chat->begin_in_markup) {
        llm_id_append(&writing.list, tokenizer->begin);
    }
    for (size_t index = 0; index < count; index++) {
        if (put_turn(&writing, messages, count, index) != 0) {
            return -1;
        }
    }
    if (put_markup(&writing, chat->reply) != 0 || flush(&writing) != 0) {
        return -1;
    }
    if (writing.list.count > capacity) {
        return llm_fail(err, "the conversation has %zu tokens, the context holds %zu",
                        writing.list.count, capacity);
    }
    *used = writing.list.count;
    return 0;
}

bool llm_chat_ends(const struct llm_chat_template *chat, const struct llm_tokenizer *tokenizer,
                   uint32_t id)
{
    const struct llm_token *token = &tokenizer->tokens[id];
    if (llm_token_ends(tokenizer, id)) {
        return true;
    }
    for (size_t index = 0; index < sizeof(chat->stops) / sizeof(chat->stops[0]); index++) {
        const char *stop = chat->stops[index];
        if (stop != NULL && strlen(stop) == token->length &&
            memcmp(stop, token->text, token->length) == 0) {
            return true;
        }
    }
    return false;
}
