// SPDX-License-Identifier: Apache-2.0
// Tokens of an operator's console.
#include "beat_token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define AT(member)    offsetof(struct beat_token, member)
#define NUMBER(value) (unsigned long long)(value)

static int read_inner_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, BEAT_TOKEN_FORMAT, err);
}

static int read_beat(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_inner_format, .required = true},
        {"deployment", canonical_field_uuid, true, AT(deployment), 0, 0},
        {"vm", canonical_field_uuid, true, AT(vm), 0, 0},
        {"counter", json_field_u64, true, AT(counter), 1, LEVEL_ORDER_INTEGER_MAX},
        {"issued_s", json_field_u64, true, AT(issued_s), 0, LEVEL_ORDER_INTEGER_MAX},
        {"expires_s", json_field_u64, true, AT(expires_s), 0, LEVEL_ORDER_INTEGER_MAX},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, SIGNED_BEAT_FORMAT, err);
}

int beat_token_parse(const char *name, const char *text, size_t length, struct beat_token *token,
                     struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "beat", .read = read_beat, .required = true},
        {"key", canonical_field_hex, true, AT(signature.key), 0, 32},
        {"signature", canonical_field_hex, true, AT(signature.signature), 0, 64},
    };
    cleanup_json_document struct json_document document = {0};
    *token = (struct beat_token){0};
    if (json_document_parse(&document, name, text, length, BEAT_TOKEN_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, COUNT(fields), token, err) < 0)
        return -1;
    return canonical_json_check(&document, err);
}

// The canonical text of the token: its keys in their order.
static int print_beat(const struct beat_token *token, const char *prefix, char **text,
                      struct error *err)
{
    char deployment[UUID_TEXT_SIZE];
    char vm[UUID_TEXT_SIZE];
    uuid_bytes_format(deployment, token->deployment);
    uuid_bytes_format(vm, token->vm);
    if (asprintf(text,
                 "%s{\"counter\":%llu,\"deployment\":\"%s\",\"expires_s\":%llu,"
                 "\"format\":\"" BEAT_TOKEN_FORMAT "\",\"issued_s\":%llu,\"vm\":\"%s\"}",
                 prefix, NUMBER(token->counter), deployment, NUMBER(token->expires_s),
                 NUMBER(token->issued_s), vm) < 0) {
        *text = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "beat");
    }
    return 0;
}

int beat_token_message(const struct beat_token *token, char **message, size_t *length,
                       struct error *err)
{
    if (print_beat(token, BEAT_TOKEN_DOMAIN, message, err) < 0)
        return -1;
    *length = strlen(*message);
    return 0;
}

int beat_token_format(const struct beat_token *token, char **text, struct error *err)
{
    cleanup_free char *beat = NULL;
    char key[65];
    char signature[129];
    if (print_beat(token, "", &beat, err) < 0)
        return -1;
    hex_format(key, token->signature.key, 32);
    hex_format(signature, token->signature.signature, 64);
    if (asprintf(text,
                 "{\"beat\":%s,\"format\":\"" SIGNED_BEAT_FORMAT
                 "\",\"key\":\"%s\",\"signature\":\"%s\"}",
                 beat, key, signature) < 0) {
        *text = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "beat");
    }
    return 0;
}

static const char *find_fault(const struct beat_token *token, const struct level_key_set *key_set,
                              const uint8_t vm[16], uint64_t last_counter, uint64_t now_s)
{
    if (!level_key_set_is_sound(key_set))
        return "there is no key set";
    if (memcmp(token->deployment, key_set->deployment, sizeof(token->deployment)) != 0)
        return "it is for another deployment";
    if (memcmp(token->vm, vm, sizeof(token->vm)) != 0)
        return "it is for another VM";
    if (token->expires_s <= token->issued_s ||
        token->expires_s - token->issued_s > BEAT_TOKEN_LIFETIME_S)
        return "it lives longer than 5 minutes, or not at all";
    if (token->issued_s > now_s && token->issued_s - now_s > LEVEL_ORDER_SKEW_S)
        return "it is of the future: check the clocks";
    if (token->expires_s <= now_s)
        return "it has expired";
    if (token->counter <= last_counter)
        return "its counter was seen before";
    return level_key_set_find(key_set, token->signature.key) < 0 ? "its key is not in the key set"
                                                                 : NULL;
}

int beat_token_check(const struct beat_token *token, const struct level_key_set *key_set,
                     const uint8_t vm[16], uint64_t last_counter, uint64_t now_s, struct error *err)
{
    cleanup_free char *message = NULL;
    size_t length;
    const char *fault = find_fault(token, key_set, vm, last_counter, now_s);
    if (!fault && beat_token_message(token, &message, &length, err) < 0)
        return -1;
    if (!fault && !level_signature_is_valid(&token->signature, message, length))
        fault = "its signature is not valid";
    return fault ? error_set(err, EXIT_STATUS_FAILURE, 0, "heartbeat refused: %s", fault) : 0;
}
