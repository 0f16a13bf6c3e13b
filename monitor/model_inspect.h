// SPDX-License-Identifier: Apache-2.0
// What a model file is, found out by a program that may do nothing but read it.
#ifndef MONITOR_MODEL_INSPECT_H
#define MONITOR_MODEL_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define MODEL_TEXT_SIZE 257u
#define MODEL_TYPES_MAX 16u

struct model_type_count {
    char type[16];
    uint64_t tensors;
    uint64_t bytes;
};

// Texts are printable ASCII, and not the program's own: the file's. Numbers of a model that is not
// supported are 0 where it was not read that far.
struct model_description {
    bool supported;
    char reason[MODEL_TEXT_SIZE]; // why it is not supported
    char architecture[MODEL_TEXT_SIZE];
    char name[MODEL_TEXT_SIZE];
    char tokenizer[MODEL_TEXT_SIZE];
    char pre_tokenizer[MODEL_TEXT_SIZE];
    char chat_template[MODEL_TEXT_SIZE];
    uint64_t files;
    uint64_t parameters;
    uint64_t tensor_bytes;
    uint64_t bytes_per_token; // of them, those that are read for every token
    uint64_t vocabulary;
    uint64_t layers;
    uint64_t embedding;
    uint64_t feed_forward;
    uint64_t heads;
    uint64_t key_value_heads;
    uint64_t head_size;
    uint64_t context_trained;
    uint64_t context;
    uint64_t memory_bytes; // of the program, besides the weights, for `context` tokens
    size_t type_count;
    struct model_type_count types[MODEL_TYPES_MAX];
};

// Looks at the model at `path`, and at the other files of one that is split, for a context of
// `context` tokens (0: the default). Returns 0, or -1 with *err set: a file cannot be opened, or
// the reader died over it. A model that is not supported is no error.
int model_inspect(const char *path, uint32_t context, struct model_description *description,
                  struct error *err);

// Reads what the program wrote.
int model_description_parse(const char *text, size_t length, struct model_description *description,
                            struct error *err);

#endif
