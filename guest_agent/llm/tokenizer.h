// SPDX-License-Identifier: Apache-2.0
// The tokenizers of GGUF files: "llama", SentencePiece byte-pair merges with scores, and "gpt2",
// byte-level merges from a list, within words.

#ifndef LLM_TOKENIZER_H
#define LLM_TOKENIZER_H

#include "arena.h"
#include "error.h"
#include "gguf.h"
#include "split.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLM_NO_TOKEN UINT32_MAX
#define LLM_ENDS_MAX 3

#define LLM_PIECE_BYTES_MAX 1024 /* longest token, and thus longest text of one */

#define LLM_MERGES_MAX 500000

enum llm_tokenizer_kind {
    LLM_TOKENIZER_LLAMA,
    LLM_TOKENIZER_GPT2,
};

/* Token types of the GGUF specification, key tokenizer.ggml.token_type. */
enum llm_token_type {
    LLM_TOKEN_NORMAL = 1,
    LLM_TOKEN_UNKNOWN = 2,
    LLM_TOKEN_CONTROL = 3,
    LLM_TOKEN_USER_DEFINED = 4,
    LLM_TOKEN_UNUSED = 5,
    LLM_TOKEN_BYTE = 6,
};

struct llm_token {
    const char *text; /* inside the GGUF file, not NUL-terminated */
    uint32_t length;  /* bytes */
    float score;      /* the pair with the highest one is merged first */
    uint32_t type;    /* enum llm_token_type */
};

/* A piece of the text while it is being merged; pieces form a doubly linked list. */
struct llm_piece {
    uint32_t start;    /* offset of its first byte in the escaped text */
    uint32_t length;   /* bytes; 0 once merged into the piece before */
    uint32_t id;       /* of the token with its text, or LLM_NO_TOKEN */
    uint32_t previous; /* index of the neighbour, or LLM_NO_PIECE */
    uint32_t next;
};

/* A candidate merge of two neighbouring pieces. */
struct llm_pair {
    float score;     /* of the token they form */
    uint32_t left;   /* index of the left piece */
    uint32_t right;  /* index of the right piece */
    uint32_t length; /* bytes of both when the pair was found: if it differs, the pair is stale */
    uint32_t id;     /* of the token they form */
};

/* Two tokens and the one that they merge to; its index in the list is its rank. */
struct llm_merge {
    uint32_t left;
    uint32_t right;
    uint32_t id;
};

struct llm_tokenizer {
    enum llm_tokenizer_kind kind;
    struct llm_token *tokens;
    uint32_t token_count;
    uint32_t *slots;     /* open addressing: index of a token plus 1, or 0 */
    uint32_t slot_mask;  /* number of slots, a power of two, minus 1 */
    uint32_t longest;    /* bytes of the longest token */
    uint32_t bytes[256]; /* the token of each byte, or LLM_NO_TOKEN */
    uint32_t begin;      /* of a text, LLM_NO_TOKEN if the model has none; also the next two */
    uint32_t end;
    uint32_t unknown;
    uint32_t ends[LLM_ENDS_MAX]; /* the tokens that a text ends with, `end` among them */
    uint32_t end_count;
    bool add_begin; /* texts start with the token `begin` */

    /* User-defined tokens are found in a text before anything else: the first bytes and the
     * lengths, in bytes, that there are among them. */
    bool user_first[256];
    bool user_length[LLM_PIECE_BYTES_MAX + 1];
    uint32_t user_longest; /* 0: there are none */

    /* Of the kind "llama". */
    bool add_space_prefix; /* texts are tokenized as if they began with a space */
    bool remove_spaces;    /* one space for many between words, none at the ends */

    /* Of the kind "gpt2". */
    const struct llm_split *split;
    struct llm_merge *merges;
    uint32_t merge_count;
    uint32_t merge_limit;     /* entries that there is memory for */
    uint32_t *merge_slots;    /* open addressing: index of a merge plus 1, or 0 */
    uint32_t merge_slot_mask; /* number of slots, a power of two, minus 1 */

    /* Working memory for one text of up to text_limit bytes. */
    size_t text_limit;
    char *composed; /* [text_limit]: a text with its markup, for chat.c */
    char *escaped;
    struct llm_piece *pieces;
    struct llm_pair *heap;
};

/* Takes the memory for the vocabulary of the file, which has token_count tokens, and for texts of
 * up to text_limit bytes (less than 2^28) from the arena. If it does not suffice, arena->exhausted
 * is set. */
void llm_tokenizer_reserve(struct llm_tokenizer *tokenizer, struct llm_arena *arena,
                           const struct gguf_file *file, uint32_t token_count, size_t text_limit);

/* Fills a reserved tokenizer from the keys tokenizer.ggml.*. The file must stay mapped. Returns 0,
 * or -1 with *err filled. */
int llm_tokenizer_load(struct llm_tokenizer *tokenizer, const struct gguf_file *file,
                       struct llm_error *err);

/* Writes the tokens of the `length` bytes at `text` (any bytes) to ids, at most `capacity` of them,
 * and their number to *count; the token `begin` comes first if with_begin and the model asks for
 * it. An empty text has no tokens besides. Words like "</s>" are text, not control tokens;
 * user-defined tokens are found in it, the first one and the longest first. No byte of the text is
 * lost: what is not UTF-8 is taken byte by byte. Returns 0, or -1 with *err filled if the text is
 * too long for the tokenizer or for `ids`. Same result as llama.cpp, in O(n log n). */
int llm_tokenize(struct llm_tokenizer *tokenizer, const char *text, size_t length, bool with_begin,
                 uint32_t *ids, size_t capacity, size_t *count, struct llm_error *err);

/* Returns whether a text ends with the token `id`: end of text, of a turn or of a message (keys
 * eos_token_id, eot_token_id and eom_token_id). */
bool llm_token_ends(const struct llm_tokenizer *tokenizer, uint32_t id);

/* Writes the text that the token `id`, below token_count, stands for to `text`, which has room for
 * LLM_PIECE_BYTES_MAX bytes; returns its length. Control tokens have none. */
size_t llm_token_text(const struct llm_tokenizer *tokenizer, uint32_t id, char *text);

#endif
