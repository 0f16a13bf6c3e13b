// SPDX-License-Identifier: Apache-2.0
// The arguments of the inference program.

#include "options.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

const char llm_options_usage[] =
    "options: [PROMPT] or\n"
    "  --prompt TEXT      the text to continue; - reads a line from the input\n"
    "  --tokens N         tokens to generate, at most (200); the context limits them too\n"
    "  --temperature T    0 takes the most probable token, more is more random (0.8)\n"
    "  --top-p P          choose among the most probable tokens that together have P (0.95)\n"
    "  --seed N           of the random choices (1)\n"
    "  --context N        tokens the prompt and the text may have together\n"
    "  --no-echo          do not write the prompt first\n"
    "  --ignore-eos       go on after the end of a text\n"
    "  --logits [--last]  write the logits after each token of the prompt (after the last one):\n"
    "                     a line of little-endian 32-bit floats in hexadecimal\n"
    "  --tokenize         write the numbers of the prompt's tokens\n"
    "  --info             describe the model\n"
    "  --serve            answer calls of clients, through a serve port\n"
    "  --whole            with --serve: replies go out as a whole, not in pieces\n"
    "  --chat-template T  with --serve: how conversations are written (as the file says)\n"
    "  --help             write this\n";

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_INTEGER, OPTION_NUMBER };

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;    /* of the member: bool, const char *, uint64_t or double */
    uint64_t minimum; /* of an integer */
    uint64_t maximum;
};

#define MEMBER(name) offsetof(struct llm_options, name)

static const struct option option_table[] = {
    {"--prompt", OPTION_TEXT, MEMBER(prompt), 0, 0},
    {"--tokens", OPTION_INTEGER, MEMBER(tokens), 0, UINT32_MAX},
    {"--temperature", OPTION_NUMBER, MEMBER(temperature), 0, 0},
    {"--top-p", OPTION_NUMBER, MEMBER(top_p), 0, 0},
    {"--seed", OPTION_INTEGER, MEMBER(seed), 0, UINT64_MAX},
    {"--context", OPTION_INTEGER, MEMBER(context), 1, UINT32_MAX},
    {"--no-echo", OPTION_FLAG, MEMBER(no_echo), 0, 0},
    {"--ignore-eos", OPTION_FLAG, MEMBER(ignore_eos), 0, 0},
    {"--logits", OPTION_FLAG, MEMBER(logits), 0, 0},
    {"--last", OPTION_FLAG, MEMBER(last), 0, 0},
    {"--tokenize", OPTION_FLAG, MEMBER(tokenize), 0, 0},
    {"--info", OPTION_FLAG, MEMBER(info), 0, 0},
    {"--serve", OPTION_FLAG, MEMBER(serve), 0, 0},
    {"--whole", OPTION_FLAG, MEMBER(whole), 0, 0},
    {"--chat-template", OPTION_TEXT, MEMBER(chat_template), 0, 0},
    {"--help", OPTION_FLAG, MEMBER(help), 0, 0},
};

static const struct option *find_option(const char *name)
{
    for (size_t index = 0; index < sizeof(option_table) / sizeof(option_table[0]); index++) {
        if (strcmp(option_table[index].name, name) == 0) {
            return &option_table[index];
        }
    }
    return NULL;
}

/* Stricter than the C library's conversions, which take signs, white space and rests: these two
 * read decimal digits; -1 if there is anything else, or too much. */
static int parse_integer(const char *text, uint64_t *value)
{
    uint64_t number = 0;
    if (*text == '\0') {
        return -1;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number)) {
            return -1;
        }
    }
    *value = number;
    return 0;
}

static int parse_number(const char *text, double *value)
{
    double number = 0.0;
    double unit = 1.0;
    bool fraction = false;
    bool digits = false;
    for (; *text != '\0'; text++) {
        if (*text == '.' && !fraction) {
            fraction = true;
        } else if (*text >= '0' && *text <= '9') {
            number = number * 10.0 + (double)(*text - '0');
            unit = fraction ? unit * 10.0 : unit;
            digits = true;
        } else {
            return -1;
        }
        if (number > 1e15 || unit > 1e15) { /* beyond the digits a double holds */
            return -1;
        }
    }
    *value = number / unit;
    return digits ? 0 : -1;
}

static int set_option(struct llm_options *options, const struct option *option, const char *text,
                      struct llm_error *err)
{
    uint8_t *member = (uint8_t *)options + option->offset;
    uint64_t integer;
    double number;

    switch (option->kind) {
    case OPTION_TEXT:
        memcpy(member, &text, sizeof(text));
        return 0;
    case OPTION_INTEGER:
        if (parse_integer(text, &integer) != 0 || integer < option->minimum ||
            integer > option->maximum) {
            return llm_fail(err, "%s %s: not an integer from %" PRIu64 " to %" PRIu64, option->name,
                            text, option->minimum, option->maximum);
        }
        memcpy(member, &integer, sizeof(integer));
        return 0;
    case OPTION_NUMBER:
        if (parse_number(text, &number) != 0) {
            return llm_fail(err, "%s %s: not a decimal number", option->name, text);
        }
        memcpy(member, &number, sizeof(number));
        return 0;
    case OPTION_FLAG:
    default:
        *(bool *)(void *)member = true;
        return 0;
    }
}

static int check_options(const struct llm_options *options, struct llm_error *err)
{
    double temperature = options->temperature;
    if (temperature > 100.0 || (temperature > 0.0 && temperature < 0.001)) {
        return llm_fail(err, "--temperature: not 0, nor from 0.001 to 100");
    }
    if (!(options->top_p > 0.0) || options->top_p > 1.0) {
        return llm_fail(err, "--top-p: not above 0 and at most 1");
    }
    if (options->last && !options->logits) {
        return llm_fail(err, "--last needs --logits");
    }
    return 0;
}

int llm_options_parse(struct llm_options *options, int argc, char *const *argv,
                      struct llm_error *err)
{
    *options = (struct llm_options){
        .tokens = 200,
        .temperature = 0.8,
        .top_p = 0.95,
        .seed = 1,
    };
    for (int index = 0; index < argc; index++) {
        const char *argument = argv[index];
        const struct option *option = find_option(argument);
        if (option == NULL && argument[0] == '-' && argument[1] == '-') {
            return llm_fail(err, "option %s is not known", argument);
        }
        if (option == NULL) {
            if (options->prompt != NULL) {
                return llm_fail(err, "argument '%s': the prompt is given already", argument);
            }
            options->prompt = argument;
            continue;
        }
        const char *value = "";
        if (option->kind != OPTION_FLAG) {
            if (index + 1 == argc) {
                return llm_fail(err, "option %s needs a value", argument);
            }
            index++;
            value = argv[index];
        }
        if (set_option(options, option, value, err) != 0) {
            return -1;
        }
    }
    if (options->prompt == NULL) {
        options->prompt = "Once upon a time";
    }
    return check_options(options, err);
}
