// SPDX-License-Identifier: Apache-2.0
// Signed orders: one text for one order, and a reason for every order that is not taken.
#include <criterion/criterion.h>

#include "order_world.h"
#include "support.h"

TestSuite(level_order, .init = make_world);

static uint32_t check(uint32_t count)
{
    static uint8_t vm[16];
    struct level_event event;
    memset(vm, 0x5a, sizeof(vm));
    context.vm = vm;
    return level_order_check(&order, signatures, count, &context, &event);
}

Test(level_order, canonical_text)
{
    char text[LEVEL_ORDER_TEXT_MAX];
    int length = level_order_format(&order, text, sizeof(text));
    cr_assert_str_eq(text, "{\"deployment\":\"d0d0d0d0-d0d0-d0d0-d0d0-d0d0d0d0d0d0\","
                           "\"expires_s\":1800000900,\"format\":\"guillotine-order/1\","
                           "\"from\":\"severed\",\"issued_s\":1799999990,\"key_set\":3,"
                           "\"kind\":\"set\",\"nonce\":\"11111111111111111111111111111111\","
                           "\"reason\":\"the alarm was false\",\"repair\":\"\",\"repaired\":false,"
                           "\"sequence\":9,\"to\":\"standard\","
                           "\"vm\":\"5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a\"}");
    cr_assert_eq((size_t)length, strlen(text));
    // Every smaller buffer is refused, and nothing is written behind it.
    for (size_t size = 0; size <= (size_t)length; size++) {
        memset(text, 'x', sizeof(text));
        cr_assert_eq(level_order_format(&order, text, size), -1, "%zu", size);
        cr_assert_eq(text[size], 'x');
    }
}

// RFC 8785, 3.2.2.2.
Test(level_order, escapes)
{
    char text[LEVEL_ORDER_TEXT_MAX];
    strcpy(order.reason, "\xe2\x82\xac$\x0f\nA'B\"\\\\\"/\b\f\r\t\x1f\x7f\xf0\x9f\x98\x80");
    cr_assert_gt(level_order_format(&order, text, sizeof(text)), 0);
    cr_assert(strstr(text,
                     "\"reason\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\f\\r\\t\\u001f"
                     "\x7f\xf0\x9f\x98\x80\","),
              "%s", text);
}

// The longest texts, each byte of them escaped to six.
Test(level_order, largest)
{
    char text[LEVEL_ORDER_TEXT_MAX];
    memset(order.reason, 1, sizeof(order.reason) - 1);
    memset(order.repair, 1, sizeof(order.repair) - 1);
    order.repaired = 1;
    order.sequence = order.key_set = order.issued_s = order.expires_s = LEVEL_ORDER_INTEGER_MAX;
    order.from = LEVEL_DECAPITATION;
    cr_assert_gt(level_order_format(&order, text, sizeof(text)), 3000);
}

Test(level_order, malformed)
{
    static const char *const bad_utf8[] = {
        "\x80",
        "\xc0\xaf",
        "\xc1\x81",
        "\xc3",
        "\xe0\x80\x80",
        "\xed\xa0\x80",
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xe2\x82",
        "a\xf0\x9f\x98",
    };
    const struct level_order good = order;
#define REFUSED(change)                                                                            \
    order = good;                                                                                  \
    change;                                                                                        \
    cr_expect_eq(check(5), LEVEL_ORDER_MALFORMED, #change)
    for (size_t i = 0; i < sizeof(bad_utf8) / sizeof(bad_utf8[0]); i++) {
        REFUSED(strcpy(order.reason, bad_utf8[i]));
    }
    REFUSED(memset(order.reason, 'a', sizeof(order.reason)));
    REFUSED(memset(order.repair, 'a', sizeof(order.repair)));
    REFUSED(order.reason[0] = 0);
    REFUSED(order.repair[0] = 'x');
    REFUSED(order.repaired = 1);
    REFUSED(order.repaired = 2; order.repair[0] = 'x');
    REFUSED(order.from = LEVEL_COUNT);
    REFUSED(order.to = LEVEL_COUNT);
    REFUSED(order.to = order.from);
    REFUSED(order.kind = 0);
    REFUSED(order.kind = LEVEL_ORDER_POLICY);
    REFUSED(order.kind = 4);
    REFUSED(order.policy[0] = 1);
    REFUSED(order.kind = LEVEL_ORDER_WITHDRAW);
    REFUSED(order.sequence = 0);
    REFUSED(order.sequence = LEVEL_ORDER_INTEGER_MAX + 1);
    REFUSED(order.key_set = 0);
    REFUSED(order.issued_s = UINT64_MAX);
    REFUSED(order.expires_s = UINT64_MAX);
    REFUSED(memset(order.nonce, 0, sizeof(order.nonce)));
    order = good;
    cr_expect_eq(check(17), LEVEL_ORDER_MALFORMED);
    cr_expect_eq(level_order_signatures(&order, signatures, 17, &keys), 0);
}

Test(level_order, accepted)
{
    struct level_event event = {0};
    cr_assert_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_ACCEPTED);
    cr_expect_eq(event.kind, LEVEL_EVENT_SET);
    cr_expect_eq(event.actor, LEVEL_ACTOR_ADMINISTRATORS);
    cr_expect_eq(event.target, LEVEL_STANDARD);
    cr_expect_eq(event.signatures, 5);
    cr_expect_not(event.repaired);
    cr_expect_eq(level_order_signatures(&order, signatures, 5, &keys), 5);
    // Four are counted as four: the transition refuses them.
    cr_assert_eq(level_order_check(&order, signatures, 4, &context, &event), LEVEL_ORDER_ACCEPTED);
    const struct level_state state = {.level = LEVEL_SEVERED};
    const struct level_quorum quorum = level_key_set_quorum(&keys);
    cr_expect_eq(level_transition(&state, &event, &quorum).refusal, LEVEL_REFUSAL_SIGNATURES);
}

