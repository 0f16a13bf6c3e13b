// SPDX-License-Identifier: Apache-2.0
// What the Python tests of the tokenizers call: vocabularies and texts in, tokens out.

/* Usage: llm-tokenizer-tool tokens FILE | chat FILE FAMILY | words PRE-TOKENIZER | classes
 *
 * Texts are lines of hexadecimal digits on the standard input, answers are lines too: "tokens" the
 * numbers of the tokens of each text; "text" the bytes of these tokens; "chat" the numbers of the
 * tokens of each conversation, which is written ROLE:TEXT ROLE:TEXT ... with roles 0 to 3, or the
 * line is "detect" for the name of the family, or "ends" for the tokens that end a reply; "words"
 * the lengths of the words. "classes" writes the runs of code points of one class. What fails is
 * answered by a line "error: MESSAGE". */

#include "chat.h"
#include "gguf.h"
#include "split.h"
#include "tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (1u << 22) /* of a line's text */
#define TEXT_MAX       (1u << 20) /* that the tokenizer takes */
#define IDS_MAX        (1u << 20)

static char *line;
static size_t line_room;
static char text[LINE_MAX_BYTES];
static uint32_t ids[IDS_MAX];
static struct gguf_file file;
static struct llm_tokenizer tokenizer;

static void die(const char *message)
{
    (void)fprintf(stderr, "llm-tokenizer-tool: %s\n", message);
    exit(1);
}

static uint8_t *read_file(const char *path, size_t *length)
{
    FILE *input = fopen(path, "rb");
    if (input == NULL || fseek(input, 0, SEEK_END) != 0) {
        die("the file cannot be read");
    }
    *length = (size_t)ftell(input);
    rewind(input);
    uint8_t *data = malloc(*length + 1);
    if (data == NULL || fread(data, 1, *length, input) != *length) {
        die("the file cannot be read");
    }
    (void)fclose(input);
    return data;
}

static void open_vocabulary(const char *path)
{
    size_t length;
    struct llm_error err;
    struct llm_arena arena = {0};
    const struct gguf_value *tokens;
    const uint8_t *data = read_file(path, &length);
    const struct llm_weights weights = {data, length};
    if (gguf_open(&file, &weights, 1, &err) != 0 ||
        gguf_read_array(&file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &err) != 0) {
        die(err.text);
    }
    llm_tokenizer_reserve(&tokenizer, &arena, &file, (uint32_t)tokens->count, TEXT_MAX);
    arena = (struct llm_arena){.base = calloc(1, arena.used + 64), .length = arena.used};
    if (arena.base == NULL) {
        die("no memory");
    }
    llm_tokenizer_reserve(&tokenizer, &arena, &file, (uint32_t)tokens->count, TEXT_MAX);
    if (llm_tokenizer_load(&tokenizer, &file, &err) != 0) {
        die(err.text);
    }
}

/* Returns the value of a hexadecimal digit, or -1. */
static int digit_value(char digit)
{
    const char *digits = "0123456789abcdef";
    const char *found = digit == '\0' ? NULL : strchr(digits, digit);
    return found == NULL ? -1 : (int)(found - digits);
}

/* Turns hexadecimal digits, up to what is none, into bytes; returns where they end. */
static const char *read_hex(const char *digits, char *output, size_t *length)
{
    *length = 0;
    while (digit_value(digits[0]) >= 0 && digit_value(digits[1]) >= 0) {
        output[(*length)++] = (char)(digit_value(digits[0]) * 16 + digit_value(digits[1]));
        digits += 2;
    }
    return digits;
}

static void write_ids(int result, size_t count, const struct llm_error *err)
{
    if (result != 0) {
        (void)printf("error: %s\n", err->text);
        return;
    }
    for (size_t index = 0; index < count; index++) {
        (void)printf(index == 0 ? "%" PRIu32 : " %" PRIu32, ids[index]);
    }
    (void)printf("\n");
}

