// SPDX-License-Identifier: Apache-2.0
// The form of a family of chat templates.

#ifndef LLM_CHAT_TEMPLATE_H
#define LLM_CHAT_TEMPLATE_H

#include "chat.h"

/* In markup: the tokens that begin and end a text, whatever they are called; nothing if the model
 * has none. */
#define LLM_CHAT_BEGIN "\x01"
#define LLM_CHAT_END   "\x02"

/* Where system messages go. */
enum llm_chat_system {
    LLM_CHAT_SYSTEM_APART, /* where they are, as any other message */
    LLM_CHAT_SYSTEM_NEXT,  /* into the next message of the user, before its text */
    LLM_CHAT_SYSTEM_LAST,  /* into the last message of the user */
};

/* Which spaces and line ends at both ends of a message's text are left out. */
enum llm_chat_trim {
    LLM_CHAT_TRIM_NONE,
    LLM_CHAT_TRIM_ALL,
    LLM_CHAT_TRIM_REPLIES, /* of messages of the assistant only */
};

/* What stands before and after the text of a message. A word in <> or [] that the vocabulary has as
 * a control token is that token, everything else is text. */
struct llm_chat_markup {
    const char *before;
    const char *after;
};

struct llm_chat_template {
    const char *name;
    /* The template's text belongs to the family if it has all of `marks` and not `other`; families
     * are tried in the order of the table. No marks: only by name. */
    const char *marks[2];
    const char *other;
    enum llm_chat_system system;
    enum llm_chat_trim trim;
    bool begin_in_markup; /* `begin` is in the markup: not once more at the start */
    struct llm_chat_markup markup[LLM_CHAT_ROLES];
    const char *reply;    /* what a reply is opened with */
    const char *stops[3]; /* tokens that end a reply, besides those that end any text */
};

/* All families; the last one is "none". */
extern const struct llm_chat_template llm_chat_templates[];
extern const size_t llm_chat_template_count;

#endif
