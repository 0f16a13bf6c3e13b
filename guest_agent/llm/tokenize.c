// SPDX-License-Identifier: Apache-2.0
// The tokenizer "llama": merging of a text into tokens.

/* The text is cut into characters, and of all neighbouring pairs whose joined text is a token the
 * one with the highest score (leftmost among equals) is merged, until none is left. A heap holds
 * the pairs; pairs whose pieces have changed since are recognised by their length when they come
 * up. Pieces that are no token in the end are spelled in bytes. */

#include "tokenizer_text.h"

#include <inttypes.h>
#include <string.h>

#define LLM_NO_PIECE UINT32_MAX

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

/* The state of one call. */
struct merge {
    struct llm_tokenizer *tokenizer;
    uint32_t piece_count;
    uint32_t heap_count;
};

static bool pair_precedes(const struct llm_pair *one, const struct llm_pair *other)
{
    if (one->score > other->score) {
        return true;
    }
    return !(one->score < other->score) && one->left < other->left;
}

static void heap_push(struct merge *merge, struct llm_pair pair)
{
    struct llm_pair *heap = merge->tokenizer->heap;
    uint32_t index = merge->heap_count++;
    while (index > 0) {
        uint32_t parent = (index - 1) / 2;
        if (!pair_precedes(&pair, &heap[parent])) {
            break;
        }
        heap[index] = heap[parent];
        index = parent;
    }
    heap[index] = pair;
}

static struct llm_pair heap_pop(struct merge *merge)
{
    struct llm_pair *heap = merge->tokenizer->heap;
    struct llm_pair first = heap[0];
    struct llm_pair last = heap[--merge->heap_count];
    uint32_t index = 0;
    for (;;) {
        uint32_t child = 2 * index + 1;
        if (child >= merge->heap_count) {
            break;
        }
        if (child + 1 < merge->heap_count && pair_precedes(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!pair_precedes(&heap[child], &last)) {
            break;
        }
        heap[index] = heap[child];
        index = child;
    }
    heap[index] = last;
    return first;
}

static void consider(struct merge *merge, uint32_t left, uint32_t right)
{
    if (left == LLM_NO_PIECE || right == LLM_NO_PIECE) {
        return;
    }
    struct llm_tokenizer *tokenizer = merge->tokenizer;
    const struct llm_piece *first = &tokenizer->pieces[left];
    uint32_t length = first->length + tokenizer->pieces[right].length;
    uint32_t id = llm_token_find(tokenizer, tokenizer->escaped + first->start, length);
    if (id != LLM_NO_TOKEN) {
        float score = tokenizer->tokens[id].score;
        heap_push(merge, (struct llm_pair){score, left, right, length});
    }
}

/* Copies the text with its spaces replaced; returns the number of bytes. */
static uint32_t escape_text(struct llm_tokenizer *tokenizer, const char *text, size_t length)
{
    char *output = tokenizer->escaped;
    if (tokenizer->add_space_prefix) {
        memcpy(output, LLM_SPACE, LLM_SPACE_BYTES);
        output += LLM_SPACE_BYTES;
    }
    for (size_t index = 0; index < length; index++) {
        if (text[index] == ' ') {
            memcpy(output, LLM_SPACE, LLM_SPACE_BYTES);
            output += LLM_SPACE_BYTES;
        } else {
            *output++ = text[index];
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

static void cut_characters(struct merge *merge, uint32_t length)
{
    struct llm_tokenizer *tokenizer = merge->tokenizer;
    uint32_t start = 0;
    uint32_t count = 0;
    while (start < length) {
        uint32_t bytes = character_length(tokenizer->escaped[start]);
        if (bytes > length - start) {
            bytes = length - start;
        }
        tokenizer->pieces[count] =
            (struct llm_piece){start, bytes, count == 0 ? LLM_NO_PIECE : count - 1, count + 1};
        start += bytes;
        count++;
    }
    if (count > 0) {
        tokenizer->pieces[count - 1].next = LLM_NO_PIECE;
    }
    merge->piece_count = count;
}

static void merge_pieces(struct merge *merge)
{
    struct llm_piece *pieces = merge->tokenizer->pieces;
    for (uint32_t index = 1; index < merge->piece_count; index++) {
        consider(merge, index - 1, index);
    }
    while (merge->heap_count > 0) {
        struct llm_pair pair = heap_pop(merge);
        struct llm_piece *left = &pieces[pair.left];
        struct llm_piece *right = &pieces[pair.right];
        if (left->length == 0 || right->length == 0 ||
            left->length + right->length != pair.length) {
            continue;
        }
        left->length += right->length;
        right->length = 0;
        left->next = right->next;
        if (left->next != LLM_NO_PIECE) {
            pieces[left->next].previous = pair.left;
        }
        consider(merge, left->previous, pair.left);
        consider(merge, pair.left, left->next);
    }
}

void llm_id_append(struct llm_id_list *list, uint32_t id)
{
    if (list->count < list->capacity) {
        list->ids[list->count] = id;
    }
    list->count++;
}

static int append_piece(struct llm_id_list *list, const struct llm_tokenizer *tokenizer,
                        const struct llm_piece *piece, struct llm_error *err)
{
    const char *text = tokenizer->escaped + piece->start;
    uint32_t id = llm_token_find(tokenizer, text, piece->length);
    if (id != LLM_NO_TOKEN) {
        llm_id_append(list, id);
        return 0;
    }
    for (uint32_t index = 0; index < piece->length; index++) {
        id = tokenizer->bytes[(uint8_t)text[index]];
        id = id == LLM_NO_TOKEN ? tokenizer->unknown : id;
        if (id == LLM_NO_TOKEN) {
            return llm_fail(err, "the vocabulary has no token for the byte 0x%02x",
                            (unsigned)(uint8_t)text[index]);
        }
        llm_id_append(list, id);
    }
    return 0;
}

int llm_tokenize_part(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                      struct llm_id_list *list, struct llm_error *err)
{
    struct merge merge = {tokenizer, 0, 0};

    if (length == 0) {
        return 0;
    }
    cut_characters(&merge, escape_text(tokenizer, text, length));
    merge_pieces(&merge);
    for (uint32_t index = 0; index != LLM_NO_PIECE; index = tokenizer->pieces[index].next) {
        if (append_piece(list, tokenizer, &tokenizer->pieces[index], err) != 0) {
            return -1;
        }
    }
    return 0;
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
