// SPDX-License-Identifier: Apache-2.0
// What the two files of the tokenizer share: the vocabulary, and the merging of a text.

#ifndef LLM_TOKENIZER_TEXT_H
#define LLM_TOKENIZER_TEXT_H

#include "tokenizer.h"

/* SentencePiece writes a space as U+2581, LOWER ONE EIGHTH BLOCK. */
#define LLM_SPACE       "\xe2\x96\x81"
#define LLM_SPACE_BYTES 3

/* Returns the token with exactly this text, or LLM_NO_TOKEN. */
uint32_t llm_token_find(const struct llm_tokenizer *tokenizer, const char *text, size_t length);

/* Returns the control or user-defined token with exactly this text, or LLM_NO_TOKEN. */
uint32_t llm_token_find_special(const struct llm_tokenizer *tokenizer, const char *text,
                                size_t length);

/* Ids written one after the other; those that do not fit are only counted. */
struct llm_id_list {
    uint32_t *ids;
    size_t capacity;
    size_t count;
};

void llm_id_append(struct llm_id_list *list, uint32_t id);

/* Appends the tokens of the `length` bytes at `text` to the list, none that begins a text. Returns
 * 0, also if not all fit, or -1 with *err filled as llm_tokenize(). */
int llm_tokenize_part(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                      struct llm_id_list *list, struct llm_error *err);

/* Takes the working memory for texts of tokenizer->text_limit bytes from the arena. */
void llm_tokenizer_reserve_text(struct llm_tokenizer *tokenizer, struct llm_arena *arena);

#endif
