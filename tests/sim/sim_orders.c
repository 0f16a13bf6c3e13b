// SPDX-License-Identifier: Apache-2.0
// Administrators who sign: keys that the seed decides, orders that are checked by the code that the
// supervisor and the VMM use, and every way to get one wrong.
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "failsafe_sim.h"

#define KEYS 7

const char *const flaw_names[FLAW_COUNT] = {
    [FLAW_NONE] = "flawless",
    [FLAW_WRONG_VM] = "of another VM",
    [FLAW_DEPLOYMENT] = "of another deployment",
    [FLAW_EXPIRED] = "expired",
    [FLAW_REPLAYED] = "replayed",
    [FLAW_DUPLICATE_KEY] = "signed twice by one key",
    [FLAW_SIGNATURE] = "changed after it was signed",
};

static const uint32_t refusal_of[FLAW_COUNT] = {
    [FLAW_WRONG_VM] = LEVEL_ORDER_VM,
    [FLAW_DEPLOYMENT] = LEVEL_ORDER_DEPLOYMENT,
    [FLAW_EXPIRED] = LEVEL_ORDER_EXPIRED,
    [FLAW_REPLAYED] = LEVEL_ORDER_SEQUENCE,
    [FLAW_DUPLICATE_KEY] = LEVEL_ORDER_DUPLICATE_KEY,
    [FLAW_SIGNATURE] = LEVEL_ORDER_SIGNATURE,
};

static void fill(uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)sim_random(256);
}

void orders_begin(void)
{
    struct sim_orders *orders = &w.orders;
    orders->keys = (struct level_key_set){.version = 1, .keys = KEYS, .raise = 3, .lower = 5};
    fill(orders->keys.deployment, sizeof(orders->keys.deployment));
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t seed[crypto_sign_SEEDBYTES];
        fill(seed, sizeof(seed));
        crypto_sign_seed_keypair(orders->keys.key[i], orders->secrets[i], seed);
    }
}

uint64_t orders_now_s(void)
{
    return clock_wall_ns(&sim_clock) / NS_PER_S;
}

static void sign(struct sim_order *signed_order, unsigned index, unsigned key)
{
    char message[LEVEL_ORDER_MESSAGE_MAX];
    int length = level_order_message(&signed_order->order, message);
    struct level_order_signature *signature = &signed_order->signatures[index];
    if (length < 0) {
        sim_fail("an order has no message");
        return;
    }
    memcpy(signature->key, w.orders.keys.key[key], sizeof(signature->key));
    crypto_sign_detached(signature->signature, NULL, (const uint8_t *)message, (size_t)length,
                         w.orders.secrets[key]);
}

// Keys in a random order, so that any of them signs.
static void sign_all(struct sim_order *signed_order, unsigned signatures)
{
    unsigned first = (unsigned)sim_random(KEYS);
    signed_order->count = signatures;
    for (unsigned i = 0; i < signatures; i++)
        sign(signed_order, i, (first + i) % KEYS);
}

static void spoil(struct sim_order *signed_order)
{
    struct level_order *order = &signed_order->order;
    if (signed_order->flaw == FLAW_WRONG_VM) {
        order->vm[sim_random(16)] ^= 1;
    } else if (signed_order->flaw == FLAW_DEPLOYMENT) {
        order->deployment[sim_random(16)] ^= 1;
    } else if (signed_order->flaw == FLAW_EXPIRED) {
        order->issued_s -= 2;
        order->expires_s = order->issued_s + 1;
    }
}

static void spoil_signatures(struct sim_order *signed_order)
{
    unsigned last = signed_order->count - 1;
    if (signed_order->flaw == FLAW_DUPLICATE_KEY)
        signed_order->signatures[last] = signed_order->signatures[0];
    else if (signed_order->flaw == FLAW_SIGNATURE)
        signed_order->signatures[sim_random(signed_order->count)].signature[sim_random(32)] ^= 1;
}

static bool replay(struct sim_order *signed_order)
{
    unsigned known = w.orders.spent_count < SPENT_ORDERS ? w.orders.spent_count : SPENT_ORDERS;
    if (!known)
        return false;
    *signed_order = w.orders.spent[sim_random(known)];
    signed_order->flaw = FLAW_REPLAYED;
    return true;
}

void orders_make(struct sim_order *signed_order, enum level from, enum level to,
                 unsigned signatures, bool repaired, uint64_t last_sequence)
{
    enum sim_flaw flaw = sim_chance(500) ? FLAW_NONE : (enum sim_flaw)sim_random(FLAW_COUNT);
    if (flaw == FLAW_REPLAYED && replay(signed_order))
        return;
    if (flaw == FLAW_REPLAYED || signatures < 2)
        flaw = FLAW_NONE;
    *signed_order = (struct sim_order){
        .flaw = flaw,
        .order =
            {
                .sequence = last_sequence + 1 + sim_random(3),
                .issued_s = orders_now_s(),
                .expires_s = orders_now_s() + 3600,
                .key_set = 1,
                .kind = LEVEL_ORDER_SET,
                .from = from,
                .to = to,
                .repaired = repaired && from == LEVEL_DECAPITATION,
                .reason = "simulated",
            },
    };
    struct level_order *order = &signed_order->order;
    if (order->repaired)
        snprintf(order->repair, sizeof(order->repair), "the cut was repaired");
    memcpy(order->deployment, w.orders.keys.deployment, sizeof(order->deployment));
    memcpy(order->vm, w.uuid.bytes, sizeof(order->vm));
    fill(order->nonce, sizeof(order->nonce));
    spoil(signed_order);
    sign_all(signed_order, signatures);
    spoil_signatures(signed_order);
}

uint32_t orders_check(const struct sim_order *signed_order, enum level level,
                      uint64_t last_sequence, struct level_event *event)
{
    const struct level_order_context context = {
        .key_set = &w.orders.keys,
        .vm = w.uuid.bytes,
        .level = level,
        .last_sequence = last_sequence,
        .now_s = orders_now_s(),
    };
    enum sim_flaw flaw = signed_order->flaw;
    uint32_t refusal = level_order_check(&signed_order->order, signed_order->signatures,
                                         signed_order->count, &context, event);
    if (w.sabotage == SABOTAGE_ORDER_UNCHECKED && refusal == LEVEL_ORDER_EXPIRED) {
        refusal = LEVEL_ORDER_ACCEPTED;
        *event = (struct level_event){
            .kind = LEVEL_EVENT_SET,
            .actor = LEVEL_ACTOR_ADMINISTRATORS,
            .target = (enum level)signed_order->order.to,
            .signatures = signed_order->count,
        };
    }
    w.orders.seen[flaw]++;
    sim_trace("an order to %s, %s, with %u signatures: %u", level_name(signed_order->order.to),
              flaw_names[flaw], signed_order->count, refusal);
    // A replay may have other faults by now: another VM, an expiry in the past.
    if (flaw == FLAW_REPLAYED && !refusal)
        sim_fail("an order was accepted twice");
    else if (flaw != FLAW_REPLAYED && refusal != refusal_of[flaw])
        sim_fail("an order that is %s: %u", flaw_names[flaw], refusal);
    return refusal;
}

void orders_spent(const struct sim_order *signed_order)
{
    w.orders.spent[w.orders.spent_count++ % SPENT_ORDERS] = *signed_order;
    w.orders.spent_sequence = signed_order->order.sequence;
}
