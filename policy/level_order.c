// SPDX-License-Identifier: Apache-2.0
// Signed orders: canonical text and check.
#include "level_order.h"

#include <sodium/crypto_sign_ed25519.h>
#include <string.h>

#include "hex.h"

// Text under construction. One byte is always left for the terminator.
struct text {
    char *at;
    size_t left;
    bool failed;
};

static void put(struct text *text, const char *bytes, size_t length)
{
    if (text->failed || length >= text->left) {
        text->failed = true;
        return;
    }
    memcpy(text->at, bytes, length);
    text->at += length;
    text->left -= length;
}

static void put_text(struct text *text, const char *bytes)
{
    put(text, bytes, strlen(bytes));
}

static void put_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    if (number > LEVEL_ORDER_INTEGER_MAX)
        text->failed = true;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put(text, digits + at, sizeof(digits) - at);
}

// Length of the well-formed UTF-8 sequence at `at`, which has a terminator behind it; 0 if it is
// none (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
static size_t utf8_length(const uint8_t *at)
{
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    uint32_t code = at[0] & (0x7fu >> length);
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest[length] || surrogate || code > 0x10ffff ? 0 : length;
}

// RFC 8785, 3.2.2.2: quote and backslash, the five short escapes, \u00xx for the other controls;
// everything else as it is.
static void put_string(struct text *text, const char *string)
{
    static const char escaped[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const uint8_t *at = (const uint8_t *)string;
    put(text, "\"", 1);
    while (*at && !text->failed) {
        const char *found = strchr(escaped, *at);
        size_t length = utf8_length(at);
        if (found) {
            const char pair[2] = {'\\', letters[found - escaped]};
            put(text, pair, 2);
        } else if (*at < 0x20) {
            char code[7] = "\\u00";
            hex_format(code + 4, at, 1);
            put(text, code, 6);
        } else {
            put(text, (const char *)at, length);
        }
        text->failed = text->failed || !length;
        at += length;
    }
    put(text, "\"", 1);
}

static void put_uuid(struct text *text, const uint8_t *uuid)
{
    char string[UUID_TEXT_SIZE];
    uuid_bytes_format(string, uuid);
    put_string(text, string);
}

// What the canonical text cannot say by itself.
static bool is_well_formed(const struct level_order *order)
{
    static const uint8_t no_nonce[sizeof(order->nonce)];
    static const uint8_t no_policy[sizeof(order->policy)];
    bool has_policy = memcmp(order->policy, no_policy, sizeof(no_policy)) != 0;
    if (!memchr(order->reason, 0, sizeof(order->reason)) ||
        !memchr(order->repair, 0, sizeof(order->repair)) || !order->reason[0] ||
        order->repaired > 1 || (order->repair[0] != 0) != order->repaired)
        return false;
    if (order->from >= LEVEL_COUNT || order->to >= LEVEL_COUNT || !order->sequence ||
        !order->key_set || !memcmp(order->nonce, no_nonce, sizeof(no_nonce)) ||
        has_policy != (order->kind == LEVEL_ORDER_POLICY) ||
        (order->kind == LEVEL_ORDER_SET) == (order->from == order->to))
        return false;
    return order->kind >= LEVEL_ORDER_SET && order->kind <= LEVEL_ORDER_POLICY;
}

int level_order_format(const struct level_order *order, char *text, size_t size)
{
    struct text out = {text, size, !size || !is_well_formed(order)};
    static const char *const kinds[] = {
        [LEVEL_ORDER_SET] = "set",
        [LEVEL_ORDER_WITHDRAW] = "withdraw",
        [LEVEL_ORDER_POLICY] = "policy",
    };
    char nonce[2 * sizeof(order->nonce) + 1];
    char policy[2 * sizeof(order->policy) + 1];
    if (out.failed)
        return -1;
    hex_format(nonce, order->nonce, sizeof(order->nonce));
    put_text(&out, "{\"deployment\":");
    put_uuid(&out, order->deployment);
    put_text(&out, ",\"expires_s\":");
    put_number(&out, order->expires_s);
    put_text(&out, ",\"format\":\"" LEVEL_ORDER_FORMAT "\",\"from\":\"");
    put_text(&out, level_name(order->from));
    put_text(&out, "\",\"issued_s\":");
    put_number(&out, order->issued_s);
    put_text(&out, ",\"key_set\":");
    put_number(&out, order->key_set);
    put_text(&out, ",\"kind\":\"");
    put_text(&out, kinds[order->kind]);
    put_text(&out, "\",\"nonce\":\"");
    put_text(&out, nonce);
    if (order->kind == LEVEL_ORDER_POLICY) {
        hex_format(policy, order->policy, sizeof(order->policy));
        put_text(&out, "\",\"policy\":\"");
        put_text(&out, policy);
    }
    put_text(&out, "\",\"reason\":");
    put_string(&out, order->reason);
    put_text(&out, ",\"repair\":");
    put_string(&out, order->repair);
    put_text(&out, ",\"repaired\":");
    put_text(&out, order->repaired ? "true" : "false");
    put_text(&out, ",\"sequence\":");
    put_number(&out, order->sequence);
    put_text(&out, ",\"to\":\"");
    put_text(&out, level_name(order->to));
    put_text(&out, "\",\"vm\":");
    put_uuid(&out, order->vm);
    put_text(&out, "}");
    if (out.failed)
        return -1;
    *out.at = '\0';
    return (int)(out.at - text);
}

int level_order_message(const struct level_order *order, char message[LEVEL_ORDER_MESSAGE_MAX])
{
    const size_t prefix = sizeof(LEVEL_ORDER_DOMAIN) - 1;
    memcpy(message, LEVEL_ORDER_DOMAIN, prefix);
    int length = level_order_format(order, message + prefix, LEVEL_ORDER_TEXT_MAX);
    return length < 0 ? -1 : length + (int)prefix;
}

bool level_signature_is_valid(const struct level_order_signature *signature, const char *message,
                              size_t length)
{
    // The library refuses small-order and non-canonical points and scalars.
    return crypto_sign_ed25519_verify_detached(signature->signature, (const uint8_t *)message,
                                               length, signature->key) == 0;
}

int level_key_set_find(const struct level_key_set *key_set, const uint8_t key[32])
{
    for (uint32_t i = 0; i < key_set->keys && i < LEVEL_MAX_KEYS; i++) {
        if (!memcmp(key_set->key[i], key, sizeof(key_set->key[i])))
            return (int)i;
    }
    return -1;
}

bool level_key_set_is_sound(const struct level_key_set *key_set)
{
    if (!key_set->version || key_set->version > LEVEL_ORDER_INTEGER_MAX || !key_set->keys ||
        key_set->keys > LEVEL_MAX_KEYS || !key_set->raise || key_set->raise > key_set->keys ||
        key_set->lower < key_set->raise || key_set->lower > key_set->keys || key_set->demo > 1)
        return false;
    for (uint32_t i = 0; i < key_set->keys; i++) {
        if (level_key_set_find(key_set, key_set->key[i]) != (int)i)
            return false;
    }
    return true;
}

struct level_quorum level_key_set_quorum(const struct level_key_set *key_set)
{
    return (struct level_quorum){key_set->keys, key_set->raise, key_set->lower};
}

// One signature: 0, or why it does not count. `seen` has a bit for each key that has signed.
static uint32_t check_signature(const struct level_order_signature *signature,
                                const struct level_key_set *key_set, const char *message,
                                int length, uint32_t *seen)
{
    int key = level_key_set_find(key_set, signature->key);
    if (key < 0)
        return LEVEL_ORDER_UNKNOWN_KEY;
    if (*seen >> key & 1)
        return LEVEL_ORDER_DUPLICATE_KEY;
    if (!level_signature_is_valid(signature, message, (size_t)length))
        return LEVEL_ORDER_SIGNATURE;
    *seen |= 1u << key;
    return LEVEL_ORDER_ACCEPTED;
}

uint32_t level_order_signatures(const struct level_order *order,
                                const struct level_order_signature *signatures, uint32_t count,
                                const struct level_key_set *key_set)
{
    char message[LEVEL_ORDER_MESSAGE_MAX];
    uint32_t seen = 0;
    int length = level_order_message(order, message);
    if (length < 0 || count > LEVEL_ORDER_MAX_SIGNATURES)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        check_signature(&signatures[i], key_set, message, length, &seen);
    return (uint32_t)__builtin_popcount(seen);
}

static uint32_t check_binding(const struct level_order *order,
                              const struct level_order_context *context)
{
    const struct level_key_set *key_set = context->key_set;
    if (!level_key_set_is_sound(key_set))
        return LEVEL_ORDER_NO_KEY_SET;
    if (memcmp(order->deployment, key_set->deployment, sizeof(order->deployment)))
        return LEVEL_ORDER_DEPLOYMENT;
    if (memcmp(order->vm, context->vm, sizeof(order->vm)))
        return LEVEL_ORDER_VM;
    if (order->key_set != key_set->version)
        return LEVEL_ORDER_KEY_SET;
    if (order->expires_s <= order->issued_s ||
        order->expires_s - order->issued_s > LEVEL_ORDER_LIFETIME_S)
        return LEVEL_ORDER_LIFETIME;
    if (order->issued_s > context->now_s && order->issued_s - context->now_s > LEVEL_ORDER_SKEW_S)
        return LEVEL_ORDER_NOT_YET;
    if (order->expires_s <= context->now_s)
        return LEVEL_ORDER_EXPIRED;
    if (order->sequence <= context->last_sequence)
        return LEVEL_ORDER_SEQUENCE;
    if ((order->kind == LEVEL_ORDER_POLICY) != context->policy)
        return LEVEL_ORDER_KIND;
    if ((order->to < order->from || context->policy) && order->issued_s < context->issued_from_s)
        return LEVEL_ORDER_TOO_OLD;
    return order->from == (uint32_t)context->level ? LEVEL_ORDER_ACCEPTED : LEVEL_ORDER_FROM;
}

uint32_t level_order_check(const struct level_order *order,
                           const struct level_order_signature *signatures, uint32_t count,
                           const struct level_order_context *context, struct level_event *event)
{
    char message[LEVEL_ORDER_MESSAGE_MAX];
    uint32_t seen = 0;
    int length = level_order_message(order, message);
    if (length < 0 || count > LEVEL_ORDER_MAX_SIGNATURES)
        return LEVEL_ORDER_MALFORMED;
    uint32_t refusal = check_binding(order, context);
    for (uint32_t i = 0; i < count && !refusal; i++)
        refusal = check_signature(&signatures[i], context->key_set, message, length, &seen);
    if (refusal)
        return refusal;
    *event = (struct level_event){
        .kind = order->kind == LEVEL_ORDER_SET ? LEVEL_EVENT_SET : LEVEL_EVENT_WITHDRAW,
        .actor = LEVEL_ACTOR_ADMINISTRATORS,
        .target = (enum level)order->to,
        .signatures = (uint32_t)__builtin_popcount(seen),
        .repaired = order->repaired,
    };
    return LEVEL_ORDER_ACCEPTED;
}

const char *level_order_refusal_text(uint32_t refusal)
{
    static const char *const texts[] = {
        [LEVEL_ORDER_MALFORMED - 64] = "the order is malformed",
        [LEVEL_ORDER_NO_KEY_SET - 64] = "there is no key set: levels only rise",
        [LEVEL_ORDER_KEY_SET - 64] = "the order is for another version of the key set",
        [LEVEL_ORDER_DEPLOYMENT - 64] = "the order is for another deployment",
        [LEVEL_ORDER_VM - 64] = "the order is for another VM",
        [LEVEL_ORDER_LIFETIME - 64] = "the order lives longer than 24 hours, or not at all",
        [LEVEL_ORDER_NOT_YET - 64] = "the order is of the future: check the clocks",
        [LEVEL_ORDER_EXPIRED - 64] = "the order has expired",
        [LEVEL_ORDER_SEQUENCE - 64] = "an order with this or a later sequence number was accepted",
        [LEVEL_ORDER_FROM - 64] = "the VM is not at the level that the order starts from",
        [LEVEL_ORDER_DUPLICATE_KEY - 64] = "one key signed twice",
        [LEVEL_ORDER_UNKNOWN_KEY - 64] = "a signature is of a key that is not in the key set",
        [LEVEL_ORDER_SIGNATURE - 64] = "a signature is not valid for this text",
        [LEVEL_ORDER_ROTATED - 64] = ("the key set changed after the VM's launch: raise it or end "
                                      "it, then order its level while it does not run"),
        [LEVEL_ORDER_KEYS_DAMAGED - 64] = ("the key set cannot be read: see guillotine quorum "
                                           "status --state-dir"),
        [LEVEL_ORDER_TOO_OLD - 64] = "the VM's state was lost after it was issued: sign a new one",
        [LEVEL_ORDER_NOT_NOTED - 64] = "the register cannot be written: nothing changed",
        [LEVEL_ORDER_KIND - 64] = ("the order is of another kind: levels are ordered with "
                                   "guillotine quorum submit, documents with guillotine policy "
                                   "apply --order"),
        [LEVEL_ORDER_DOCUMENT - 64] = "the order is for another policy document",
    };
    if (refusal < LEVEL_ORDER_MALFORMED)
        return level_refusal_text((enum level_refusal)refusal);
    return refusal < LEVEL_ORDER_END ? texts[refusal - LEVEL_ORDER_MALFORMED] : "unknown";
}
