// SPDX-License-Identifier: Apache-2.0
// Cutting of a text into words: the rules of the pre-tokenizers.

/* Sources: the regular expressions in the files tokenizer.json that the models are published with;
 * the names, what several of them have in common, and the rules of "default" as in llama.cpp. A
 * pattern is quoted before the rules that stand for it. */

#include "split.h"

#define LETTERS    (LLM_UPPER | LLM_LOWER | LLM_LETTER)
#define NOT(set)   (LLM_SPLIT_EXCEPT | (set))
#define CAPITALS   (LLM_UPPER | LLM_LETTER | LLM_MARK) /* and what has no case; so the next */
#define SMALLS     (LLM_LOWER | LLM_LETTER | LLM_MARK)
#define WORD_START NOT(LLM_LINE_END | LETTERS | LLM_NUMBER)
#define SIGNS      NOT(LLM_SPACE | LETTERS | LLM_NUMBER)

#define COUNT(minimum, maximum, set)                                                               \
    {                                                                                              \
        LLM_SPLIT_SOME, minimum, maximum, set                                                      \
    }
#define OPTIONAL(set) COUNT(0, 1, set)
#define ANY(set)      COUNT(0, LLM_SPLIT_MANY, set)
#define SOME(set)     COUNT(1, LLM_SPLIT_MANY, set)
#define SUFFIX(minimum)                                                                            \
    {                                                                                              \
        LLM_SPLIT_CONTRACTION, minimum, 1, 0                                                       \
    }
#define SUFFIX_ANY_CASE(minimum)                                                                   \
    {                                                                                              \
        LLM_SPLIT_ANY_CASE, minimum, 1, 0                                                          \
    }
#define NO_WORD                                                                                    \
    {                                                                                              \
        LLM_SPLIT_NO_WORD, 0, 0, 0                                                                 \
    }
