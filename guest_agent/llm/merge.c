// SPDX-License-Identifier: Apache-2.0
// The tokenizers: merging of neighbouring pieces.

/* A heap holds the pairs that form a token. Pairs whose pieces have changed since are recognised by
 * their length when they come up. */

#include "tokenizer_text.h"

/* The state of one call. */
struct merge {
    struct llm_tokenizer *tokenizer;
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

/* Finds the token that two pieces form, and its score: of the token, or by the rank of the merge
 * (a number below 2^24, which a float holds exactly). */
static bool find_joint(const struct llm_tokenizer *tokenizer, const struct llm_piece *left,
                       const struct llm_piece *right, struct llm_pair *pair)
{
    if (tokenizer->kind == LLM_TOKENIZER_LLAMA) {
        pair->id = llm_token_find_text(tokenizer, tokenizer->escaped + left->start, pair->length);
        if (pair->id == LLM_NO_TOKEN) {
            return false;
        }
        pair->score = tokenizer->tokens[pair->id].score;
        return true;
    }
    uint32_t rank = llm_merge_find(tokenizer, left->id, right->id, &pair->id);
    pair->score = -(float)rank;
    return rank != UINT32_MAX;
}

static void consider(struct merge *merge, uint32_t left, uint32_t right)
{
    if (left == LLM_NO_PIECE || right == LLM_NO_PIECE) {
        return;
    }
    const struct llm_tokenizer *tokenizer = merge->tokenizer;
    const struct llm_piece *first = &tokenizer->pieces[left];
    const struct llm_piece *second = &tokenizer->pieces[right];
    struct llm_pair pair = {.left = left, .right = right, .length = first->length + second->length};
    if (find_joint(tokenizer, first, second, &pair)) {
        heap_push(merge, pair);
    }
}

void llm_merge_pieces(struct llm_tokenizer *tokenizer, uint32_t count)
{
    struct merge merge = {tokenizer, 0};
    struct llm_piece *pieces = tokenizer->pieces;
    for (uint32_t index = 1; index < count; index++) {
        consider(&merge, index - 1, index);
    }
    while (merge.heap_count > 0) {
        struct llm_pair pair = heap_pop(&merge);
        struct llm_piece *left = &pieces[pair.left];
        struct llm_piece *right = &pieces[pair.right];
        if (left->length == 0 || right->length == 0 ||
            left->length + right->length != pair.length) {
            continue;
        }
        left->length += right->length;
        left->id = pair.id;
        right->length = 0;
        left->next = right->next;
        if (left->next != LLM_NO_PIECE) {
            pieces[left->next].previous = pair.left;
        }
        consider(&merge, left->previous, pair.left);
        consider(&merge, pair.left, left->next);
    }
}
