// SPDX-License-Identifier: Apache-2.0
// Reads and writes files with signed orders.
#include "order_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int read_order_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, LEVEL_ORDER_FORMAT, err);
}

static int read_level(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    uint32_t level = level_parse(text);
    if (level == LEVEL_COUNT)
        return json_refuse(place, JSON_PART_VALUE, err, "this is not a level");
    memcpy((char *)target + place->field->offset, &level, sizeof(level));
    return 0;
}

static int read_kind(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"set", "withdraw", "policy"};
    struct level_order *order = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err) < 0)
        return -1;
    order->kind = LEVEL_ORDER_SET + (uint32_t)index;
    return 0;
}

static int read_repaired(const struct json_place *place, void *target, struct error *err)
{
    struct level_order *order = target;
    bool repaired;
    if (json_read_bool(place, &repaired, err) < 0)
        return -1;
    order->repaired = repaired;
    return 0;
}

#define AT(member) offsetof(struct level_order, member)

static int read_order(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_order_format, .required = true},
        {"deployment", canonical_field_uuid, true, AT(deployment), 0, 0},
        {"vm", canonical_field_uuid, true, AT(vm), 0, 0},
        {.key = "kind", .read = read_kind, .required = true},
        {"from", read_level, true, AT(from), 0, 0},
        {"to", read_level, true, AT(to), 0, 0},
        {"sequence", json_field_u64, true, AT(sequence), 1, LEVEL_ORDER_INTEGER_MAX},
        {"nonce", canonical_field_hex, true, AT(nonce), 0, 16},
        {"issued_s", json_field_u64, true, AT(issued_s), 0, LEVEL_ORDER_INTEGER_MAX},
        {"expires_s", json_field_u64, true, AT(expires_s), 0, LEVEL_ORDER_INTEGER_MAX},
        {"key_set", json_field_u64, true, AT(key_set), 1, LEVEL_ORDER_INTEGER_MAX},
        {"policy", canonical_field_hex, false, AT(policy), 0, 32},
        {"reason", canonical_field_text, true, AT(reason), 1, LEVEL_ORDER_TEXT_SIZE},
        {"repair", canonical_field_text, true, AT(repair), 0, LEVEL_ORDER_TEXT_SIZE},
        {.key = "repaired", .read = read_repaired, .required = true},
    };
    struct signed_order *file = target;
    struct level_order *order = &file->order;
    char text[LEVEL_ORDER_TEXT_MAX];
    cleanup_free char *canonical = NULL;
    size_t length;
    if (json_read_object(place, fields, COUNT(fields), order, err) < 0)
        return -1;
    int formatted = level_order_format(order, text, sizeof(text));
    if (formatted < 0)
        return json_refuse(
            place, JSON_PART_VALUE, err,
            "the order contradicts itself: look at from, to, kind, nonce and repair");
    // What is verified is the text that level_order_format writes: it must be the one in the file.
    if (canonical_json_print(place->value, &canonical, &length, err) < 0)
        return -1;
    return length == (size_t)formatted && !memcmp(canonical, text, length)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "the order has another canonical form");
}

static int read_signature(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"key", canonical_field_hex, true, offsetof(struct level_order_signature, key), 0, 32},
        {"signature", canonical_field_hex, true, offsetof(struct level_order_signature, signature),
         0, 64},
    };
    struct signature_list *list = target;
    return json_read_object(place, fields, COUNT(fields), &list->signatures[list->count++], err);
}

int signature_list_read(const struct json_place *place, struct signature_list *list,
                        struct error *err)
{
    list->count = 0;
    return json_read_array(place, SIGNATURE_LIST_MAX, read_signature, list, err);
}

static int read_signatures(const struct json_place *place, void *target, struct error *err)
{
    struct signed_order *file = target;
    if (signature_list_read(place, &file->list, err) < 0)
        return -1;
    return file->list.count > LEVEL_ORDER_MAX_SIGNATURES
               ? json_refuse(place, JSON_PART_VALUE, err, "an order has at most %u signatures",
                             LEVEL_ORDER_MAX_SIGNATURES)
               : 0;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, SIGNED_ORDER_FORMAT, err);
}

int signed_order_parse(const char *name, const char *text, size_t length,
                       struct signed_order *signed_order, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "order", .read = read_order, .required = true},
        {.key = "signatures", .read = read_signatures, .required = true},
    };
    cleanup_json_document struct json_document document = {0};
    *signed_order = (struct signed_order){0};
    if (json_document_parse(&document, name, text, length, SIGNED_ORDER_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, COUNT(fields), signed_order, err) < 0)
        return -1;
    return canonical_json_check(&document, err);
}

struct json_object *signature_list_json(const struct signature_list *list)
{
    struct json_object *array = json_object_new_array();
    for (uint32_t i = 0; array && i < list->count; i++) {
        char key[65];
        char signature[129];
        struct json_object *entry = json_object_new_object();
        hex_format(key, list->signatures[i].key, 32);
        hex_format(signature, list->signatures[i].signature, 64);
        json_object_object_add(entry, "key", json_object_new_string(key));
        json_object_object_add(entry, "signature", json_object_new_string(signature));
        json_object_array_add(array, entry);
    }
    return array;
}

int signed_order_format(const struct signed_order *signed_order, char **text, struct error *err)
{
    char order[LEVEL_ORDER_TEXT_MAX];
    cleanup_free char *signatures = NULL;
    size_t length;
    if (level_order_format(&signed_order->order, order, sizeof(order)) < 0)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the order contradicts itself: texts are UTF-8 of at most %u bytes",
                         LEVEL_ORDER_TEXT_SIZE - 1);
    struct json_object *array = signature_list_json(&signed_order->list);
    int result = canonical_json_print(array, &signatures, &length, err);
    json_object_put(array);
    if (result < 0)
        return -1;
    if (asprintf(text, "{\"format\":\"" SIGNED_ORDER_FORMAT "\",\"order\":%s,\"signatures\":%s}\n",
                 order, signatures) < 0) {
        *text = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "signed order");
    }
    return 0;
}
