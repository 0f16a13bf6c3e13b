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

/* Takes the working memory for texts of tokenizer->text_limit bytes from the arena. */
void llm_tokenizer_reserve_text(struct llm_tokenizer *tokenizer, struct llm_arena *arena);

#endif