#define RULE(...)                                                                                  \
    {                                                                                              \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* \s*[\r\n]+ | \s+(?!\S) | \s+ */
#define SPACES                                                                                     \
    RULE(ANY(LLM_SPACE), SOME(LLM_LINE_END)), RULE(SOME(LLM_SPACE), NO_WORD), RULE(SOME(LLM_SPACE))

/* 's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const struct llm_split_stage gpt2_words = {{
    RULE(SUFFIX(1)),
    RULE(OPTIONAL(LLM_BLANK), SOME(LETTERS)),
    RULE(OPTIONAL(LLM_BLANK), SOME(LLM_NUMBER)),
    RULE(OPTIONAL(LLM_BLANK), SOME(SIGNS)),
    RULE(SOME(LLM_SPACE), NO_WORD),
    RULE(SOME(LLM_SPACE)),
}};

/* \p{N} */
static const struct llm_split_stage single_numbers = {{RULE(COUNT(1, 1, LLM_NUMBER))}};

/* [\p{P}\$\+<=>\^~\|]+ */
static const struct llm_split_stage punctuation = {
    {RULE(SOME(LLM_PUNCTUATION | LLM_ASCII_SYMBOL))}};

/* \p{N}+ */
static const struct llm_split_stage numbers = {{RULE(SOME(LLM_NUMBER))}};

/* [0-9][0-9][0-9] */
static const struct llm_split_stage three_digits = {{RULE(COUNT(3, 3, LLM_DIGIT))}};

/* \p{N}{1,3} */
static const struct llm_split_stage three_numbers = {{RULE(COUNT(1, 3, LLM_NUMBER))}};

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ , with \p{N} for Qwen */
#define LLAMA3_WORDS(longest_number)                                                               \
    {                                                                                              \
        {                                                                                          \
            RULE(SUFFIX_ANY_CASE(1)), RULE(OPTIONAL(WORD_START), SOME(LETTERS)),                   \
                RULE(COUNT(1, longest_number, LLM_NUMBER)),                                        \
                RULE(OPTIONAL(LLM_BLANK), SOME(SIGNS), ANY(LLM_LINE_END)), SPACES                  \
        }                                                                                          \
    }
static const struct llm_split_stage llama3_words = LLAMA3_WORDS(3);
static const struct llm_split_stage qwen2_words = LLAMA3_WORDS(1);

/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|
 * [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|
 *  ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct llm_split_stage tekken_words = {{
    RULE(OPTIONAL(WORD_START), ANY(CAPITALS), SOME(SMALLS)),
    RULE(OPTIONAL(WORD_START), SOME(CAPITALS), ANY(SMALLS)),
    RULE(COUNT(1, 1, LLM_NUMBER)),
    RULE(OPTIONAL(LLM_BLANK), SOME(SIGNS), ANY(LLM_LINE_END | LLM_SLASH)),
    SPACES,
}};

/* As before, words with (?i:'s|'t|'re|'ve|'m|'ll|'d)? behind, and \p{N}{1,3}. */
static const struct llm_split_stage gpt4o_words = {{
    RULE(OPTIONAL(WORD_START), ANY(CAPITALS), SOME(SMALLS), SUFFIX_ANY_CASE(0)),
    RULE(OPTIONAL(WORD_START), SOME(CAPITALS), ANY(SMALLS), SUFFIX_ANY_CASE(0)),
    RULE(COUNT(1, 3, LLM_NUMBER)),
    RULE(OPTIONAL(LLM_BLANK), SOME(SIGNS), ANY(LLM_LINE_END | LLM_SLASH)),
    SPACES,
}};

/* [一-龥぀-ゟ゠-ヿ]+ */
static const struct llm_split_stage ideographs = {{RULE(SOME(LLM_IDEOGRAPH))}};

/* [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
 *  ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct llm_split_stage deepseek3_words = {{
    RULE(COUNT(1, 1, LLM_ASCII_SIGN), SOME(LLM_ASCII_LETTER)),
    RULE(OPTIONAL(NOT(LLM_LINE_END | LETTERS | LLM_PUNCTUATION | LLM_SYMBOL)),
         SOME(LETTERS | LLM_MARK)),
    RULE(OPTIONAL(LLM_BLANK), SOME(LLM_PUNCTUATION | LLM_SYMBOL), ANY(LLM_LINE_END)),
    SPACES,
}};

static const struct llm_split gpt2 = {.stages = {&gpt2_words}};
static const struct llm_split standard = {
    .stages = {&punctuation, &gpt2_words, &numbers, &three_digits}};
static const struct llm_split digits_apart = {.stages = {&single_numbers, &gpt2_words}};
static const struct llm_split llama3 = {
    .stages = {&llama3_words}, .whole_words = true, .add_begin = true};
static const struct llm_split llama3_merging = {.stages = {&llama3_words}};
static const struct llm_split qwen2 = {.stages = {&qwen2_words}};
static const struct llm_split tekken = {
    .stages = {&tekken_words}, .whole_words = true, .add_begin = true};
static const struct llm_split gpt4o = {.stages = {&gpt4o_words}};
static const struct llm_split deepseek3 = {
    .stages = {&three_numbers, &ideographs, &deepseek3_words}};

static const struct {
    const char *name;
    const struct llm_split *split;
} names[] = {
    {"default", &standard},
    {"gpt-2", &gpt2},
    {"phi-2", &gpt2},
    {"gigachat", &gpt2},
    {"mellum", &gpt2},
    {"a.x-4.0", &gpt2},
    {"exaone4", &gpt2},
    {"olmo", &gpt2},
    {"mpt", &gpt2},
    {"jais", &gpt2},
    {"trillion", &gpt2},
    {"granite-docling", &gpt2},
    {"smollm", &digits_apart},
    {"starcoder", &digits_apart},
    {"refact", &digits_apart},
    {"command-r", &digits_apart},
    {"codeshell", &digits_apart},
    {"exaone", &digits_apart},
    {"minerva-7b", &digits_apart},
    {"llama3", &llama3},
    {"llama-v3", &llama3},
    {"llama-bpe", &llama3},
    {"falcon3", &llama3},
    {"falcon-h1", &llama3},
    {"pixtral", &llama3},
    {"midm-2.0", &llama3},
    {"lfm2", &llama3},
    {"dbrx", &llama3_merging},
    {"smaug-bpe", &llama3_merging},
    {"chatglm-bpe", &llama3_merging},
    {"glm4", &llama3_merging},
    {"qwen2", &qwen2},
    {"deepseek-r1-qwen", &qwen2},
    {"kormo", &qwen2},
    {"stablelm2", &qwen2},
    {"megrez", &qwen2},
    {"tekken", &tekken},
    {"gpt-4o", &gpt4o},
    {"llama4", &gpt4o},
    {"deepseek-v3", &deepseek3},
};

const struct llm_split *llm_split_find(struct gguf_string name)
{
    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        if (gguf_string_is(name, names[index].name)) {
            return names[index].split;
        }
    }
    return NULL;
}