static int tokenize(size_t *count, struct llm_error *err)
{
    size_t length;
    (void)read_hex(line, text, &length);
    return llm_tokenize(&tokenizer, text, length, false, ids, IDS_MAX, count, err);
}

static void answer_tokens(const char *argument)
{
    size_t count = 0;
    struct llm_error err;
    (void)argument;
    int result = tokenize(&count, &err);
    write_ids(result, count, &err);
}

static void answer_text(const char *argument)
{
    size_t count = 0;
    struct llm_error err;
    (void)argument;
    if (tokenize(&count, &err) != 0) {
        (void)printf("error: %s\n", err.text);
        return;
    }
    for (size_t index = 0; index < count; index++) {
        char piece[LLM_PIECE_BYTES_MAX];
        size_t length = llm_token_text(&tokenizer, ids[index], piece);
        for (size_t byte = 0; byte < length; byte++) {
            (void)printf("%02x", (unsigned)(uint8_t)piece[byte]);
        }
    }
    (void)printf("\n");
}

static void answer_chat(const char *argument)
{
    static struct llm_chat_message messages[64];
    const struct llm_chat_template *chat = llm_chat_find(argument);
    const char *at = line;
    size_t count = 0;
    size_t used = 0;
    size_t tokens = 0;
    struct llm_error err;
    if (strncmp(line, "detect", 6) == 0) {
        (void)printf("%s\n", llm_chat_name(llm_chat_detect(&file)));
        return;
    }
    if (chat == NULL) {
        die("unknown family");
    }
    if (strncmp(line, "ends", 4) == 0) {
        for (uint32_t id = 0; id < tokenizer.token_count; id++) {
            if (llm_chat_ends(chat, &tokenizer, id)) {
                ids[tokens++] = id;
            }
        }
        write_ids(0, tokens, &err);
        return;
    }
    while (at[0] >= '0' && at[0] <= '3' && count < 64) {
        messages[count].role = (enum llm_chat_role)(at[0] - '0');
        messages[count].text = text + used;
        at = read_hex(at + 2, text + used, &messages[count].length);
        used += messages[count++].length;
        at += *at == ' ' ? 1 : 0;
    }
    int result = llm_chat_tokenize(chat, &tokenizer, messages, count, ids, IDS_MAX, &tokens, &err);
    write_ids(result, tokens, &err);
}

static int write_word(void *argument, const char *word, size_t length)
{
    (void)argument;
    (void)word;
    (void)printf("%zu ", length);
    return 0;
}

static void answer_words(const char *argument)
{
    size_t length;
    const struct gguf_string name = {argument, strlen(argument)};
    const struct llm_split *split = llm_split_find(name);
    if (split == NULL) {
        die("unknown pre-tokenizer");
    }
    (void)read_hex(line, text, &length);
    (void)llm_split_text(split, text, length, write_word, NULL);
    (void)printf("\n");
}

static void write_classes(void)
{
    for (uint32_t point = 0; point < 0x110000; point++) {
        uint32_t classes = llm_character_classes(point);
        if (point == 0 || classes != llm_character_classes(point - 1)) {
            (void)printf("%" PRIu32 " %" PRIu32 "\n", point, classes);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*answer)(const char *argument);
        bool vocabulary;
        int arguments;
    } commands[] = {
        {"tokens", answer_tokens, true, 3},
        {"text", answer_text, true, 3},
        {"chat", answer_chat, true, 4},
        {"words", answer_words, false, 3},
    };
    if (argc == 2 && strcmp(argv[1], "classes") == 0) {
        write_classes();
        return 0;
    }
    for (size_t index = 0; index < sizeof(commands) / sizeof(commands[0]); index++) {
        if (argc != commands[index].arguments || strcmp(argv[1], commands[index].name) != 0) {
            continue;
        }
        if (commands[index].vocabulary) {
            open_vocabulary(argv[2]);
        }
        while (getline(&line, &line_room, stdin) > 0 && strlen(line) / 2 < LINE_MAX_BYTES) {
            commands[index].answer(argv[argc - 1]);
        }
        return 0;
    }
    die("unknown command");
}
