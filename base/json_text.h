// SPDX-License-Identifier: Apache-2.0
// Strict JSON (RFC 8259): a document is read into a json-c tree or refused with its position.
//
// json-c's own reader has no positions and lets the last of two equal keys win, so the text is
// scanned here and json-c only holds the tree: one reader, no second opinion. Also refused, beyond
// the RFC: duplicate keys, numbers that are not integers of 64 bits (json_document_parse_fractions
// takes others too), lone surrogates, U+0000 in keys, a byte order mark, deep nesting.
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define JSON_MAX_DEPTH  32u
#define JSON_MAX_VALUES 65536u // bounds the memory of the tree, not only that of the text

// A document. Name (for messages) and text are borrowed and must outlive it.
struct json_document {
    const char *name;
    const char *text;
    size_t length;
    bool fractions; // numbers may have a fraction and an exponent
    struct json_object *root;
};

// Reads `text`, of at most `max_length` bytes. Errors have status EXIT_STATUS_BAD_FILE and the form
// "NAME:LINE:COLUMN: POINTER: message", the pointer (RFC 6901) left out for the whole document;
// columns count characters. Returns 0 or -1; after -1 there is nothing to free.
int json_document_parse(struct json_document *document, const char *name, const char *text,
                        size_t length, size_t max_length, struct error *err);

// Same for documents of others, in which a number may have a fraction or an exponent: such a one
// becomes the nearest double; one that is beyond all of them is refused.
int json_document_parse_fractions(struct json_document *document, const char *name,
                                  const char *text, size_t length, size_t max_length,
                                  struct error *err);

void json_document_free(struct json_document *document);

// Frees the document at scope exit; it starts zeroed.
#define cleanup_json_document __attribute__((cleanup(json_document_free)))

// A value and the way to it: a JSON pointer as a chain. The parent must outlive it.
struct json_place {
    const struct json_document *document;
    const struct json_place *parent; // NULL: the whole document
    const char *key;                 // NULL: an element of an array
    size_t index;
    struct json_object *value;      // NULL: null
    const struct json_field *field; // that its reader is called for, else NULL
};

enum json_part {
    JSON_PART_VALUE,
    JSON_PART_KEY,
};

struct json_place json_document_root(const struct json_document *document);

// Finds a member of an object. Returns false if there is none.
bool json_member(const struct json_place *object, const char *key, struct json_place *member);

// Fills *err with a message about a place, in the form of json_document_parse. Returns -1. Text
// from the document belongs into a message only through json_excerpt.
int json_refuse(const struct json_place *place, enum json_part part, struct error *err,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

// Copies text from outside for a message: escaped, cut after some 60 characters.
#define JSON_EXCERPT_SIZE 64
const char *json_excerpt(char excerpt[JSON_EXCERPT_SIZE], const char *text);

// Refuses a value of another type. Returns 0 or -1.
int json_expect(const struct json_place *place, enum json_type type, struct error *err);

// Typed values. A text lives as long as the document and has no U+0000. A name is one of `count`
// and gives its index. All return 0 or -1.
int json_read_text(const struct json_place *place, const char **text, struct error *err);
int json_read_bool(const struct json_place *place, bool *value, struct error *err);
int json_read_integer(const struct json_place *place, uint64_t minimum, uint64_t maximum,
                      uint64_t *value, struct error *err);
int json_read_name(const struct json_place *place, const char *const *names, size_t count,
                   size_t *index, struct error *err);

// One known key of an object.
struct json_field {
    const char *key;
    int (*read)(const struct json_place *place, void *target, struct error *err);
    bool required;
    size_t offset; // for the readers below: of the member of the target to fill
    uint64_t minimum;
    uint64_t maximum;
};

// Readers for plain members: uint32_t, uint64_t, bool.
int json_field_u32(const struct json_place *place, void *target, struct error *err);
int json_field_u64(const struct json_place *place, void *target, struct error *err);
int json_field_bool(const struct json_place *place, void *target, struct error *err);

// Reads an object: refuses unknown keys (with the nearest known one) and missing ones, then calls
// the readers of the keys that are there, in the order of the table. Returns 0 or -1.
int json_read_object(const struct json_place *object, const struct json_field *fields, size_t count,
                     void *target, struct error *err);

// Reads an array of at most `maximum` elements, in order. Returns 0 or -1.
int json_read_array(const struct json_place *array, size_t maximum,
                    int (*read)(const struct json_place *place, void *target, struct error *err),
                    void *target, struct error *err);

#endif
