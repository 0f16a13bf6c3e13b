// SPDX-License-Identifier: Apache-2.0
// The tokenizers: texts into tokens, by the kind "llama".

/* User-defined tokens are cut out first. What is between them is cut into characters, and
 * neighbours are merged (merge.c). Pieces that are no token in the end are spelled in bytes. The
 * kind "gpt2" is in tokenize_words.c. */

#include "tokenizer_text.h"

#include <inttypes.h>
#include <string.h>

void llm_tokenizer_reserve_text(struct llm_tokenizer *tokenizer, struct llm_arena *arena)
{
    /* One more for the space before the text. Each character starts a piece; each pair of
     * neighbours enters the heap once, and each merge, of which there are fewer than characters,
     * adds two. */
    uint64_t characters = (uint64_t)tokenizer->text_limit + 1;
    tokenizer->composed = llm_arena_take(arena, tokenizer->text_limit, 1);
    tokenizer->escaped = llm_arena_take(arena, characters, LLM_SPACE_BYTES);
    tokenizer->pieces = llm_arena_take(arena, characters, sizeof(struct llm_piece));
    tokenizer->heap = llm_arena_take(arena, 3 * characters, sizeof(struct llm_pair));
}

/* Writes a space as the vocabulary does; returns where the next character goes. */
static char *put_space(char *output)
{
    memcpy(output, LLM_SPACE, LLM_SPACE_BYTES);
    return output + LLM_SPACE_BYTES;
}

/* Copies the text with its spaces replaced; returns the number of bytes. */
static uint32_t escape_text(struct llm_tokenizer *tokenizer, const char *text, size_t length)
{
    char *output = tokenizer->escaped;
    while (tokenizer->remove_spaces && length > 0 && text[length - 1] == ' ') {
        length--;
    }
    if (tokenizer->add_space_prefix && length > 0) {
        output = put_space(output);
    }
    for (size_t index = 0; index < length; index++) {
        if (text[index] != ' ') {
            *output++ = text[index];
        } else if (!tokenizer->remove_spaces || (index > 0 && text[index - 1] != ' ')) {
            output = put_space(output);
        }
    }
    return (uint32_t)(output - tokenizer->escaped);
}

/* Returns the length of the character that starts with this byte; what is not the start of a UTF-8
 * sequence is a character of its own. */
static uint32_t character_length(char start)
{
    uint8_t byte = (uint8_t)start;
    if (byte < 0xc0) {
        return 1;
    }
    return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* Cuts the escaped text into characters; returns how many. */
static uint32_t cut_characters(struct llm_tokenizer *tokenizer, uint32_t length)
{
    uint32_t start = 0;
    uint32_t count = 0;
    while (start < length) {
        uint32_t bytes = character_length(tokenizer->escaped[start]);
        if (bytes > length - start) {
            bytes = length - start;
        }
        tokenizer->pieces[count] = (struct llm_piece){
            start, bytes, LLM_NO_TOKEN, count == 0 ? LLM_NO_PIECE : count - 1, count + 1};
        start += bytes;
        count++;
    }
    if (count > 0) {
        tokenizer->pieces[count - 1].next = LLM_NO_PIECE;
    }
    return count;
}

void llm_id_append(struct llm_id_list *list, uint32_t id)
{
    if (list->count < list->capacity) {
        list->ids[list->count] = id;
    }
    list->count++;
}

int llm_append_byte(const struct llm_tokenizer *tokenizer, char byte, struct llm_id_list *list,
                    struct llm_error *err)
{
    uint32_t id = tokenizer->bytes[(uint8_t)byte];
    id = id == LLM_NO_TOKEN ? tokenizer->unknown : id;
    if (id == LLM_NO_TOKEN) {
        return llm_fail(err, "the vocabulary has no token for the byte 0x%02x",
                        (unsigned)(uint8_t)byte);
    }
    llm_id_append(list, id);
    return 0;
}

static int append_piece(struct llm_id_list *list, const struct llm_tokenizer *tokenizer,
                        const struct llm_piece *piece, struct llm_error *err)
{
    const char *text = tokenizer->escaped + piece->start;
    uint32_t id = llm_token_find_text(tokenizer, text, piece->length);
    if (id != LLM_NO_TOKEN) {
        llm_id_append(list, id);
        return 0;
    }
    for (uint32_t index = 0; index < piece->length; index++) {
        if (llm_append_byte(tokenizer, text[index], list, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int tokenize_characters(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                               struct llm_id_list *list, struct llm_error *err)
{
    uint32_t count = cut_characters(tokenizer, escape_text(tokenizer, text, length));
    if (count == 0) {
        return 0;
    }
    llm_merge_pieces(tokenizer, count);
    for (uint32_t index = 0; index != LLM_NO_PIECE; index = tokenizer->pieces[index].next) {
        if (append_piece(list, tokenizer, &tokenizer->pieces[index], err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Returns the longest user-defined token at the start of the text, or LLM_NO_TOKEN. */
static uint32_t find_user_defined(const struct llm_tokenizer *tokenizer, const char *text,
                                  size_t length)
{
    if (!tokenizer->user_first[(uint8_t)text[0]]) {
        return LLM_NO_TOKEN;
    }
    size_t longest = length < tokenizer->user_longest ? length : tokenizer->user_longest;
    for (size_t bytes = longest; bytes > 0; bytes--) {
        uint32_t id =
            tokenizer->user_length[bytes] ? llm_token_find(tokenizer, text, bytes) : LLM_NO_TOKEN;
        if (id != LLM_NO_TOKEN && tokenizer->tokens[id].type == LLM_TOKEN_USER_DEFINED) {
            return id;
        }
    }
    return LLM_NO_TOKEN;
}

static int tokenize_plain(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                          struct llm_id_list *list, struct llm_error *err)
{
    if (length == 0) {
        return 0;
    }
    return tokenizer->kind == LLM_TOKENIZER_LLAMA
               ? tokenize_characters(tokenizer, text, length, list, err)
               : llm_tokenize_words(tokenizer, text, length, list, err);
}

int llm_tokenize_part(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                      struct llm_id_list *list, struct llm_error *err)
{
    size_t plain = 0; /* start of the text since the last user-defined token */
    for (size_t at = 0; at < length && tokenizer->user_longest > 0;) {
        uint32_t id = find_user_defined(tokenizer, text + at, length - at);
        if (id == LLM_NO_TOKEN) {
            at++;
            continue;
        }
        if (tokenize_plain(tokenizer, text + plain, at - plain, list, err) != 0) {
            return -1;
        }
        llm_id_append(list, id);
        at += tokenizer->tokens[id].length;
        plain = at;
    }
    return tokenize_plain(tokenizer, text + plain, length - plain, list, err);
}

int llm_tokenize(struct llm_tokenizer *tokenizer, const char *text, size_t length, bool with_begin,
                 uint32_t *ids, size_t capacity, size_t *count, struct llm_error *err)
{
    struct llm_id_list list = {ids, capacity, 0};

    if (length > tokenizer->text_limit) {
        return llm_fail(err, "the prompt has %zu bytes, at most %zu are allowed", length,
                        tokenizer->text_limit);
    }
    if (with_begin && tokenizer->add_begin && tokenizer->begin != LLM_NO_TOKEN) {
        llm_id_append(&list, tokenizer->begin);
    }
    if (llm_tokenize_part(tokenizer, text, length, &list, err) != 0) {
        return -1;
    }
    if (list.count > capacity) {
        return llm_fail(err, "the prompt has %zu tokens, the context holds %zu", list.count,
                        capacity);
    }
    *count = list.count;
    return 0;
}
