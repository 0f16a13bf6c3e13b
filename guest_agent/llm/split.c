// SPDX-License-Identifier: Apache-2.0
// Cutting of a text into words: matching of rules.

/* Rules match as alternatives of a regular expression do, with the longest run of each part first
 * and fewer characters as long as a later part fails. Their parts are such that this needs no more
 * than two walks over what a rule takes: once a part that can fail has matched, the rule has. */

#include "split.h"

/* Text between two places, and whom to hand words to. */
struct splitting {
    const struct llm_split *split;
    const char *text;
    int (*word)(void *argument, const char *text, size_t length);
    void *argument;
};

static bool in_set(uint32_t set, const char *text, size_t length, size_t *bytes)
{
    uint32_t classes = llm_character_classes(llm_character_decode(text, length, bytes));
    bool inside = (classes & set & ~LLM_SPLIT_EXCEPT) != 0;
    return inside != ((set & LLM_SPLIT_EXCEPT) != 0);
}

/* Returns the length of the contraction at the start of the text, 0 if there is none. */
static size_t contraction(const char *text, size_t length, bool any_case)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    /* U+017F, LATIN SMALL LETTER LONG S: without regard to case it equals an s. */
    if (any_case && length >= 3 && text[0] == '\'' && text[1] == '\xc5' && text[2] == '\xbf') {
        return 3;
    }
    for (size_t index = 0; index < sizeof(endings) / sizeof(endings[0]); index++) {
        const char *ending = endings[index];
        size_t at = 1;
        while (ending[at - 1] != '\0' && at < length) {
            char letter = text[at];
            if (any_case && letter >= 'A' && letter <= 'Z') {
                letter = (char)(letter + ('a' - 'A'));
            }
            if (letter != ending[at - 1]) {
                break;
            }
            at++;
        }
        if (length > 0 && text[0] == '\'' && ending[at - 1] == '\0') {
            return at;
        }
    }
    return 0;
}

/* Matches parts that take no choice of characters. Returns whether it does, and in *taken how many
 * bytes. */
static bool match_fixed(const struct llm_split_part *part, const char *text, size_t length,
                        size_t *taken)
{
    size_t bytes;
    if (part->kind == LLM_SPLIT_NO_WORD) {
        *taken = 0;
        return length == 0 || in_set(LLM_SPACE, text, length, &bytes);
    }
    *taken = contraction(text, length, part->kind == LLM_SPLIT_ANY_CASE);
    return *taken > 0 || part->minimum == 0;
}

static size_t step_back(const char *text, size_t position);

/* Matches the parts from `part` on. Returns whether they do, and in *taken how many bytes. */
static bool match(const struct llm_split_part *part, const char *text, size_t start, size_t length,
                  size_t *end)
{
    size_t position = start;
    size_t taken;
    uint32_t count = 0;

    if (part->kind == LLM_SPLIT_END) {
        *end = start;
        return true;
    }
    if (part->kind != LLM_SPLIT_SOME) {
        return match_fixed(part, text + start, length - start, &taken) &&
               match(part + 1, text, start + taken, length, end);
    }
    while (count < part->maximum && position < length &&
           in_set(part->set, text + position, length - position, &taken)) {
        position += taken;
        count++;
    }
    for (; count >= part->minimum; count--) {
        if (match(part + 1, text, position, length, end)) {
            return true;
        }
        if (count == 0) {
            break;
        }
        position = step_back(text + start, position - start) + start;
    }
    return false;
}

/* Returns where the character before `position`, which is one's end, starts. */
static size_t step_back(const char *text, size_t position)
{
    for (size_t back = 4; back > 1; back--) {
        size_t bytes;
        if (back <= position) {
            (void)llm_character_decode(text + position - back, back, &bytes);
            if (bytes == back) {
                return position - back;
            }
        }
    }
    return position - 1;
}

/* Returns where the word that starts at `start` by one of the rules ends; `start` if none takes
 * anything. */
static size_t match_rules(const struct llm_split_stage *stage, const char *text, size_t start,
                          size_t length)
{
    size_t end;
    for (size_t rule = 0; rule < LLM_SPLIT_RULES_MAX; rule++) {
        const struct llm_split_part *parts = stage->rules[rule].parts;
        if (parts->kind == LLM_SPLIT_END) {
            break;
        }
        if (match(parts, text, start, length, &end) && end > start) {
            return end;
        }
    }
    return start;
}

static int split_stage(const struct splitting *splitting, size_t stage, const char *text,
                       size_t length)
{
    if (length == 0) {
        return 0;
    }
    if (stage == LLM_SPLIT_STAGES_MAX || splitting->split->stages[stage] == NULL) {
        return splitting->word(splitting->argument, text, length);
    }
    size_t pending = 0; /* start of what no rule has taken */
    for (size_t start = 0; start < length;) {
        size_t end = match_rules(splitting->split->stages[stage], text, start, length);
        if (end == start) {
            size_t bytes;
            (void)llm_character_decode(text + start, length - start, &bytes);
            start += bytes;
            continue;
        }
        int result = split_stage(splitting, stage + 1, text + pending, start - pending);
        if (result == 0) {
            result = split_stage(splitting, stage + 1, text + start, end - start);
        }
        if (result != 0) {
            return result;
        }
        start = end;
        pending = end;
    }
    return split_stage(splitting, stage + 1, text + pending, length - pending);
}

int llm_split_text(const struct llm_split *split, const char *text, size_t length,
                   int (*word)(void *argument, const char *text, size_t length), void *argument)
{
    const struct splitting splitting = {split, text, word, argument};
    return split_stage(&splitting, 0, text, length);
}
