// SPDX-License-Identifier: Apache-2.0
// Chat templates: how a conversation is written for a model, by the family of the template.

#ifndef LLM_CHAT_H
#define LLM_CHAT_H

#include "error.h"
#include "gguf.h"
#include "tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum llm_chat_role {
    LLM_CHAT_SYSTEM,
    LLM_CHAT_USER,
    LLM_CHAT_ASSISTANT,
    LLM_CHAT_TOOL, /* what a tool has returned */
    LLM_CHAT_ROLES,
};

struct llm_chat_message {
    enum llm_chat_role role;
    const char *text; /* any bytes, not NUL-terminated */
    size_t length;    /* bytes */
};

/* One family of templates; a constant of the program. */
struct llm_chat_template;

/* Returns the family called `name` (NUL-terminated), or NULL if there is none. */
const struct llm_chat_template *llm_chat_find(const char *name);

/* Returns the family `index`, counted from 0, or NULL after the last one. */
const struct llm_chat_template *llm_chat_at(size_t index);

/* Returns the family that the text of the key tokenizer.chat_template belongs to, which is told by
 * strings in it (docs/models.md lists them). Without the key, or with a text of no known family, it
 * is "none", which suits models that were not trained for conversations. */
const struct llm_chat_template *llm_chat_detect(const struct gguf_file *file);

/* Returns the family's name. */
const char *llm_chat_name(const struct llm_chat_template *chat);

/* Writes the tokens of a conversation, up to where the reply starts, to ids, at most `capacity` of
 * them, and their number to *used. Markup becomes control tokens where the vocabulary has them, and
 * text where it has not; what messages contain is never read as markup. Returns 0, or -1 with *err
 * filled if the conversation is too long for the tokenizer or for `ids`. */
int llm_chat_tokenize(const struct llm_chat_template *chat, struct llm_tokenizer *tokenizer,
                      const struct llm_chat_message *messages, size_t count, uint32_t *ids,
                      size_t capacity, size_t *used, struct llm_error *err);

/* Returns whether a reply ends with the token `id`, below tokenizer->token_count: one that any text
 * ends with, or one that ends a message in this family. */
bool llm_chat_ends(const struct llm_chat_template *chat, const struct llm_tokenizer *tokenizer,
                   uint32_t id);

#endif