Test(level_order, withdrawal)
{
    struct level_event event = {0};
    order.kind = LEVEL_ORDER_WITHDRAW;
    order.to = order.from;
    sign_all(3);
    cr_assert_eq(level_order_check(&order, signatures, 3, &context, &event), LEVEL_ORDER_ACCEPTED);
    cr_expect_eq(event.kind, LEVEL_EVENT_WITHDRAW);
}

Test(level_order, policies)
{
    struct level_event event = {0};
    char text[LEVEL_ORDER_TEXT_MAX];
    order.kind = LEVEL_ORDER_POLICY;
    cr_expect_eq(level_order_format(&order, text, sizeof(text)), -1, "from differs from to");
    order.to = order.from;
    cr_expect_eq(level_order_format(&order, text, sizeof(text)), -1, "no document");
    memset(order.policy, 0xab, sizeof(order.policy));
    cr_assert_gt(level_order_format(&order, text, sizeof(text)), 0);
    cr_expect(strstr(text, "\"kind\":\"policy\",\"nonce\":\"11111111111111111111111111111111\","
                           "\"policy\":\"abababababababababababababababababababababababababababab"
                           "abababab\",\"reason\":"),
              "%s", text);
    sign_all(5);
    // Whoever expects an order about levels takes none about documents, and the other way round.
    cr_expect_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_KIND);
    context.policy = true;
    cr_assert_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_ACCEPTED);
    cr_expect_eq(event.signatures, 5);
    cr_expect_neq(event.kind, LEVEL_EVENT_SET, "it changes no level");
    order.policy[31] ^= 1;
    cr_expect_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_SIGNATURE);
    order.policy[31] ^= 1;
    context.issued_from_s = order.issued_s + 1;
    cr_expect_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_TOO_OLD);
    context.issued_from_s = 0;
    order.kind = LEVEL_ORDER_WITHDRAW;
    cr_expect_eq(level_order_format(&order, text, sizeof(text)), -1, "a document is left");
    memset(order.policy, 0, sizeof(order.policy));
    sign_all(5);
    cr_expect_eq(level_order_check(&order, signatures, 5, &context, &event), LEVEL_ORDER_KIND);
    context.policy = false;
}

