// SPDX-License-Identifier: Apache-2.0
// Fuzz target: vocabularies of both kinds, and texts and conversations in them.

/* The input is: flags, the number of the pre-tokenizer, then strings of one byte length each:
 * tokens up to an empty one, merges up to an empty one; the rest is text. All bytes are tokens too,
 * so that the text must come back from its tokens. */

#include "chat.h"
#include "gguf.h"
#include "tokenizer.h"
#include "tokenizer_text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1u << 16)
#define TEXT_MAX 2048
#define IDS_MAX  8192
#define KEYS     9

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t bytes[FILE_MAX];
static size_t used;

static void put(const void *data, size_t size)
{
    if (size > FILE_MAX - used) {
        abort(); /* inputs are at most 4096 bytes */
    }
    memcpy(bytes + used, data, size);
    used += size;
}

static void put_number(uint64_t value, size_t size)
{
    put(&value, size);
}

static void put_string(const void *text, size_t length)
{
    put_number(length, 8);
    put(text, length);
}

static void put_key(const char *name, uint32_t type, uint64_t value, size_t size)
{
    put_string(name, strlen(name));
    put_number(type, 4);
    put_number(value, size);
}

static void put_text(const char *name, const char *text)
{
    put_string(name, strlen(name));
    put_number(GGUF_STRING, 4);
    put_string(text, strlen(text));
}

/* Puts the head of an array; returns where its count goes. */
static size_t put_array(const char *name, uint32_t type)
{
    put_string(name, strlen(name));
    put_number(GGUF_ARRAY, 4);
    put_number(type, 4);
    put_number(0, 8);
    return used - 8;
}

static uint8_t take_byte(struct input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

/* Puts strings of the input up to an empty one; returns how many. */
static uint64_t put_strings(struct input *input)
{
    uint64_t count = 0;
    for (size_t length = take_byte(input); length > 0; length = take_byte(input)) {
        length = length < input->size ? length : input->size;
        put_string(input->data, length);
        input->data += length;
        input->size -= length;
        count++;
    }
    return count;
}

static uint64_t put_bytes_as_tokens(bool gpt2)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        if (gpt2) {
            put_string(text, llm_byte_text((uint8_t)byte, text));
        } else {
            put_string(text, (size_t)snprintf(text, sizeof(text), "<0x%02X>", byte));
        }
    }
    return 256;
}

/* Makes the file; returns the number of tokens. */
static uint64_t build(struct input *input, uint8_t flags, const char *pre)
{
    bool gpt2 = (flags & 1) != 0;
    used = 0;
    put("GGUF", 4);
    put_number(3, 4);
    put_number(0, 8);
    put_number(KEYS, 8);
    put_text("tokenizer.ggml.model", gpt2 ? "gpt2" : "llama");
    put_text("tokenizer.ggml.pre", pre);
    size_t place = put_array("tokenizer.ggml.tokens", GGUF_STRING);
    uint64_t tokens = put_strings(input);
    tokens += put_bytes_as_tokens(gpt2);
    memcpy(bytes + place, &tokens, 8);
    place = put_array("tokenizer.ggml.merges", GGUF_STRING);
    uint64_t merges = put_strings(input);
    memcpy(bytes + place, &merges, 8);
    place = put_array("tokenizer.ggml.token_type", GGUF_INT32);
    for (uint64_t index = 0; index < tokens; index++) {
        uint32_t byte_type = gpt2 ? LLM_TOKEN_NORMAL : LLM_TOKEN_BYTE;
        uint32_t type =
            (flags & 2) != 0 && index % 3 == 0 ? LLM_TOKEN_USER_DEFINED : LLM_TOKEN_NORMAL;
        put_number(index < tokens - 256 ? type : byte_type, 4);
    }
    memcpy(bytes + place, &tokens, 8);
    place = put_array("tokenizer.ggml.scores", GGUF_FLOAT32);
    for (uint64_t index = 0; index < tokens; index++) {
        float score = -(float)(index * 7919 % 64);
        put(&score, 4);
    }
    memcpy(bytes + place, &tokens, 8);
    put_key("tokenizer.ggml.bos_token_id", GGUF_UINT32, 0, 4);
    put_key("tokenizer.ggml.add_space_prefix", GGUF_BOOL, (flags & 4) != 0, 1);
    put_key("tokenizer.ggml.remove_extra_whitespaces", GGUF_BOOL, (flags & 8) != 0, 1);
    return tokens;
}

/* Checks that a text comes back, unless merges may lead to user-defined tokens, whose text is not
 * spelled as that of others. */
static void check_text(const struct llm_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                       const struct input *input)
{
    static char back[IDS_MAX * 64];
    char piece[LLM_PIECE_BYTES_MAX];
    size_t length = 0;
    for (size_t index = 0; index < count; index++) {
        size_t part = llm_token_text(tokenizer, ids[index], piece);
        if (part > sizeof(back) - length) {
            return;
        }
        memcpy(back + length, piece, part);
        length += part;
    }
    if (tokenizer->kind == LLM_TOKENIZER_GPT2 && tokenizer->user_longest == 0 &&
        (length != input->size || memcmp(back, input->data, length) != 0)) {
        abort();
    }
}

static void use(struct llm_tokenizer *tokenizer, const struct input *input, uint8_t flags)
{
    static uint32_t ids[IDS_MAX];
    struct llm_error err;
    size_t count;
    if (llm_tokenize(tokenizer, (const char *)input->data, input->size, false, ids, IDS_MAX, &count,
                     &err) == 0) {
        check_text(tokenizer, ids, count, input);
    }
    size_t half = input->size / 2;
    const struct llm_chat_message messages[] = {
        {LLM_CHAT_SYSTEM, (const char *)input->data, half},
        {(enum llm_chat_role)(flags >> 4 & 3), (const char *)input->data + half,
         input->size - half},
        {LLM_CHAT_USER, (const char *)input->data, half},
    };
    for (size_t index = 0; llm_chat_at(index) != NULL; index++) {
        const struct llm_chat_template *chat = llm_chat_at(index);
        if (llm_chat_tokenize(chat, tokenizer, messages, 3, ids, IDS_MAX, &count, &err) == 0) {
            for (size_t at = 0; at < count; at++) {
                (void)llm_chat_ends(chat, tokenizer, ids[at]);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"default", "gpt-2",  "smollm", "llama-bpe",
                                        "qwen2",   "tekken", "gpt-4o", "deepseek-v3"};
    struct input input = {data, size};
    uint8_t flags = take_byte(&input);
    const char *pre = names[take_byte(&input) % (sizeof(names) / sizeof(names[0]))];
    static struct gguf_file file;
    static struct llm_tokenizer tokenizer;
    struct llm_error err;
    struct llm_arena arena = {0};

    uint64_t tokens = build(&input, flags, pre);
    const struct llm_weights weights = {bytes, used};
    if (gguf_open(&file, &weights, 1, &err) != 0) {
        abort();
    }
    llm_tokenizer_reserve(&tokenizer, &arena, &file, (uint32_t)tokens, TEXT_MAX);
    void *memory = aligned_alloc(64, (arena.used + 63) / 64 * 64);
    if (memory == NULL) {
        return 0;
    }
    memset(memory, 0, arena.used);
    arena = (struct llm_arena){.base = memory, .length = arena.used};
    llm_tokenizer_reserve(&tokenizer, &arena, &file, (uint32_t)tokens, TEXT_MAX);
    if (llm_tokenizer_load(&tokenizer, &file, &err) == 0) {
        use(&tokenizer, &input, flags);
    }
    free(memory);
    return 0;
}
