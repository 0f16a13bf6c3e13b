// SPDX-License-Identifier: Apache-2.0
// The tokenizer "gpt2": merges of bytes within words.

#include "tokenizer_text.h"

#include <inttypes.h>
#include <string.h>

/* The bytes that are not printable in Latin-1 are, in ascending order, U+0100 and so on. */
#define MOVED 0x100

/* Returns the code point that stands for a byte. */
static uint32_t byte_point(uint8_t byte)
{
    if (byte <= 0x20) {
        return MOVED + byte;
    }
    if (byte >= 0x7f && byte <= 0xa0) {
        return MOVED + 0x21 + (byte - 0x7f);
    }
    return byte == 0xad ? MOVED + 0x43 : byte;
}

size_t llm_byte_text(uint8_t byte, char text[2])
{
    uint32_t point = byte_point(byte);
    if (point < 0x80) {
        text[0] = (char)point;
        return 1;
    }
    text[0] = (char)(0xc0 | point >> 6);
    text[1] = (char)(0x80 | (point & 0x3f));
    return 2;
}

int llm_point_byte(uint32_t point)
{
    uint32_t moved = point - MOVED;
    if (point < MOVED) {
        return byte_point((uint8_t)point) == point ? (int)point : -1;
    }
    if (moved <= 0x20) {
        return (int)moved;
    }
    if (moved < 0x43) {
        return (int)(moved - 0x21 + 0x7f);
    }
    return moved == 0x43 ? 0xad : -1;
}

/* Returns the array of merges, or NULL if the file has none. */
static const struct gguf_value *find_merges(const struct gguf_file *file)
{
    const struct gguf_value *merges = gguf_find(file, "tokenizer.ggml.merges");
    bool usable = merges != NULL && merges->type == GGUF_ARRAY &&
                  merges->element_type == GGUF_STRING && merges->count <= LLM_MERGES_MAX;
    return usable ? merges : NULL;
}

void llm_merges_reserve(struct llm_tokenizer *tokenizer, struct llm_arena *arena,
                        const struct gguf_file *file)
{
    const struct gguf_value *merges = find_merges(file);
    uint32_t slots = 16;
    tokenizer->merge_limit = merges == NULL ? 0 : (uint32_t)merges->count;
    while (slots / 4 * 3 < tokenizer->merge_limit) { /* a quarter free: short probe sequences */
        slots *= 2;
    }
    tokenizer->merge_slot_mask = slots - 1;
    tokenizer->merges = llm_arena_take(arena, tokenizer->merge_limit, sizeof(struct llm_merge));
    tokenizer->merge_slots = llm_arena_take(arena, slots, sizeof(uint32_t));
}

/* Returns the slot of the merge of two tokens, or the empty one where it would go. There is one,
 * because there are more slots than merges. */
static uint32_t find_slot(const struct llm_tokenizer *tokenizer, uint32_t left, uint32_t right)
{
    /* Multiplicative hashing, with the golden ratio as a fraction of 2^64. */
    uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t slot = (uint32_t)(hash >> 32) & tokenizer->merge_slot_mask;
    while (tokenizer->merge_slots[slot] != 0) {
        const struct llm_merge *merge = &tokenizer->merges[tokenizer->merge_slots[slot] - 1];
        if (merge->left == left && merge->right == right) {
            break;
        }
        slot = (slot + 1) & tokenizer->merge_slot_mask;
    }
    return slot;
}

uint32_t llm_merge_find(const struct llm_tokenizer *tokenizer, uint32_t left, uint32_t right,
                        uint32_t *id)
{
    uint32_t entry = tokenizer->merge_slots[find_slot(tokenizer, left, right)];
    if (entry == 0) {
        return UINT32_MAX;
    }
    *id = tokenizer->merges[entry - 1].id;
    return entry - 1;
}

/* Merges are read some at a time: most of the time goes into waiting for memory. */
#define BATCH 32

/* A merge as it is written. */
struct merge_text {
    struct gguf_string left;
    struct gguf_string right;
    uint32_t slots[3]; /* where the searches for both and for what they form start */
};

/* Reads "LEFT RIGHT". Returns false if it is not that, or longer than a token can be. */
static bool read_merge(const struct llm_tokenizer *tokenizer, struct gguf_string text,
                       struct merge_text *merge)
{
    static const struct gguf_string nothing = {"", 0};
    if (text.length < 3 || text.length > LLM_PIECE_BYTES_MAX) {
        return false;
    }
    const char *space = memchr(text.text + 1, ' ', text.length - 1);
    if (space == NULL) {
        return false;
    }
    merge->left = (struct gguf_string){text.text, (uint64_t)(space - text.text)};
    merge->right = (struct gguf_string){space + 1, text.length - merge->left.length - 1};
    merge->slots[0] = llm_token_slot(tokenizer, merge->left, nothing);
    merge->slots[1] = llm_token_slot(tokenizer, merge->right, nothing);
    merge->slots[2] = llm_token_slot(tokenizer, merge->left, merge->right);
    return true;
}

/* Adds a merge. One of texts that are no tokens can never apply, and of two with the same texts the
 * first does: such are left out. */