// Each of these is validly signed: it is the binding that is refused.
Test(level_order, bindings)
{
    const struct level_order good = order;
#define BOUND(change, why)                                                                         \
    order = good;                                                                                  \
    change;                                                                                        \
    sign_all(5);                                                                                   \
    cr_expect_eq(check(5), why, #change ": %u", check(5))
    BOUND((void)0, LEVEL_ORDER_ACCEPTED);
    BOUND(order.deployment[15] ^= 1, LEVEL_ORDER_DEPLOYMENT);
    BOUND(order.vm[0] ^= 1, LEVEL_ORDER_VM);
    BOUND(order.key_set = 2, LEVEL_ORDER_KEY_SET);
    BOUND(order.key_set = 4, LEVEL_ORDER_KEY_SET);
    BOUND(order.sequence = 8, LEVEL_ORDER_SEQUENCE);
    BOUND(order.sequence = 1, LEVEL_ORDER_SEQUENCE);
    BOUND(order.from = LEVEL_PROBATION, LEVEL_ORDER_FROM);
    BOUND(order.expires_s = NOW_S, LEVEL_ORDER_EXPIRED);
    BOUND(order.expires_s = NOW_S + 1, LEVEL_ORDER_ACCEPTED);
    BOUND(order.expires_s = order.issued_s, LEVEL_ORDER_LIFETIME);
    BOUND(order.expires_s = order.issued_s + 24 * 3600, LEVEL_ORDER_ACCEPTED);
    BOUND(order.expires_s = order.issued_s + 24 * 3600 + 1, LEVEL_ORDER_LIFETIME);
    BOUND(order.issued_s = NOW_S + 60, LEVEL_ORDER_ACCEPTED);
    BOUND(order.issued_s = NOW_S + 61, LEVEL_ORDER_NOT_YET);
}

Test(level_order, signatures)
{
    struct level_order_signature spare = signatures[1];
    signatures[1] = signatures[0];
    cr_expect_eq(check(5), LEVEL_ORDER_DUPLICATE_KEY);
    cr_expect_eq(level_order_signatures(&order, signatures, 5, &keys), 4, "counted once");
    // Another signature of the same key is the same key.
    signatures[1] = spare;
    memcpy(signatures[1].key, signatures[0].key, 32);
    cr_expect_eq(check(5), LEVEL_ORDER_DUPLICATE_KEY);
    sign_as(9, &signatures[1]);
    cr_expect_eq(check(5), LEVEL_ORDER_UNKNOWN_KEY);
    cr_expect_eq(level_order_signatures(&order, signatures, 5, &keys), 4);
    signatures[1] = signatures[0];
    memcpy(signatures[1].key, spare.key, 32);
    cr_expect_eq(check(5), LEVEL_ORDER_SIGNATURE);
    cr_expect_eq(level_order_signatures(&order, signatures, 5, &keys), 4);
    signatures[1] = spare;
    cr_expect_eq(check(5), LEVEL_ORDER_ACCEPTED);
    cr_expect_eq(check(0), LEVEL_ORDER_ACCEPTED, "the transition counts");
}

// The scalar plus the group order is the same number in another encoding.
Test(level_order, malleable_signature)
{
    static const uint8_t group[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    unsigned carry = 0;
    for (unsigned i = 0; i < 32; i++) {
        carry += signatures[2].signature[32 + i] + group[i];
        signatures[2].signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    cr_expect_eq(check(5), LEVEL_ORDER_SIGNATURE);
}

// After a loss nobody knows which older orders are spent. Raising is never refused for that.
Test(level_order, issued_before_a_loss)
{
    context.issued_from_s = order.issued_s;
    cr_expect_eq(check(5), LEVEL_ORDER_ACCEPTED);
    context.issued_from_s = order.issued_s + 1;
    cr_expect_eq(check(5), LEVEL_ORDER_TOO_OLD);
    order.to = LEVEL_OFFLINE;
    sign_all(5);
    cr_expect_eq(check(5), LEVEL_ORDER_ACCEPTED);
}

// For a key of small order, a signature of zeros would hold for many texts.
Test(level_order, small_order_key)
{
    static const uint8_t points[][32] = {
        {1},
        {0},
        {0xec, [1 ... 30] = 0xff, 0x7f},
        {0xed, [1 ... 30] = 0xff, 0x7f},
        {0xee, [1 ... 30] = 0xff, 0x7f},
        {1, [31] = 0x80},
    };
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        memcpy(keys.key[0], points[i], 32);
        memcpy(signatures[0].key, points[i], 32);
        memset(signatures[0].signature, 0, 64);
        signatures[0].signature[0] = 1;
        cr_expect_eq(check(5), LEVEL_ORDER_SIGNATURE, "%zu", i);
    }
}

// Signed without the domain in front: a signature of another kind of document.
Test(level_order, domain)
{
    char text[LEVEL_ORDER_TEXT_MAX];
    int length = level_order_format(&order, text, sizeof(text));
    crypto_sign_detached(signatures[0].signature, NULL, (uint8_t *)text, (size_t)length,
                         secrets[0]);
    cr_expect_eq(check(5), LEVEL_ORDER_SIGNATURE);
}

// No change of a single bit anywhere in order, signatures or their number lowers a level.
Test(level_order, every_bit)
{
    const struct level_order good = order;
    const struct level_order_signature good_signatures[5] = {
        signatures[0], signatures[1], signatures[2], signatures[3], signatures[4]};
    size_t order_bits = 8 * sizeof(order);
    // Behind the end of a text nothing is looked at, and nothing is signed.
    for (size_t bit = 0; bit < order_bits + 8 * sizeof(good_signatures); bit++) {
        order = good;
        memcpy(signatures, good_signatures, sizeof(good_signatures));
        uint8_t *at = bit < order_bits ? (uint8_t *)&order : (uint8_t *)signatures;
        size_t place = bit < order_bits ? bit : bit - order_bits;
        bool behind = bit < order_bits &&
                      ((place / 8 > offsetof(struct level_order, reason) + strlen(good.reason) &&
                        place / 8 < offsetof(struct level_order, repair)) ||
                       (place / 8 > offsetof(struct level_order, repair) &&
                        place / 8 < offsetof(struct level_order, policy)));
        at[place / 8] ^= (uint8_t)(1u << place % 8);
        uint32_t refusal = check(5);
        cr_assert_eq(refusal == LEVEL_ORDER_ACCEPTED, behind, "bit %zu: %u", bit, refusal);
    }
}

// Random changes of several bytes, as a fallen supervisor would try them.
Test(level_order, mutations)
{
    const struct level_order good = order;
    struct level_order_signature good_signatures[5];
    char text[2][LEVEL_ORDER_TEXT_MAX];
    memcpy(good_signatures, signatures, sizeof(good_signatures));
    level_order_format(&order, text[0], sizeof(text[0]));
    struct random random = random_start(1);
    for (unsigned round = 0; round < 20000; round++) {
        order = good;
        memcpy(signatures, good_signatures, sizeof(good_signatures));
        for (uint64_t n = random_below(&random, 4) + 1; n; n--) {
            size_t at = random_below(&random, sizeof(order) + sizeof(good_signatures));
            uint8_t *target = at < sizeof(order) ? (uint8_t *)&order + at
                                                 : (uint8_t *)signatures + (at - sizeof(order));
            *target = (uint8_t)random_next(&random);
        }
        bool same = !memcmp(signatures, good_signatures, sizeof(good_signatures)) &&
                    level_order_format(&order, text[1], sizeof(text[1])) > 0 &&
                    !strcmp(text[0], text[1]);
        cr_assert_eq(check(5) == LEVEL_ORDER_ACCEPTED, same, "round %u", round);
    }
}

Test(level_order, key_sets)
{
    static const uint8_t nobody[32];
    const struct level_key_set good = keys;
    cr_expect(level_key_set_is_sound(&keys));
#define UNSOUND(change)                                                                            \
    keys = good;                                                                                   \
    change;                                                                                        \
    cr_expect_not(level_key_set_is_sound(&keys), #change);                                         \
    cr_expect_eq(check(5), LEVEL_ORDER_NO_KEY_SET, #change)
    UNSOUND(keys.version = 0);
    UNSOUND(keys.version = LEVEL_ORDER_INTEGER_MAX + 1);
    UNSOUND(keys.keys = 0);
    UNSOUND(keys.keys = 17);
    UNSOUND(keys.raise = 0);
    UNSOUND(keys.raise = 8);
    UNSOUND(keys.lower = 2);
    UNSOUND(keys.lower = 8);
    UNSOUND(keys.lower = 0);
    UNSOUND(keys.demo = 2);
    UNSOUND(memcpy(keys.key[6], keys.key[0], 32));
    UNSOUND(memset(&keys, 0, sizeof(keys)));
    keys = good;
    cr_expect_eq(level_key_set_find(&keys, keys.key[4]), 4);
    cr_expect_eq(level_key_set_find(&keys, nobody), -1);
}

Test(level_order, words)
{
    for (uint32_t i = LEVEL_ORDER_MALFORMED; i < LEVEL_ORDER_END; i++)
        cr_expect_str_neq(level_order_refusal_text(i), "unknown");
    cr_expect_str_eq(level_order_refusal_text(LEVEL_ORDER_END), "unknown");
    cr_expect_str_eq(level_order_refusal_text(20), "unknown");
    cr_expect_str_eq(level_order_refusal_text(LEVEL_REFUSAL_SIGNATURES),
                     level_refusal_text(LEVEL_REFUSAL_SIGNATURES));
}
