// SPDX-License-Identifier: Apache-2.0
// Access to the values of the keys of an open GGUF file.

#include "gguf.h"
#include "half.h"

#include <inttypes.h>
#include <string.h>

const struct gguf_value *gguf_find(const struct gguf_file *file, const char *name)
{
    for (uint32_t index = 0; index < file->key_count; index++) {
        if (gguf_string_is(file->keys[index].name, name)) {
            return &file->keys[index].value;
        }
    }
    return NULL;
}

/* Finds a key for the read functions: 1 found, 0 absent and optional, -1 absent and required. */
static int look_up(const struct gguf_file *file, const char *name, bool required,
                   const struct gguf_value **value, struct llm_error *err)
{
    *value = gguf_find(file, name);
    if (*value != NULL) {
        return 1;
    }
    return required ? llm_fail(err, "key %s is missing", name) : 0;
}

/* Stores the number of an integer value; -1 if it is no integer or negative. */
static int integer_of(const struct gguf_value *value, uint64_t *number)
{
    int64_t with_sign;
    switch (value->type) {
    case GGUF_UINT8:
        *number = value->data[0];
        return 0;
    case GGUF_UINT16:
        *number = llm_load_u16(value->data);
        return 0;
    case GGUF_UINT32:
        *number = llm_load_u32(value->data);
        return 0;
    case GGUF_UINT64:
        *number = llm_load_u64(value->data);
        return 0;
    case GGUF_INT8:
        with_sign = (int8_t)value->data[0];
        break;
    case GGUF_INT16:
        with_sign = (int16_t)llm_load_u16(value->data);
        break;
    case GGUF_INT32:
        with_sign = (int32_t)llm_load_u32(value->data);
        break;
    case GGUF_INT64:
        with_sign = (int64_t)llm_load_u64(value->data);
        break;
    default:
        return -1;
    }
    *number = (uint64_t)with_sign;
    return with_sign < 0 ? -1 : 0;
}

int gguf_read_integer(const struct gguf_file *file, const char *name, bool required,
                      uint64_t minimum, uint64_t maximum, uint64_t *value, struct llm_error *err)
{
    const struct gguf_value *stored;
    int found = look_up(file, name, required, &stored, err);
    if (found <= 0) {
        return found;
    }
    uint64_t number;
    if (integer_of(stored, &number) != 0) {
        return llm_fail(err, "key %s is not one non-negative integer", name);
    }
    if (number < minimum || number > maximum) {
        return llm_fail(err, "key %s: %" PRIu64 " is not between %" PRIu64 " and %" PRIu64, name,
                        number, minimum, maximum);
    }
    *value = number;
    return 0;
}

int gguf_read_float(const struct gguf_file *file, const char *name, bool required, float minimum,
                    float maximum, float *value, struct llm_error *err)
{
    const struct gguf_value *stored;
    int found = look_up(file, name, required, &stored, err);
    if (found <= 0) {
        return found;
    }
    double number;
    if (stored->type == GGUF_FLOAT32) {
        number = (double)llm_load_f32(stored->data);
    } else if (stored->type == GGUF_FLOAT64) {
        memcpy(&number, stored->data, sizeof(number));
    } else {
        return llm_fail(err, "key %s is not one floating-point number", name);
    }
    if (!(number >= (double)minimum && number <= (double)maximum)) {
        return llm_fail(err, "key %s: the number is out of range", name);
    }
    *value = (float)number;
    return 0;
}

int gguf_read_boolean(const struct gguf_file *file, const char *name, bool required, bool *value,
                      struct llm_error *err)
{
    const struct gguf_value *stored;
    int found = look_up(file, name, required, &stored, err);
    if (found <= 0) {
        return found;
    }
    if (stored->type != GGUF_BOOL || stored->data[0] > 1) {
        return llm_fail(err, "key %s is not one boolean", name);
    }
    *value = stored->data[0] != 0;
    return 0;
}

int gguf_read_string(const struct gguf_file *file, const char *name, bool required,
                     struct gguf_string *value, struct llm_error *err)
{
    const struct gguf_value *stored;
    int found = look_up(file, name, required, &stored, err);
    if (found <= 0) {
        return found;
    }
    if (stored->type != GGUF_STRING) {
        return llm_fail(err, "key %s is not one string", name);
    }
    value->text = (const char *)stored->data;
    value->length = stored->count;
    return 0;
}

int gguf_read_array(const struct gguf_file *file, const char *name, uint32_t element_type,
                    const struct gguf_value **value, struct llm_error *err)
{
    if (look_up(file, name, true, value, err) < 0) {
        return -1;
    }
    if ((*value)->type != GGUF_ARRAY || (*value)->element_type != element_type) {
        return llm_fail(err, "key %s is not an array of the expected type", name);
    }
    return 0;
}

int gguf_next_string(const struct gguf_value *value, uint64_t *offset, struct gguf_string *string)
{
    if (value->element_type != GGUF_STRING || *offset > value->bytes ||
        value->bytes - *offset < sizeof(uint64_t)) {
        return -1;
    }
    uint64_t length = llm_load_u64(value->data + *offset);
    uint64_t start = *offset + sizeof(uint64_t);
    if (length > value->bytes - start) {
        return -1;
    }
    string->text = (const char *)value->data + start;
    string->length = length;
    *offset = start + length;
    return 0;
}