static void add_merge(struct llm_tokenizer *tokenizer, const struct merge_text *text)
{
    char joined[LLM_PIECE_BYTES_MAX];
    size_t left_length = (size_t)text->left.length;
    size_t right_length = (size_t)text->right.length;
    memcpy(joined, text->left.text, left_length);
    memcpy(joined + left_length, text->right.text, right_length);

    struct llm_merge merge = {
        .left = llm_token_find_text(tokenizer, text->left.text, left_length),
        .right = llm_token_find_text(tokenizer, text->right.text, right_length),
        .id = llm_token_find_text(tokenizer, joined, left_length + right_length),
    };
    if (merge.left == LLM_NO_TOKEN || merge.right == LLM_NO_TOKEN || merge.id == LLM_NO_TOKEN) {
        return;
    }
    uint32_t slot = find_slot(tokenizer, merge.left, merge.right);
    if (tokenizer->merge_slots[slot] == 0) {
        tokenizer->merges[tokenizer->merge_count++] = merge;
        tokenizer->merge_slots[slot] = tokenizer->merge_count;
    }
}

static void add_merges(struct llm_tokenizer *tokenizer, const struct merge_text *texts,
                       size_t count)
{
    for (unsigned step = 0; step < LLM_PREFETCH_STEPS; step++) {
        for (size_t index = 0; index < 3 * count; index++) {
            llm_token_prefetch(tokenizer, texts[index / 3].slots[index % 3],
                               (enum llm_prefetch)step);
        }
    }
    for (size_t index = 0; index < count; index++) {
        add_merge(tokenizer, &texts[index]);
    }
}

static int load_split(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                      struct llm_error *err)
{
    struct gguf_string name = {"default", strlen("default")};
    if (gguf_read_string(file, "tokenizer.ggml.pre", false, &name, err) != 0) {
        return -1;
    }
    tokenizer->split = llm_split_find(name);
    if (tokenizer->split == NULL) {
        return llm_fail(err, "pre-tokenizer '%.*s' is not supported (key tokenizer.ggml.pre)",
                        gguf_shown(name), name.text);
    }
    return 0;
}

int llm_merges_load(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                    struct llm_error *err)
{
    const struct gguf_value *merges;
    struct merge_text texts[BATCH];
    size_t count = 0;
    uint64_t offset = 0;

    if (load_split(tokenizer, file, err) != 0 ||
        gguf_read_array(file, "tokenizer.ggml.merges", GGUF_STRING, &merges, err) != 0) {
        return -1;
    }
    if (merges->count > tokenizer->merge_limit) {
        return llm_fail(err, "tokenizer.ggml.merges: %" PRIu64 " merges (at most %d)",
                        merges->count, LLM_MERGES_MAX);
    }
    tokenizer->merge_count = 0;
    for (uint64_t index = 0; index < merges->count; index++) {
        struct gguf_string text;
        if (gguf_next_string(merges, &offset, &text) != 0) {
            return llm_fail(err, "tokenizer.ggml.merges ends too early");
        }
        count += read_merge(tokenizer, text, &texts[count]) ? 1 : 0;
        if (count == BATCH) {
            add_merges(tokenizer, texts, count);
            count = 0;
        }
    }
    add_merges(tokenizer, texts, count);
    return 0;
}

/* The state of one call. */
struct words {
    struct llm_tokenizer *tokenizer;
    struct llm_id_list *list;
    struct llm_error *err;
};

/* Returns the token with exactly the bytes of the word, or LLM_NO_TOKEN. */
static uint32_t find_word(const struct llm_tokenizer *tokenizer, const char *word, size_t length)
{
    char text[LLM_PIECE_BYTES_MAX];
    size_t used = 0;
    if (length > tokenizer->longest || length > sizeof(text) / 2) {
        return LLM_NO_TOKEN;
    }
    for (size_t index = 0; index < length; index++) {
        used += llm_byte_text((uint8_t)word[index], text + used);
    }
    return llm_token_find_text(tokenizer, text, used);
}

static int tokenize_word(void *argument, const char *word, size_t length)
{
    const struct words *words = argument;
    struct llm_tokenizer *tokenizer = words->tokenizer;
    struct llm_piece *pieces = tokenizer->pieces;

    uint32_t whole =
        tokenizer->split->whole_words ? find_word(tokenizer, word, length) : LLM_NO_TOKEN;
    if (whole != LLM_NO_TOKEN) {
        llm_id_append(words->list, whole);
        return 0;
    }
    for (uint32_t index = 0; index < length; index++) {
        pieces[index] = (struct llm_piece){index, 1, tokenizer->bytes[(uint8_t)word[index]],
                                           index == 0 ? LLM_NO_PIECE : index - 1, index + 1};
    }
    pieces[length - 1].next = LLM_NO_PIECE;
    llm_merge_pieces(tokenizer, (uint32_t)length);
    for (uint32_t index = 0; index != LLM_NO_PIECE; index = pieces[index].next) {
        if (pieces[index].id != LLM_NO_TOKEN) {
            llm_id_append(words->list, pieces[index].id);
        } else if (llm_append_byte(tokenizer, word[index], words->list, words->err) != 0) {
            return -1;
        }
    }
    return 0;
}

int llm_tokenize_words(struct llm_tokenizer *tokenizer, const char *text, size_t length,
                       struct llm_id_list *list, struct llm_error *err)
{
    struct words words = {tokenizer, list, err};
    return llm_split_text(tokenizer->split, text, length, tokenize_word, &words);
}
