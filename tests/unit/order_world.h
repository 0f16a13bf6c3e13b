// SPDX-License-Identifier: Apache-2.0
// Seven administrators, a key set and an order that five of them signed.
#ifndef TESTS_UNIT_ORDER_WORLD_H
#define TESTS_UNIT_ORDER_WORLD_H

#include <sodium.h>
#include <string.h>

#include "level_order.h"

#define NOW_S 1800000000ull

static uint8_t secrets[16][64];
static struct level_key_set keys;
static struct level_order order;
static struct level_order_signature signatures[16];
static struct level_order_context context;

// The key pair of administrator `index`, the same in every run.
static inline void make_key(unsigned index, uint8_t public[32], uint8_t secret[64])
{
    uint8_t seed[32];
    memset(seed, (int)index + 1, sizeof(seed));
    crypto_sign_seed_keypair(public, secret, seed);
}

static inline void sign_as(unsigned index, struct level_order_signature *signature)
{
    char message[LEVEL_ORDER_MESSAGE_MAX];
    int length = level_order_message(&order, message);
    uint8_t public[32];
    make_key(index, public, secrets[index]);
    memcpy(signature->key, public, 32);
    crypto_sign_detached(signature->signature, NULL, (uint8_t *)message, (size_t)length,
                         secrets[index]);
}

// Signatures 0 to `count` - 1, of as many administrators.
static inline void sign_all(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        sign_as(i, &signatures[i]);
}

static inline void make_world(void)
{
    keys = (struct level_key_set){.version = 3, .keys = 7, .raise = 3, .lower = 5};
    memset(keys.deployment, 0xd0, 16);
    for (unsigned i = 0; i < 7; i++)
        make_key(i, keys.key[i], secrets[i]);
    order = (struct level_order){
        .sequence = 9,
        .issued_s = NOW_S - 10,
        .expires_s = NOW_S + 900,
        .key_set = 3,
        .kind = LEVEL_ORDER_SET,
        .from = LEVEL_SEVERED,
        .to = LEVEL_STANDARD,
        .reason = "the alarm was false",
    };
    memset(order.deployment, 0xd0, 16);
    memset(order.vm, 0x5a, 16);
    memset(order.nonce, 0x11, 16);
    context = (struct level_order_context){
        .key_set = &keys,
        .vm = order.vm,
        .level = LEVEL_SEVERED,
        .last_sequence = 8,
        .now_s = NOW_S,
    };
    sign_all(5);
}

#endif
