// SPDX-License-Identifier: Apache-2.0
// What the tests of the inference program share: model files made in memory, and a platform.

#ifndef LLM_TEST_SUPPORT_H
#define LLM_TEST_SUPPORT_H

#include "platform.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where demo.gguf, tiny-*.gguf, vectors.json and logits.json are. */
#ifndef LLM_MODELS_DIRECTORY
#define LLM_MODELS_DIRECTORY "models/demo"
#endif

/* The instruction sets of the processor the test runs on. */
uint64_t test_isa(void);

/* Bytes with nothing readable after them that a sanitizer would miss; release with free(data). */
struct blob {
    uint8_t *data;
    size_t length;
};

/* Reads a file of the models' directory; ends the test if it cannot. */
struct blob read_model(const char *name);

/* A key of any scalar type or string, added to a file. */
struct recipe_key {
    const char *name;
    uint32_t type;    /* GGUF number: 4 and 5 integers, 6 float, 7 boolean, 8 string */
    uint32_t integer; /* also a boolean */
    float number;
    const char *text;
};

/* A tensor of F32, added to a file. */
struct recipe_tensor {
    const char *name;
    uint64_t columns;
    uint64_t rows;
};

/* A small GGUF file of a model with pseudo-random weights. The members after the sizes are
 * ways to spoil it; NULL and 0 mean not to. */
struct recipe {
    uint32_t version;
    uint32_t embedding;
    uint32_t feed_forward;
    uint32_t layers;
    uint32_t heads;
    uint32_t key_value_heads;
    uint32_t context;
    uint32_t alignment;
    uint32_t seed;
    const char *architecture;
    const char *tokenizer;
    const struct recipe_key *keys;       /* added to the file; up to the first without a name */
    const struct recipe_tensor *tensors; /* the same */
    const char *missing_key;             /* a key to leave out */
    const char *repeated_key;            /* a key to write twice */
    const char *victim;                  /* the tensor that the members below are about */
    uint32_t victim_missing;             /* leave it out */
    const char *victim_name;             /* call it this */
    uint32_t victim_type;                /* GGUF number of its type, plus 1 */
    uint32_t victim_offset;              /* bytes added to its offset */
    uint64_t victim_columns;             /* its first dimension */
    uint64_t victim_rows;                /* its second dimension */
    float victim_value;                  /* all its elements */
    uint32_t nested_array;               /* a key with an array of arrays */
    uint32_t extra_keys;                 /* keys nobody reads */
    bool only_added;                     /* no tensors and no keys of a model but those added */
};

/* A recipe for a valid file. */
struct recipe recipe_valid(void);

/* Makes the file; release with free(blob.data). */
struct blob build_model(const struct recipe *recipe);

/* A run of llm_main on a platform without files: output and status. */
struct run {
    int status;
    char *output; /* NUL-terminated; release with run_free() */
    size_t output_length;
    size_t output_room;
    size_t writes;
    size_t failing_write; /* the write that fails, counted from 1; 0: none */
    const char *input;    /* for the standard input, or NULL */
    size_t input_used;
    unsigned workers;
};

/* Runs llm_main with `workers` workers, which take turns, and the options, the last of which is
 * NULL. The arena has the size llm_memory_needed asks for, plus arena_surplus (which may be
 * negative); models that need more than 64 MiB get none. */
void run_program(struct run *run, struct blob model, unsigned workers, uint64_t isa,
                 long arena_surplus, const char *const *options);

/* The same with a model in several files. */
void run_parts(struct run *run, const struct blob *parts, size_t part_count, unsigned workers,
               uint64_t isa, long arena_surplus, const char *const *options);
void run_free(struct run *run);

#endif
