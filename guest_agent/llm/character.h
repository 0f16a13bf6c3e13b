// SPDX-License-Identifier: Apache-2.0
// Characters of a text: decoding of UTF-8, and classes of code points.

#ifndef LLM_CHARACTER_H
#define LLM_CHARACTER_H

#include <stddef.h>
#include <stdint.h>

/* Classes: general categories of Unicode, and below them sets that single patterns need. A
 * character may be of several. */
enum llm_character_class {
    LLM_UPPER = 1 << 0,       /* Lu, Lt */
    LLM_LOWER = 1 << 1,       /* Ll */
    LLM_LETTER = 1 << 2,      /* Lm, Lo */
    LLM_MARK = 1 << 3,        /* Mn, Mc, Me */
    LLM_NUMBER = 1 << 4,      /* Nd, Nl, No */
    LLM_PUNCTUATION = 1 << 5, /* Pc, Pd, Ps, Pe, Pi, Pf, Po */
    LLM_SYMBOL = 1 << 6,      /* Sm, Sc, Sk, So */
    LLM_SPACE = 1 << 7,       /* property White_Space */

    LLM_LINE_END = 1 << 8,      /* carriage return, line feed */
    LLM_BLANK = 1 << 9,         /* U+0020 */
    LLM_SLASH = 1 << 10,        /* U+002F */
    LLM_DIGIT = 1 << 11,        /* 0 to 9 */
    LLM_ASCII_LETTER = 1 << 12, /* A to Z, a to z */
    LLM_ASCII_SIGN = 1 << 13,   /* printable ASCII but letters, digits and space */
    LLM_ASCII_SYMBOL = 1 << 14, /* $ + < = > ^ ~ | */
    LLM_IDEOGRAPH = 1 << 15,    /* U+4E00 to U+9FA5, U+3040 to U+30FF */
};

/* All code points in runs of one class: the first code point of a run times 256, plus the lowest
 * eight bits of its classes; ascending, the first run starts at 0. */
extern const uint32_t llm_character_runs[];
extern const size_t llm_character_run_count;

/* Decodes the character at the start of the `length` (at least 1) bytes at `text`; *bytes is how
 * many it has. A byte that starts no well-formed sequence (RFC 3629) is a character of its own,
 * taken for U+FFFD. */
uint32_t llm_character_decode(const char *text, size_t length, size_t *bytes);

/* Returns the classes of a code point. */
uint32_t llm_character_classes(uint32_t point);

#endif
