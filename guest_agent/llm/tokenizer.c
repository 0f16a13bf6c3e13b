// SPDX-License-Identifier: Apache-2.0
// The tokenizers: loading of the vocabulary, look-up by text, text of a token.

#include "tokenizer.h"

#include "half.h"
#include "tokenizer_text.h"

#include <inttypes.h>
#include <string.h>

void llm_tokenizer_reserve(struct llm_tokenizer *tokenizer, struct llm_arena *arena,
                           const struct gguf_file *file, uint32_t token_count, size_t text_limit)
{
    uint32_t slots = 16;
    while (slots / 2 < token_count) { /* at most half full: short probe sequences */
        slots *= 2;
    }
    tokenizer->token_count = token_count;
    tokenizer->slot_mask = slots - 1;
    tokenizer->text_limit = text_limit;
    tokenizer->tokens = llm_arena_take(arena, token_count, sizeof(struct llm_token));
    tokenizer->slots = llm_arena_take(arena, slots, sizeof(uint32_t));
    llm_merges_reserve(tokenizer, arena, file);
    llm_tokenizer_reserve_text(tokenizer, arena);
}

/* FNV-1a (Fowler, Noll and Vo), 64 bits: of the text so far and what follows it. */
#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint64_t hash_more(uint64_t hash, const char *text, uint64_t length)
{
    for (uint64_t index = 0; index < length; index++) {
        hash = (hash ^ (uint8_t)text[index]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint32_t slot_of(const struct llm_tokenizer *tokenizer, uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32) & tokenizer->slot_mask;
}

/* Returns the slot of the token with this text, or the empty slot where it would go. There is one,
 * because the table is at most half full. */
static uint32_t find_slot(const struct llm_tokenizer *tokenizer, const char *text, size_t length)
{
    uint32_t slot = slot_of(tokenizer, hash_more(HASH_START, text, length));
    while (tokenizer->slots[slot] != 0) {
        const struct llm_token *token = &tokenizer->tokens[tokenizer->slots[slot] - 1];
        if (token->length == length && memcmp(token->text, text, length) == 0) {
            break;
        }
        slot = (slot + 1) & tokenizer->slot_mask;
    }
    return slot;
}

uint32_t llm_token_slot(const struct llm_tokenizer *tokenizer, struct gguf_string left,
                        struct gguf_string right)
{
    uint64_t hash = hash_more(HASH_START, left.text, left.length);
    return slot_of(tokenizer, hash_more(hash, right.text, right.length));
}

void llm_token_prefetch(const struct llm_tokenizer *tokenizer, uint32_t slot,
                        enum llm_prefetch step)
{
    if (step == LLM_PREFETCH_SLOT) {
        __builtin_prefetch(&tokenizer->slots[slot]);
    } else if (tokenizer->slots[slot] != 0) {
        const struct llm_token *token = &tokenizer->tokens[tokenizer->slots[slot] - 1];
        __builtin_prefetch(step == LLM_PREFETCH_TOKEN ? (const void *)token : token->text);
    }
}

uint32_t llm_token_find(const struct llm_tokenizer *tokenizer, const char *text, size_t length)
{
    if (length > tokenizer->longest) {
        return LLM_NO_TOKEN;
    }
    uint32_t entry = tokenizer->slots[find_slot(tokenizer, text, length)];
    return entry == 0 ? LLM_NO_TOKEN : entry - 1;
}

uint32_t llm_token_find_text(const struct llm_tokenizer *tokenizer, const char *text, size_t length)
{
    uint32_t id = llm_token_find(tokenizer, text, length);
    uint32_t type = id == LLM_NO_TOKEN ? LLM_TOKEN_UNUSED : tokenizer->tokens[id].type;
    bool silent =
        type == LLM_TOKEN_CONTROL || type == LLM_TOKEN_UNKNOWN || type == LLM_TOKEN_UNUSED;
    return silent ? LLM_NO_TOKEN : id;
}

uint32_t llm_token_find_special(const struct llm_tokenizer *tokenizer, const char *text,
                                size_t length)
{
    uint32_t id = llm_token_find(tokenizer, text, length);
    if (id != LLM_NO_TOKEN && tokenizer->tokens[id].type != LLM_TOKEN_CONTROL &&
        tokenizer->tokens[id].type != LLM_TOKEN_USER_DEFINED) {
        return LLM_NO_TOKEN;
    }
    return id;
}

static int load_kind(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                     struct llm_error *err)
{
    static const struct {
        const char *name;
        enum llm_tokenizer_kind kind;
    } kinds[] = {{"llama", LLM_TOKENIZER_LLAMA}, {"gpt2", LLM_TOKENIZER_GPT2}};
    struct gguf_string model;
    if (gguf_read_string(file, "tokenizer.ggml.model", true, &model, err) != 0) {
        return -1;
    }
    for (size_t index = 0; index < sizeof(kinds) / sizeof(kinds[0]); index++) {
        if (gguf_string_is(model, kinds[index].name)) {
            tokenizer->kind = kinds[index].kind;
            return 0;
        }
    }
    return llm_fail(err, "tokenizer model '%.*s' is not supported (supported: llama, gpt2)",
                    gguf_shown(model), model.text);
}

/* Whether a token is by its text one that only a program may write: a message must not contain it.
 * The first table has how such texts begin and end (the bars in the second row are U+FF5C), the
 * other those of another shape. Source: llama.cpp's converter, which takes the shapes for control
 * tokens; the chat templates of the families in chat_template.c. */
static bool is_markup(struct gguf_string text)
{
    static const char *const shapes[][2] = {
        {"<|", "|>"},
        {"<\xef\xbd\x9c", "\xef\xbd\x9c>"},
    };
    static const char *const texts[] = {
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    };
    for (size_t index = 0; index < sizeof(shapes) / sizeof(shapes[0]); index++) {
        size_t before = strlen(shapes[index][0]);
        size_t after = strlen(shapes[index][1]);
        if (text.length > before + after && memcmp(text.text, shapes[index][0], before) == 0 &&
            memcmp(text.text + text.length - after, shapes[index][1], after) == 0) {
            return true;
        }
    }
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        if (gguf_string_is(text, texts[index])) {
            return true;
        }
    }
    return false;
}

/* Notes what find_user_defined() goes by. */
static void note_user_defined(struct llm_tokenizer *tokenizer, const struct llm_token *token)
{
    if (token->type != LLM_TOKEN_USER_DEFINED || token->length == 0) {
        return;
    }
    tokenizer->user_first[(uint8_t)token->text[0]] = true;
    tokenizer->user_length[token->length] = true;
    if (token->length > tokenizer->user_longest) {
        tokenizer->user_longest = token->length;
    }
}

static int load_token(struct llm_tokenizer *tokenizer, uint32_t id, struct gguf_string text,
                      float score, uint32_t type, struct llm_error *err)
{
    if (text.length > LLM_PIECE_BYTES_MAX) {
        return llm_fail(err, "token %" PRIu32 ": %" PRIu64 " bytes are too long (at most %d)", id,
                        text.length, LLM_PIECE_BYTES_MAX);
    }
    if (!(score >= -3.4e38f && score <= 3.4e38f)) { /* merges are ordered by it */
        return llm_fail(err, "token %" PRIu32 ": its score is not a finite number", id);
    }
    struct llm_token *token = &tokenizer->tokens[id];
    token->text = text.text;
    token->length = (uint32_t)text.length;
    token->score = score;
    /* Some files have markup as user-defined tokens, which are found in texts. */
    token->type =
        type == LLM_TOKEN_USER_DEFINED && is_markup(text) ? (uint32_t)LLM_TOKEN_CONTROL : type;
    if (token->length > tokenizer->longest) {
        tokenizer->longest = token->length;
    }
    note_user_defined(tokenizer, token);
    tokenizer->slots[find_slot(tokenizer, text.text, token->length)] = id + 1;
    return 0;
}

/* Reads an array that a file need not have. */
static int read_numbers(const struct gguf_file *file, const char *name, uint32_t type,
                        const struct gguf_value **value, struct llm_error *err)
{
    return gguf_find(file, name) == NULL ? 0 : gguf_read_array(file, name, type, value, err);
}

static int load_vocabulary(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                           struct llm_error *err)
{
    const struct gguf_value *texts;
    const struct gguf_value *scores = NULL;
    const struct gguf_value *types = NULL;
    if (gguf_read_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &texts, err) != 0 ||
        read_numbers(file, "tokenizer.ggml.scores", GGUF_FLOAT32, &scores, err) != 0 ||
        read_numbers(file, "tokenizer.ggml.token_type", GGUF_INT32, &types, err) != 0) {
        return -1;
    }
    if (texts->count != tokenizer->token_count ||
        (scores != NULL && scores->count != texts->count) ||
        (types != NULL && types->count != texts->count)) {
        return llm_fail(err, "tokenizer.ggml.tokens, scores and token_type differ in length");
    }

    uint64_t offset = 0;
    for (uint32_t id = 0; id < tokenizer->token_count; id++) {
        struct gguf_string text;
        float score = scores == NULL ? 0.0F : llm_load_f32(scores->data + 4 * (size_t)id);
        uint32_t type =
            types == NULL ? LLM_TOKEN_NORMAL : llm_load_u32(types->data + 4 * (size_t)id);
        if (gguf_next_string(texts, &offset, &text) != 0) {
            return llm_fail(err, "tokenizer.ggml.tokens ends too early");
        }
        if (load_token(tokenizer, id, text, score, type, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* In the kind "llama" a byte without a token of its own "<0xNN>" may still be the text of one. */
static void load_bytes(struct llm_tokenizer *tokenizer)
{
    static const char digits[] = "0123456789ABCDEF";
    for (unsigned byte = 0; byte < 256 && tokenizer->kind == LLM_TOKENIZER_GPT2; byte++) {
        char text[2];
        size_t length = llm_byte_text((uint8_t)byte, text);
        tokenizer->bytes[byte] = llm_token_find_text(tokenizer, text, length);
    }
    if (tokenizer->kind == LLM_TOKENIZER_GPT2) {
        return;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[] = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
        char self = (char)byte;
        tokenizer->bytes[byte] = llm_token_find_text(tokenizer, name, sizeof(name));
        if (tokenizer->bytes[byte] == LLM_NO_TOKEN) {
            tokenizer->bytes[byte] = llm_token_find_text(tokenizer, &self, 1);
        }
    }
}

/* Reads the number of a special token; without the key it is `usual`, if there is such a token. It
 * is not to be found in texts, as is_markup(). */
static int load_special(const struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                        const char *name, uint32_t usual, uint32_t *id, struct llm_error *err)
{
    uint64_t value = usual < tokenizer->token_count ? usual : LLM_NO_TOKEN;
    if (gguf_read_integer(file, name, false, 0, tokenizer->token_count - 1, &value, err) != 0) {
        return -1;
    }
    *id = (uint32_t)value;
    if (*id != LLM_NO_TOKEN && tokenizer->tokens[*id].type == LLM_TOKEN_USER_DEFINED) {
        tokenizer->tokens[*id].type = LLM_TOKEN_CONTROL;
    }
    return 0;
}

static int load_ends(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                     struct llm_error *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    tokenizer->end_count = 0;
    tokenizer->ends[tokenizer->end_count++] = tokenizer->end;
    for (size_t index = 0; index < sizeof(keys) / sizeof(keys[0]); index++) {
        uint32_t *id = &tokenizer->ends[tokenizer->end_count++];
        if (load_special(tokenizer, file, keys[index], LLM_NO_TOKEN, id, err) != 0) {
            return -1;
        }
    }
    return 0;
}

bool llm_token_ends(const struct llm_tokenizer *tokenizer, uint32_t id)
{
    for (uint32_t index = 0; index < tokenizer->end_count; index++) {
        if (tokenizer->ends[index] == id) {
            return id != LLM_NO_TOKEN;
        }
    }
    return false;
}

/* Reads the keys that both kinds have; without them llama.cpp's defaults. */
static int load_keys(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                     struct llm_error *err)
{
    bool llama = tokenizer->kind == LLM_TOKENIZER_LLAMA;
    const struct {
        const char *name;
        uint32_t usual;
        uint32_t *id;
    } ids[] = {
        {"tokenizer.ggml.unknown_token_id", llama ? 0 : LLM_NO_TOKEN, &tokenizer->unknown},
        {"tokenizer.ggml.bos_token_id", llama ? 1 : LLM_NO_TOKEN, &tokenizer->begin},
        {"tokenizer.ggml.eos_token_id", llama ? 2 : LLM_NO_TOKEN, &tokenizer->end},
    };
    tokenizer->add_begin = llama || tokenizer->split->add_begin;
    tokenizer->add_space_prefix = llama;
    tokenizer->remove_spaces = false;
    for (size_t index = 0; index < sizeof(ids) / sizeof(ids[0]); index++) {
        if (load_special(tokenizer, file, ids[index].name, ids[index].usual, ids[index].id, err) !=
            0) {
            return -1;
        }
    }
    if (gguf_read_boolean(file, "tokenizer.ggml.add_bos_token", false, &tokenizer->add_begin,
                          err) != 0 ||
        gguf_read_boolean(file, "tokenizer.ggml.add_space_prefix", false,
                          &tokenizer->add_space_prefix, err) != 0 ||
        gguf_read_boolean(file, "tokenizer.ggml.remove_extra_whitespaces", false,
                          &tokenizer->remove_spaces, err) != 0) {
        return -1;
    }
    return load_ends(tokenizer, file, err);
}

int llm_tokenizer_load(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                       struct llm_error *err)
{
    tokenizer->longest = 0;
    tokenizer->user_longest = 0;
    memset(tokenizer->user_first, 0, sizeof(tokenizer->user_first));
    memset(tokenizer->user_length, 0, sizeof(tokenizer->user_length));
    if (load_kind(tokenizer, file, err) != 0 || load_vocabulary(tokenizer, file, err) != 0) {
        return -1;
    }
    if (tokenizer->kind == LLM_TOKENIZER_GPT2 && llm_merges_load(tokenizer, file, err) != 0) {
        return -1;
    }
    if (load_keys(tokenizer, file, err) != 0) {
        return -1;
    }
    load_bytes(tokenizer);
    return 0;
}

/* Returns the value of the hexadecimal digit, or -1. */
static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

/* Replaces the sign for a space by one. */
static size_t text_of_llama(const struct llm_token *token, char *text)
{
    size_t length = 0;
    for (size_t index = 0; index < token->length; index++) {
        if (token->length - index >= LLM_SPACE_BYTES &&
            memcmp(token->text + index, LLM_SPACE, LLM_SPACE_BYTES) == 0) {
            text[length++] = ' ';
            index += LLM_SPACE_BYTES - 1;
        } else {
            text[length++] = token->text[index];
        }
    }
    return length;
}

/* Replaces characters by the bytes that they stand for; others stay. */
static size_t text_of_gpt2(const struct llm_token *token, char *text)
{
    size_t length = 0;
    size_t bytes;
    for (size_t index = 0; index < token->length; index += bytes) {
        uint32_t point = llm_character_decode(token->text + index, token->length - index, &bytes);
        int byte = llm_point_byte(point);
        if (byte >= 0) {
            text[length++] = (char)byte;
        } else {
            memcpy(text + length, token->text + index, bytes);
            length += bytes;
        }
    }
    return length;
}

size_t llm_token_text(const struct llm_tokenizer *tokenizer, uint32_t id, char *text)
{
    const struct llm_token *token = &tokenizer->tokens[id];

    switch (token->type) {
    case LLM_TOKEN_CONTROL:
    case LLM_TOKEN_UNKNOWN:
    case LLM_TOKEN_UNUSED:
        return 0;
    case LLM_TOKEN_USER_DEFINED: /* these are written as they are */
        memcpy(text, token->text, token->length);
        return token->length;
    case LLM_TOKEN_BYTE:
        if (tokenizer->kind == LLM_TOKENIZER_GPT2) {
            break;
        }
        if (token->length == 6 && digit_value(token->text[3]) >= 0 &&
            digit_value(token->text[4]) >= 0) {
            text[0] = (char)(digit_value(token->text[3]) * 16 + digit_value(token->text[4]));
            return 1;
        }
        return 0;
    default:
        break;
    }
    return tokenizer->kind == LLM_TOKENIZER_GPT2 ? text_of_gpt2(token, text)
                                                 : text_of_llama(token, text);
}
