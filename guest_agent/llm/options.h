// SPDX-License-Identifier: Apache-2.0
// The arguments of the inference program.

#ifndef LLM_OPTIONS_H
#define LLM_OPTIONS_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

struct llm_options {
    const char *prompt; /* in argv or static; "-": a line of the standard input */
    uint64_t tokens;    /* to generate, at most */
    double temperature; /* 0, or 0.001 to 100 */
    double top_p;       /* above 0, at most 1 */
    uint64_t seed;
    uint64_t context;          /* positions; 0: not given */
    bool no_echo;              /* do not write the prompt before the text that continues it */
    bool ignore_eos;           /* go on after the token for the end of a text */
    bool logits;               /* write the logits of the prompt's tokens, no text */
    bool last;                 /* of the logits, the last token's only */
    bool tokenize;             /* write the numbers of the prompt's tokens, no text */
    bool info;                 /* describe the model, nothing else */
    bool serve;                /* answer calls of clients, no prompt of its own */
    bool whole;                /* answers go out as a whole, never in pieces */
    const char *chat_template; /* by name, in argv; NULL: as the file says */
    bool help;                 /* explain the options, nothing else */
};

/* Fills *options from the arguments, argv[0] being the first of them; what is not given gets its
 * default. Strings stay where they are. Returns 0, or -1 with *err filled if an argument is unknown
 * or its value wrong. */
int llm_options_parse(struct llm_options *options, int argc, char *const *argv,
                      struct llm_error *err);

/* The explanation of the options; static storage. */
extern const char llm_options_usage[];

#endif
