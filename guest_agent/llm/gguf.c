// SPDX-License-Identifier: Apache-2.0
// Reader of GGUF model files: header, keys and descriptions of tensors.

#include "gguf.h"

#include "half.h"

#include <inttypes.h>
#include <string.h>

#define GGUF_MAGIC             0x46554747u /* "GGUF" */
#define GGUF_ALIGNMENT_DEFAULT 32
#define GGUF_ALIGNMENT_MIN     8 /* the specification asks for a multiple of 8 */
#define GGUF_ALIGNMENT_MAX     65536
#define GGUF_SHOWN_MAX         64 /* bytes of a name in a message */

/* A position in the bytes from data; never beyond length. */
struct cursor {
    const uint8_t *data;
    size_t length;
    size_t position;
};

/* Each of the take functions moves the cursor over an item, or returns -1 if the file ends inside
 * it; the caller knows what to call the item in the message. */
static int take(struct cursor *cursor, uint64_t bytes, const uint8_t **start)
{
    if (bytes > cursor->length - cursor->position) {
        return -1;
    }
    *start = cursor->data + cursor->position;
    cursor->position += bytes;
    return 0;
}

static int take_u32(struct cursor *cursor, uint32_t *value)
{
    const uint8_t *start;
    if (take(cursor, sizeof(*value), &start) != 0) {
        return -1;
    }
    *value = llm_load_u32(start);
    return 0;
}

static int take_u64(struct cursor *cursor, uint64_t *value)
{
    const uint8_t *start;
    if (take(cursor, sizeof(*value), &start) != 0) {
        return -1;
    }
    *value = llm_load_u64(start);
    return 0;
}

static int take_string(struct cursor *cursor, struct gguf_string *string)
{
    const uint8_t *start;
    if (take_u64(cursor, &string->length) != 0 || take(cursor, string->length, &start) != 0) {
        return -1;
    }
    string->text = (const char *)start;
    return 0;
}

/* Returns the bytes of a value of this type; 0 for strings, arrays and numbers that are no type. */
static uint64_t scalar_size(uint32_t type)
{
    switch (type) {
    case GGUF_UINT8:
    case GGUF_INT8:
    case GGUF_BOOL:
        return 1;
    case GGUF_UINT16:
    case GGUF_INT16:
        return 2;
    case GGUF_UINT32:
    case GGUF_INT32:
    case GGUF_FLOAT32:
        return 4;
    case GGUF_UINT64:
    case GGUF_INT64:
    case GGUF_FLOAT64:
        return 8;
    default:
        return 0;
    }
}

int gguf_shown(struct gguf_string string)
{
    return string.length < GGUF_SHOWN_MAX ? (int)string.length : GGUF_SHOWN_MAX;
}

bool gguf_string_is(struct gguf_string string, const char *text)
{
    size_t length = strlen(text);
    return string.length == length && memcmp(string.text, text, length) == 0;
}

static bool strings_equal(struct gguf_string one, struct gguf_string other)
{
    return one.length == other.length && memcmp(one.text, other.text, one.length) == 0;
}

/* Takes the elements of an array whose type and count are already in *value. */
static int take_elements(struct cursor *cursor, struct gguf_value *value)
{
    size_t start = cursor->position;
    uint64_t size = scalar_size(value->element_type);
    uint64_t remaining = cursor->length - cursor->position;
    value->data = cursor->data + start;

    if (size != 0) {
        if (value->count > remaining / size) {
            return -1;
        }
        cursor->position += value->count * size;
    } else {
        for (uint64_t index = 0; index < value->count; index++) {
            struct gguf_string string;
            if (take_string(cursor, &string) != 0) {
                return -1;
            }
        }
    }
    value->bytes = cursor->position - start;
    return 0;
}

/* Takes a value of value->type, which is already filled. */
static int take_value(struct cursor *cursor, struct gguf_value *value, struct gguf_string name,
                      struct llm_error *err)
{
    bool complete;

