// SPDX-License-Identifier: Apache-2.0
// What the files of the tokenizers share: the vocabulary, and the merging of a text.

#ifndef LLM_TOKENIZER_TEXT_H
#define LLM_TOKENIZER_TEXT_H

#include "tokenizer.h"

/* SentencePiece writes a space as U+2581, LOWER ONE EIGHTH BLOCK. */
#define LLM_SPACE       "\xe2\x96\x81"
#define LLM_SPACE_BYTES 3

/* Returns the token with exactly this text, or LLM_NO_TOKEN. */
uint32_t llm_token_find(const struct llm_tokenizer *tokenizer, const char *text, size_t length);

/* As before, but only a token that stands for text: none that is control, unknown or unused. */
uint32_t llm_token_find_text(const struct llm_tokenizer *tokenizer, const char *text,
                             size_t length);

/* Returns where the search for a token starts whose text is `left` and then `right`. */
uint32_t llm_token_slot(const struct llm_tokenizer *tokenizer, struct gguf_string left,
                        struct gguf_string right);

/* How far llm_token_prefetch() follows what it has fetched before. */
enum llm_prefetch { LLM_PREFETCH_SLOT, LLM_PREFETCH_TOKEN, LLM_PREFETCH_TEXT, LLM_PREFETCH_STEPS };

/* Tells the processor that the search from a slot is to come. One step for many slots, then the
 * next: so their memory is waited for at the same time. */
void llm_token_prefetch(const struct llm_tokenizer *tokenizer, uint32_t slot,
                        enum llm_prefetch step);

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

#define LLM_NO_PIECE UINT32_MAX

/* Merges the neighbours among tokenizer->pieces, of which `count` (at least 1) are linked in order,
 * until no pair forms a token: the pair with the highest score first, the leftmost among equals.
 * What is left is linked from piece 0 on. */
void llm_merge_pieces(struct llm_tokenizer *tokenizer, uint32_t count);

/* Appends the token of a byte that is part of no token, or the unknown token; -1 with *err filled
 * if the vocabulary has neither. */
int llm_append_byte(const struct llm_tokenizer *tokenizer, char byte, struct llm_id_list *list,
                    struct llm_error *err);

/* The kind "gpt2" writes each byte of a token as a character of its own (source: the encoder of
 * GPT-2): printable ones of Latin-1 as themselves, the others as U+0100 and up. */

/* Writes the character, in UTF-8, that stands for a byte; returns its length. */
size_t llm_byte_text(uint8_t byte, char text[2]);

/* Returns the byte that a code point stands for, or -1. */
int llm_point_byte(uint32_t point);

/* Takes the memory for the list of merges of a file of the kind "gpt2" from the arena. */
void llm_merges_reserve(struct llm_tokenizer *tokenizer, struct llm_arena *arena,
                        const struct gguf_file *file);

/* Reads pre-tokenizer and merges of a file of the kind "gpt2", whose vocabulary has been read.
 * Returns 0, or -1 with *err filled. */
int llm_merges_load(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                    struct llm_error *err);

/* Returns the rank of the merge of two tokens, and in *id what they form, or UINT32_MAX. */
uint32_t llm_merge_find(const struct llm_tokenizer *tokenizer, uint32_t left, uint32_t right,
                        uint32_t *id);

/* llm_tokenize_part() for the kind "gpt2", of a text without user-defined tokens. */
int llm_tokenize_words(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                       struct llm_id_list *list, struct llm_error *err);

#endif
