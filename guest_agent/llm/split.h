// SPDX-License-Identifier: Apache-2.0
// Cutting of a text into words, within which a byte-level tokenizer merges.

#ifndef LLM_SPLIT_H
#define LLM_SPLIT_H

#include "character.h"
#include "gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum llm_split_kind {
    LLM_SPLIT_END,         /* of a rule */
    LLM_SPLIT_SOME,        /* minimum to maximum characters of the set, as many as possible */
    LLM_SPLIT_CONTRACTION, /* 's 't 're 've 'm 'll 'd, minimum to maximum (0 or 1) of them */
    LLM_SPLIT_ANY_CASE,    /* as before, in capital letters too */
    LLM_SPLIT_NO_WORD,     /* nothing or white space follows; takes no character */
};

#define LLM_SPLIT_EXCEPT (1u << 31) /* in a set: the characters that are in none of its classes */
#define LLM_SPLIT_MANY   UINT32_MAX

/* A part of a rule. */
struct llm_split_part {
    enum llm_split_kind kind;
    uint32_t minimum;
    uint32_t maximum;
    uint32_t set; /* of enum llm_character_class */
};

#define LLM_SPLIT_PARTS_MAX  5
#define LLM_SPLIT_RULES_MAX  8
#define LLM_SPLIT_STAGES_MAX 4

/* A rule takes what all its parts take, one after the other: what an alternative of a regular
 * expression matches. */
struct llm_split_rule {
    struct llm_split_part parts[LLM_SPLIT_PARTS_MAX]; /* up to the first LLM_SPLIT_END */
};

/* At each place the first rule that takes something gives a word; what none takes is a word, up to
 * where one does. */
struct llm_split_stage {
    struct llm_split_rule rules[LLM_SPLIT_RULES_MAX]; /* up to the first without parts */
};

/* How the text of one family of models is cut: the words of a stage are cut by the next. */
struct llm_split {
    const struct llm_split_stage *stages[LLM_SPLIT_STAGES_MAX]; /* up to the first NULL */
    bool whole_words; /* a word that is a token is not merged from its bytes */
    bool add_begin;   /* texts start with the token that begins a text, unless the file says */
};

/* Returns how the pre-tokenizer of this name (key tokenizer.ggml.pre) cuts, or NULL if it is not
 * known. */
const struct llm_split *llm_split_find(struct gguf_string name);

/* Calls word() for each word of the `length` bytes at `text`, in order; together they are the whole
 * text. Stops at the first call that does not return 0, and returns what it did; otherwise 0. Takes
 * time in proportion to the length. */
int llm_split_text(const struct llm_split *split, const char *text, size_t length,
                   int (*word)(void *argument, const char *text, size_t length), void *argument);

#endif