    value->element_type = value->type;
    value->count = 1;
    if (value->type == GGUF_STRING) {
        struct gguf_string string;
        complete = take_string(cursor, &string) == 0;
        if (complete) {
            value->data = (const uint8_t *)string.text;
            value->count = string.length;
            value->bytes = string.length;
        }
    } else if (value->type == GGUF_ARRAY) {
        if (take_u32(cursor, &value->element_type) != 0 || take_u64(cursor, &value->count) != 0) {
            return llm_fail(err, "the file ends inside the key %.*s", gguf_shown(name), name.text);
        }
        if (value->element_type != GGUF_STRING && scalar_size(value->element_type) == 0) {
            return llm_fail(err, "key %.*s: an array of type %" PRIu32 " is not supported",
                            gguf_shown(name), name.text, value->element_type);
        }
        complete = take_elements(cursor, value) == 0;
    } else {
        value->bytes = scalar_size(value->type);
        if (value->bytes == 0) {
            return llm_fail(err, "key %.*s: type %" PRIu32 " does not exist", gguf_shown(name),
                            name.text, value->type);
        }
        complete = take(cursor, value->bytes, &value->data) == 0;
    }
    if (!complete) {
        return llm_fail(err, "the file ends inside the key %.*s", gguf_shown(name), name.text);
    }
    return 0;
}

