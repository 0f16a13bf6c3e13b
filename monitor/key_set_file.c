// SPDX-License-Identifier: Apache-2.0
// Reads, writes and checks key-set documents.
#include "key_set_file.h"

#include <errno.h>
#include <sodium/crypto_core_ed25519.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct named_key {
    uint8_t key[32];
    char name[KEY_NAME_SIZE];
};

// Names stand in terminals and messages: only what the names of VMs have too.
bool key_name_is_plain(const char *name)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyz0123456789-_.@ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return name[0] && strlen(name) < KEY_NAME_SIZE && !name[strspn(name, plain)];
}

static int read_key(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"key", canonical_field_hex, true, offsetof(struct named_key, key), 0, 32},
        {"name", canonical_field_text, true, offsetof(struct named_key, name), 1, KEY_NAME_SIZE},
    };
    struct key_set_file *file = target;
    struct named_key key = {0};
    if (json_read_object(place, fields, COUNT(fields), &key, err) < 0)
        return -1;
    if (!key_name_is_plain(key.name))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a key's name has letters, digits and - _ . @ only");
    if (crypto_core_ed25519_is_valid_point(key.key) != 1)
        return json_refuse(place, JSON_PART_VALUE, err, "this is not an Ed25519 key");
    memcpy(file->set.key[file->set.keys], key.key, sizeof(key.key));
    memcpy(file->names[file->set.keys], key.name, sizeof(key.name));
    file->set.keys++;
    return 0;
}

static int read_keys(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, LEVEL_MAX_KEYS, read_key, target, err);
}

static int read_replica(const struct json_place *place, void *target, struct error *err)
{
    struct key_set_file *file = target;
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    return hex_parse(text, file->replicas[file->replica_count++], 32)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "this is not a SHA-256 in lower case");
}

static int read_replicas(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, KEY_SET_MAX_REPLICAS, read_replica, target, err);
}

static int read_demo(const struct json_place *place, void *target, struct error *err)
{
    struct key_set_file *file = target;
    bool demo;
    if (json_read_bool(place, &demo, err) < 0)
        return -1;
    file->set.demo = demo;
    return 0;
}

static int read_inner_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, KEY_SET_FORMAT, err);
}

#define AT(member) offsetof(struct key_set_file, member)

static int read_key_set(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_inner_format, .required = true},
        {"deployment", canonical_field_uuid, true, AT(set.deployment), 0, 0},
        {"version", json_field_u64, true, AT(set.version), 1, LEVEL_ORDER_INTEGER_MAX},
        {.key = "keys", .read = read_keys, .required = true},
        {"raise", json_field_u32, true, AT(set.raise), 1, LEVEL_MAX_KEYS},
        {"lower", json_field_u32, true, AT(set.lower), 1, LEVEL_MAX_KEYS},
        {.key = "demo", .read = read_demo, .required = true},
        {.key = "replicas", .read = read_replicas, .required = true},
    };
    struct key_set_file *file = target;
    if (json_read_object(place, fields, COUNT(fields), file, err) < 0)
        return -1;
    return level_key_set_is_sound(&file->set)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "a key set has distinct keys, and raise <= lower <= their number");
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, SIGNED_KEY_SET_FORMAT, err);
}

static int read_signatures(const struct json_place *place, void *target, struct error *err)
{
    struct key_set_file *file = target;
    return signature_list_read(place, &file->list, err);
}

int key_set_file_parse(const char *name, const char *text, size_t length, struct key_set_file *file,
                       struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "key_set", .read = read_key_set, .required = true},
        {.key = "signatures", .read = read_signatures, .required = true},
    };
    cleanup_json_document struct json_document document = {0};
    *file = (struct key_set_file){0};
    if (json_document_parse(&document, name, text, length, KEY_SET_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, COUNT(fields), file, err) < 0)
        return -1;
    return canonical_json_check(&document, err);
}

