// SPDX-License-Identifier: Apache-2.0
// Reader of GGUF model files, which are untrusted: everything is checked before it is used.

#ifndef LLM_GGUF_H
#define LLM_GGUF_H

#include "error.h"
#include "platform.h"
#include "types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Value types of the GGUF format (source: the GGUF specification, enum
 * gguf_metadata_value_type). */
enum gguf_value_type {
    GGUF_UINT8 = 0,
    GGUF_INT8 = 1,
    GGUF_UINT16 = 2,
    GGUF_INT16 = 3,
    GGUF_UINT32 = 4,
    GGUF_INT32 = 5,
    GGUF_FLOAT32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_UINT64 = 10,
    GGUF_INT64 = 11,
    GGUF_FLOAT64 = 12,
};

#define GGUF_KEYS_MAX       256  /* model files have 20 to 60 */
#define GGUF_TENSORS_MAX    4096 /* the largest Llama has 1138 */
#define GGUF_DIMENSIONS_MAX 4
#define GGUF_PARTS_MAX      16  /* files of a split model; a VM has as many weights files */
#define GGUF_NAME_MAX       128 /* bytes of a key or of a tensor name; the format allows 64 */

/* Text inside the file: not NUL-terminated, any bytes. */
struct gguf_string {
    const char *text;
    uint64_t length; /* bytes */
};

struct gguf_value {
    uint32_t type;         /* enum gguf_value_type */
    uint32_t element_type; /* of an array, else as type; never GGUF_ARRAY */
    uint64_t count;        /* elements of an array, bytes of a string, else 1 */
    const uint8_t *data;   /* the first element, or the text of a string */
    uint64_t bytes;        /* bytes at data, all inside the file */
};

struct gguf_key {
    struct gguf_string name;
    struct gguf_value value;
};

struct gguf_tensor {
    struct gguf_string name;
    const struct llm_type *type;              /* supported */
    uint64_t dimensions[GGUF_DIMENSIONS_MAX]; /* elements of a row, rows, ...; at least 1 each */
    const uint8_t *data;                      /* all rows, inside the file */
    uint64_t bytes;                           /* bytes at data */
};

/* Where the tensors of one file are. */
struct gguf_part {
    const uint8_t *data;
    size_t length;      /* bytes */
    uint64_t alignment; /* bytes, of the tensors' data */
    uint32_t tensor_count;
    size_t tensor_records; /* offset of the first description of a tensor */
    size_t data_start;     /* offset of the tensors' data */
};

/* An open model, of one file or, if it is split, of several: keys of the first file, tensors of
 * all. Points into the files, which must outlive it; holds nothing to release. */
struct gguf_file {
    uint32_t version;
    uint32_t key_count;
    uint32_t tensor_count; /* of all parts */
    uint32_t part_count;
    struct gguf_part parts[GGUF_PARTS_MAX];
    struct gguf_key keys[GGUF_KEYS_MAX];
};

/* A place in the list of tensors; all members 0 at its start. */
struct gguf_place {
    uint32_t part;
    uint32_t index; /* of the tensor in the part */
    size_t offset;  /* of its description in the part; 0 at the start of a part */
};

/* Checks the `count` files (any alignment), which are a whole model in the order of its parts, and
 * fills *file: header, keys (unique names, values inside the file), parts (all of a split model, by
 * the keys split.no, split.count and split.tensors.count), tensors (unique names in all parts,
 * supported types, whole blocks in a row, data aligned and inside the file). Format: GGUF versions
 * 2 and 3, little endian. Returns 0, or -1 with *err filled. */
int gguf_open(struct gguf_file *file, const struct llm_weights *files, size_t count,
              struct llm_error *err);

/* Fills *tensor with the description at *place and moves *place to the next one; start with a
 * zeroed place and ask at most file->tensor_count times. Returns 0 for a file that gguf_open has
 * accepted; otherwise as gguf_open. */
int gguf_next_tensor(const struct gguf_file *file, struct gguf_place *place,
                     struct gguf_tensor *tensor, struct llm_error *err);

/* Returns the value of the key `name`, or NULL if the file does not have it. Owned by *file. */
const struct gguf_value *gguf_find(const struct gguf_file *file, const char *name);

/* Reads the key `name` into *value. If the file does not have it: 0 with *value as it was if
 * `required` is false, else -1. Returns -1 also if it has another type (any integer type will do
 * for an integer, both float types for a float) or lies outside minimum to maximum (both allowed;
 * not-a-number never is). On -1 *err is filled. */
int gguf_read_integer(const struct gguf_file *file, const char *name, bool required,
                      uint64_t minimum, uint64_t maximum, uint64_t *value, struct llm_error *err);
int gguf_read_float(const struct gguf_file *file, const char *name, bool required, float minimum,
                    float maximum, float *value, struct llm_error *err);
int gguf_read_boolean(const struct gguf_file *file, const char *name, bool required, bool *value,
                      struct llm_error *err);
int gguf_read_string(const struct gguf_file *file, const char *name, bool required,
                     struct gguf_string *value, struct llm_error *err);

/* Returns in *value the array `name` of elements of `element_type`; -1 with *err filled if the file
 * has none such. */
int gguf_read_array(const struct gguf_file *file, const char *name, uint32_t element_type,
                    const struct gguf_value **value, struct llm_error *err);

/* Fills *string with the string at *offset bytes into an array of strings, and moves *offset to the
 * next one; start with 0 and ask at most value->count times. Returns 0, or -1 past the end. */
int gguf_next_string(const struct gguf_value *value, uint64_t *offset, struct gguf_string *string);

/* Returns whether a string has exactly the bytes of the NUL-terminated `text`. */
bool gguf_string_is(struct gguf_string string, const char *text);

/* Returns how many bytes of a string to show in a message, for the precision of "%.*s". */
int gguf_shown(struct gguf_string string);

#endif