static int take_keys(struct gguf_file *file, struct cursor *cursor, struct llm_error *err)
{
    for (uint32_t index = 0; index < file->key_count; index++) {
        struct gguf_key *key = &file->keys[index];
        if (take_string(cursor, &key->name) != 0 || take_u32(cursor, &key->value.type) != 0) {
            return llm_fail(err, "the file ends inside the name of key %" PRIu32, index);
        }
        if (key->name.length == 0 || key->name.length > GGUF_NAME_MAX) {
            return llm_fail(err, "key %" PRIu32 ": its name has %" PRIu64 " bytes (1 to %d)", index,
                            key->name.length, GGUF_NAME_MAX);
        }
        for (uint32_t earlier = 0; earlier < index; earlier++) {
            if (strings_equal(file->keys[earlier].name, key->name)) {
                return llm_fail(err, "key %.*s occurs twice", gguf_shown(key->name),
                                key->name.text);
            }
        }
        if (take_value(cursor, &key->value, key->name, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int take_header(struct gguf_file *file, struct cursor *cursor, uint32_t *tensors,
                       struct llm_error *err)
{
    uint32_t magic;
    if (take_u32(cursor, &magic) != 0 || magic != GGUF_MAGIC) {
        return llm_fail(err, "not a GGUF file: it does not begin with 'GGUF'");
    }
    uint64_t tensor_count;
    uint64_t key_count;
    if (take_u32(cursor, &file->version) != 0 || take_u64(cursor, &tensor_count) != 0 ||
        take_u64(cursor, &key_count) != 0) {
        return llm_fail(err, "the file ends inside its header");
    }
    if (file->version != 2 && file->version != 3) {
        bool swapped = file->version != 0 && (file->version & 0xffffu) == 0;
        return llm_fail(err, "GGUF version %" PRIu32 " is not supported (supported: 2, 3)%s",
                        file->version, swapped ? "; is the file big endian?" : "");
    }
    if (key_count > GGUF_KEYS_MAX) {
        return llm_fail(err, "%" PRIu64 " keys are too many (at most %d)", key_count,
                        GGUF_KEYS_MAX);
    }
    if (tensor_count > GGUF_TENSORS_MAX) {
        return llm_fail(err, "%" PRIu64 " tensors are too many (at most %d)", tensor_count,
                        GGUF_TENSORS_MAX);
    }
    file->key_count = (uint32_t)key_count;
    *tensors = (uint32_t)tensor_count;
    return 0;
}

/* The part of a tensor's description that does not depend on where the data start. */
struct record {
    struct gguf_string name;
    uint32_t dimension_count;
    uint64_t dimensions[GGUF_DIMENSIONS_MAX];
    uint32_t type;
    uint64_t offset; /* bytes, from the start of the tensors' data */
};

/* Takes a description and checks its form; returns -1 with *err filled. */
static int take_record(struct cursor *cursor, struct record *record, struct llm_error *err)
{
    if (take_string(cursor, &record->name) != 0) {
        return llm_fail(err, "the file ends inside the name of a tensor");
    }
    if (record->name.length == 0 || record->name.length > GGUF_NAME_MAX) {
        return llm_fail(err, "the name of a tensor has %" PRIu64 " bytes (1 to %d)",
                        record->name.length, GGUF_NAME_MAX);
    }
    int shown = gguf_shown(record->name);
    const char *name = record->name.text;

    if (take_u32(cursor, &record->dimension_count) != 0) {
        return llm_fail(err, "the file ends inside the tensor %.*s", shown, name);
    }
    if (record->dimension_count < 1 || record->dimension_count > GGUF_DIMENSIONS_MAX) {
        return llm_fail(err, "tensor %.*s: %" PRIu32 " dimensions (1 to %d)", shown, name,
                        record->dimension_count, GGUF_DIMENSIONS_MAX);
    }
    for (uint32_t index = 0; index < GGUF_DIMENSIONS_MAX; index++) {
        record->dimensions[index] = 1;
        if (index < record->dimension_count && take_u64(cursor, &record->dimensions[index]) != 0) {
            return llm_fail(err, "the file ends inside the tensor %.*s", shown, name);
        }
        if (record->dimensions[index] == 0) {
            return llm_fail(err, "tensor %.*s: a dimension is 0", shown, name);
        }
    }
    if (take_u32(cursor, &record->type) != 0 || take_u64(cursor, &record->offset) != 0) {
        return llm_fail(err, "the file ends inside the tensor %.*s", shown, name);
    }
    return 0;
}

/* Works out the type and the size of the data a description asks for. */
static int measure_tensor(const struct record *record, struct gguf_tensor *tensor,
                          struct llm_error *err)
{
    int shown = gguf_shown(record->name);
    const char *name = record->name.text;
    const struct llm_type *type = llm_type_find(record->type);

    if (type == NULL) {
        char supported[96];
        return llm_fail(err, "tensor %.*s: type %s (%" PRIu32 ") is not supported (supported: %s)",
                        shown, name, llm_type_name(record->type), record->type,
                        llm_type_list(supported, sizeof(supported)));
    }
    if (record->dimensions[0] % type->block_elements != 0) {
        return llm_fail(err,
                        "tensor %.*s: a row of %" PRIu64 " elements is not whole blocks of %" PRIu32
                        " (type %s)",
                        shown, name, record->dimensions[0], type->block_elements, type->name);
    }
    uint64_t bytes = record->dimensions[0] / type->block_elements;
    bool overflow = __builtin_mul_overflow(bytes, type->block_bytes, &bytes);
    for (uint32_t index = 1; index < GGUF_DIMENSIONS_MAX; index++) {
        overflow = __builtin_mul_overflow(bytes, record->dimensions[index], &bytes) || overflow;
    }
    if (overflow) {
        return llm_fail(err, "tensor %.*s: its size overflows 64 bits", shown, name);
    }

    tensor->name = record->name;
    tensor->type = type;
    memcpy(tensor->dimensions, record->dimensions, sizeof(tensor->dimensions));
    tensor->bytes = bytes;
    return 0;
}

/* Describes the tensor at the cursor, which it moves to the next one. */
static int next_in_part(const struct gguf_part *part, struct cursor *cursor,
                        struct gguf_tensor *tensor, struct llm_error *err)
{
    struct record record;
    if (take_record(cursor, &record, err) != 0 || measure_tensor(&record, tensor, err) != 0) {
        return -1;
    }

    int shown = gguf_shown(record.name);
    uint64_t available = part->length - part->data_start;
    if (record.offset % part->alignment != 0) {
        return llm_fail(err, "tensor %.*s: offset %" PRIu64 " is not a multiple of %" PRIu64, shown,
                        record.name.text, record.offset, part->alignment);
    }
    if (record.offset > available || tensor->bytes > available - record.offset) {
        return llm_fail(err,
                        "tensor %.*s: %" PRIu64 " bytes at offset %" PRIu64
                        " are beyond the end of the file (%" PRIu64 " bytes of data)",
                        shown, record.name.text, tensor->bytes, record.offset, available);
    }
    tensor->data = part->data + part->data_start + record.offset;
    return 0;
}

int gguf_next_tensor(const struct gguf_file *file, struct gguf_place *place,
                     struct gguf_tensor *tensor, struct llm_error *err)
{
    while (place->part < file->part_count &&
           place->index == file->parts[place->part].tensor_count) {
        *place = (struct gguf_place){.part = place->part + 1};
    }
    if (place->part >= file->part_count) {
        return llm_fail(err, "there are no more tensors");
    }
    const struct gguf_part *part = &file->parts[place->part];
    size_t offset = place->index == 0 ? part->tensor_records : place->offset;
    struct cursor cursor = {part->data, part->length, offset};
    if (next_in_part(part, &cursor, tensor, err) != 0) {
        return -1;
    }
    place->offset = cursor.position;
    place->index++;
    return 0;
}

/* Compares the names of the first `count` tensors of a part with `name`. */
static bool name_occurs_in(const struct gguf_part *part, uint32_t count, struct gguf_string name)
{
    struct cursor cursor = {part->data, part->length, part->tensor_records};
    for (uint32_t index = 0; index < count; index++) {
        struct record record;
        struct llm_error ignored;
        if (take_record(&cursor, &record, &ignored) != 0) {
            return false;
        }
        if (strings_equal(record.name, name)) {
            return true;
        }
    }
    return false;
}

/* Compares the names of all tensors before a place with `name`. The quadratic cost is bounded by
 * GGUF_TENSORS_MAX. */
static bool name_occurs(const struct gguf_file *file, struct gguf_place place,
                        struct gguf_string name)
{
    for (uint32_t index = 0; index <= place.part; index++) {
        const struct gguf_part *part = &file->parts[index];
        uint32_t count = index < place.part ? part->tensor_count : place.index;
        if (name_occurs_in(part, count, name)) {
            return true;
        }
    }
    return false;
}

static int check_tensors(const struct gguf_file *file, struct llm_error *err)
{
    struct gguf_place place = {0};
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        struct gguf_tensor tensor;
        if (gguf_next_tensor(file, &place, &tensor, err) != 0) {
            return -1;
        }
        struct gguf_place before = {.part = place.part, .index = place.index - 1};
        if (name_occurs(file, before, tensor.name)) {
            return llm_fail(err, "tensor %.*s occurs twice", gguf_shown(tensor.name),
                            tensor.name.text);
        }
    }
    return 0;
}

/* Reads the header, the keys and the places of the tensors of a file, which becomes the next part;
 * the keys replace those of the parts before. */
static int open_part(struct gguf_file *file, const struct llm_weights *weights,
                     struct llm_error *err)
{
    struct cursor cursor = {weights->data, weights->length, 0};
    struct gguf_part *part = &file->parts[file->part_count];

    part->data = weights->data;
    part->length = weights->length;
    part->alignment = GGUF_ALIGNMENT_DEFAULT;
    if (take_header(file, &cursor, &part->tensor_count, err) != 0 ||
        take_keys(file, &cursor, err) != 0 ||
        gguf_read_integer(file, "general.alignment", false, GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX,
                          &part->alignment, err) != 0) {
        return -1;
    }
    if ((part->alignment & (part->alignment - 1)) != 0) {
        return llm_fail(err, "key general.alignment: %" PRIu64 " is not a power of two",
                        part->alignment);
    }

    /* Where the data start is known only after the last description. */
    part->tensor_records = cursor.position;
    for (uint32_t index = 0; index < part->tensor_count; index++) {
        struct record record;
        if (take_record(&cursor, &record, err) != 0) {
            return -1;
        }
    }
    size_t padding = (size_t)(-cursor.position & (part->alignment - 1));
    if (padding > part->length - cursor.position) {
        padding = part->length - cursor.position; /* no tensor has data, or check_tensors fails */
    }
    part->data_start = cursor.position + padding;
    file->part_count++;
    return 0;
}

/* Reads what the keys of the part `number` say of the split and compares it with how many files
 * there are. *tensors is the number of tensors in all parts, UINT64_MAX if no part has said it
 * yet. */
static int check_split(const struct gguf_file *file, uint32_t number, size_t count,
                       uint64_t *tensors, struct llm_error *err)
{
    bool split = count > 1;
    uint64_t stored_count = 1;
    uint64_t stored_number = 0;
    uint64_t stored_tensors = *tensors;
    if (split && gguf_find(file, "split.count") == NULL) {
        return llm_fail(err, "key split.count is missing: %zu files are given as one model", count);
    }
    if (gguf_read_integer(file, "split.count", split, 0, UINT16_MAX, &stored_count, err) != 0 ||
        gguf_read_integer(file, "split.no", split, 0, UINT16_MAX, &stored_number, err) != 0 ||
        gguf_read_integer(file, "split.tensors.count", split, 0, GGUF_TENSORS_MAX, &stored_tensors,
                          err) != 0) {
        return -1;
    }
    stored_count = stored_count == 0 ? 1 : stored_count; /* written for files that are not split */
    if (stored_count != count) {
        return llm_fail(err,
                        "key split.count: the model consists of %" PRIu64 " files, %zu %s given",
                        stored_count, count, split ? "are" : "is");
    }
    if (stored_number != number) {
        return llm_fail(err,
                        "key split.no: it is part %" PRIu64 " of %zu, expected part %" PRIu32
                        " (parts are given in their order)",
                        stored_number + 1, count, number + 1);
    }
    if (*tensors != UINT64_MAX && stored_tensors != *tensors) {
        return llm_fail(err, "key split.tensors.count: %" PRIu64 ", %" PRIu64 " in the first file",
                        stored_tensors, *tensors);
    }
    *tensors = stored_tensors;
    return 0;
}

/* Opens the parts after the first. Their keys, besides those about the split, mean nothing. */
static int open_further_parts(struct gguf_file *file, const struct llm_weights *files, size_t count,
                              uint64_t *tensors, struct llm_error *err)
{
    struct gguf_file further;
    memset(&further, 0, sizeof(further));
    for (size_t index = 1; index < count; index++) {
        further.part_count = 0;
        if (open_part(&further, &files[index], err) != 0 ||
            check_split(&further, (uint32_t)index, count, tensors, err) != 0) {
            struct llm_error reason = *err;
            return llm_fail(err, "file %zu: %.200s", index + 1, reason.text);
        }
        file->parts[index] = further.parts[0];
        file->tensor_count += further.parts[0].tensor_count; /* at most GGUF_TENSORS_MAX each */
        file->part_count++;
    }
    return 0;
}

int gguf_open(struct gguf_file *file, const struct llm_weights *files, size_t count,
              struct llm_error *err)
{
    uint64_t tensors = UINT64_MAX;

    memset(file, 0, sizeof(*file));
    if (count < 1 || count > GGUF_PARTS_MAX) {
        return llm_fail(err, "a model of %zu files is not supported (1 to %d)", count,
                        GGUF_PARTS_MAX);
    }
    if (open_part(file, &files[0], err) != 0 || check_split(file, 0, count, &tensors, err) != 0) {
        return -1;
    }
    file->tensor_count = file->parts[0].tensor_count;
    if (open_further_parts(file, files, count, &tensors, err) != 0) {
        return -1;
    }
    if (file->tensor_count > GGUF_TENSORS_MAX) {
        return llm_fail(err, "%" PRIu32 " tensors are too many (at most %d)", file->tensor_count,
                        GGUF_TENSORS_MAX);
    }
    if (tensors != UINT64_MAX && tensors != file->tensor_count) {
        return llm_fail(err, "key split.tensors.count: %" PRIu64 ", the files have %" PRIu32,
                        tensors, file->tensor_count);
    }
    return check_tensors(file, err);
}