static struct json_object *key_set_json(const struct key_set_file *file)
{
    const struct level_key_set *set = &file->set;
    char text[65];
    struct json_object *object = json_object_new_object();
    struct json_object *keys = json_object_new_array();
    struct json_object *replicas = json_object_new_array();
    for (uint32_t i = 0; i < set->keys; i++) {
        struct json_object *key = json_object_new_object();
        hex_format(text, set->key[i], 32);
        json_object_object_add(key, "key", json_object_new_string(text));
        json_object_object_add(key, "name", json_object_new_string(file->names[i]));
        json_object_array_add(keys, key);
    }
    for (uint32_t i = 0; i < file->replica_count; i++) {
        hex_format(text, file->replicas[i], 32);
        json_object_array_add(replicas, json_object_new_string(text));
    }
    uuid_bytes_format(text, set->deployment);
    json_object_object_add(object, "format", json_object_new_string(KEY_SET_FORMAT));
    json_object_object_add(object, "deployment", json_object_new_string(text));
    json_object_object_add(object, "version", json_object_new_int64((int64_t)set->version));
    json_object_object_add(object, "keys", keys);
    json_object_object_add(object, "raise", json_object_new_int64(set->raise));
    json_object_object_add(object, "lower", json_object_new_int64(set->lower));
    json_object_object_add(object, "demo", json_object_new_boolean(set->demo != 0));
    json_object_object_add(object, "replicas", replicas);
    return object;
}

int key_set_file_message(const struct key_set_file *file, char **message, size_t *length,
                         struct error *err)
{
    cleanup_free char *text = NULL;
    struct json_object *object = key_set_json(file);
    int result = canonical_json_print(object, &text, length, err);
    json_object_put(object);
    if (result < 0)
        return -1;
    if (asprintf(message, KEY_SET_DOMAIN "%s", text) < 0) {
        *message = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key set");
    }
    *length += strlen(KEY_SET_DOMAIN);
    return 0;
}

int key_set_file_format(const struct key_set_file *file, char **text, struct error *err)
{
    size_t length;
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "format", json_object_new_string(SIGNED_KEY_SET_FORMAT));
    json_object_object_add(object, "key_set", key_set_json(file));
    json_object_object_add(object, "signatures", signature_list_json(&file->list));
    cleanup_free char *plain = NULL;
    int result = canonical_json_print(object, &plain, &length, err);
    json_object_put(object);
    if (result < 0)
        return -1;
    if (asprintf(text, "%s\n", plain) < 0) {
        *text = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key set");
    }
    return 0;
}

// Counts, for both sets, the keys that signed. Every signature must be valid.
static int count_signatures(const char *name, const struct level_key_set *before,
                            const struct key_set_file *file, uint32_t counts[2], struct error *err)
{
    cleanup_free char *message = NULL;
    size_t length;
    char key[65];
    if (key_set_file_message(file, &message, &length, err) < 0)
        return -1;
    for (uint32_t i = 0; i < file->list.count; i++) {
        const struct level_order_signature *signature = &file->list.signatures[i];
        bool old = before && level_key_set_find(before, signature->key) >= 0;
        bool new = level_key_set_find(&file->set, signature->key) >= 0;
        bool again = false;
        for (uint32_t k = 0; k < i; k++)
            again |= !memcmp(file->list.signatures[k].key, signature->key, sizeof(signature->key));
        hex_format(key, signature->key, sizeof(signature->key));
        if (again)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: key %.16s... signed twice", name,
                             key);
        if (!old && !new)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "%s: key %.16s... is neither in the old nor in the new key set", name,
                             key);
        if (!level_signature_is_valid(signature, message, length))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "%s: the signature of key %.16s... is not valid", name, key);
        counts[0] += old;
        counts[1] += new;
    }
    return 0;
}

int key_set_file_check(const char *name, const struct key_set_file *before,
                       const struct key_set_file *file, struct error *err)
{
    uint32_t counts[2] = {0, 0};
    uint64_t expected = before ? before->set.version + 1 : 1;
    if (file->set.version != expected)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: version %llu, but version %llu is next",
                         name, (unsigned long long)file->set.version, (unsigned long long)expected);
    if (before && memcmp(before->set.deployment, file->set.deployment, 16))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: of another deployment", name);
    if (before && !before->set.demo && file->set.demo)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: a key set in earnest is not followed by one for demonstration", name);
    if (count_signatures(name, before ? &before->set : NULL, file, counts, err) < 0)
        return -1;
    if (before && counts[0] < before->set.lower)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: %u of the old key set signed, %u are needed", name, counts[0],
                         before->set.lower);
    if (counts[1] < file->set.lower)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: %u of the new key set signed, %u are needed", name, counts[1],
                         file->set.lower);
    return 0;
}

bool key_set_file_permits_replica(const struct key_set_file *file, const uint8_t digest[32])
{
    for (uint32_t i = 0; i < file->replica_count; i++) {
        if (!memcmp(file->replicas[i], digest, sizeof(file->replicas[i])))
            return true;
    }
    return false;
}
