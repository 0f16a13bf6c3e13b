// SPDX-License-Identifier: Apache-2.0
// The file that carries an order and its signatures (guillotine-signed-order/1).
#ifndef MONITOR_ORDER_FILE_H
#define MONITOR_ORDER_FILE_H

#include "canonical_json.h"
#include "level_order.h"

#define SIGNED_ORDER_FORMAT "guillotine-signed-order/1"
#define SIGNED_ORDER_MAX    16384u // bytes of the file

// A rotation is signed by keys of two sets.
#define SIGNATURE_LIST_MAX (2 * LEVEL_MAX_KEYS)

// Signatures, as orders and key-set documents have them.
struct signature_list {
    uint32_t count;
    struct level_order_signature signatures[SIGNATURE_LIST_MAX];
};

struct signed_order {
    struct level_order order;
    struct signature_list list;
};

// Reads a file's text; `name` stands in messages. Only the canonical form is read, and the order in
// it must be well-formed. Signatures are not verified. Returns 0 or -1.
int signed_order_parse(const char *name, const char *text, size_t length,
                       struct signed_order *signed_order, struct error *err);

// Writes the file's text with a newline; it is the caller's to free. Returns 0 or -1.
int signed_order_format(const struct signed_order *signed_order, char **text, struct error *err);

// Reads an array of signatures. Returns 0 or -1.
int signature_list_read(const struct json_place *place, struct signature_list *list,
                        struct error *err);

// The array as JSON, or NULL without memory.
struct json_object *signature_list_json(const struct signature_list *list);

#endif
