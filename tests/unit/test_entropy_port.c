// SPDX-License-Identifier: Apache-2.0
// The entropy backend: a known stream, in any pieces, of which nothing stays behind.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "entropy_port.h"
#include "hex.h"
#include "support.h"

static struct entropy_port port;

static struct port_request reading(uint8_t *target, uint32_t bytes)
{
    return (struct port_request){.operation = ENTROPY_READ,
                                 .argument = bytes,
                                 .reply = target,
                                 .reply_capacity = ENTROPY_MAX_BYTES};
}

static void take(uint8_t *target, uint32_t bytes)
{
    struct port_request request = reading(target, bytes);
    cr_assert_eq(entropy_backend.submit(&port, &request), PORT_DONE);
    cr_assert_eq(request.status, 0u);
    cr_assert_eq(request.reply_length, bytes);
}

Test(entropy_port, offers_what_the_abi_says)
{
    cr_assert_eq(entropy_backend.operation_count, 1u);
    cr_expect_eq(entropy_backend.kind, PORT_KIND_ENTROPY);
    cr_expect_eq(entropy_backend.operations[0].number, (uint32_t)ENTROPY_READ);
    cr_expect_eq(entropy_backend.operations[0].max_request_bytes, 0u);
    cr_expect_eq(entropy_backend.operations[0].max_reply_bytes, ENTROPY_MAX_BYTES);
}

// Key and nonce of zeros: the first test vector of draft-agl-tls-chacha20poly1305-04, section 7.
// Its first half becomes the next key, the model gets what follows.
Test(entropy_port, known_vector)
{
    static const char stream[] = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                                 "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586";
    static const uint8_t zeros[VMM_PORT_SEED_BYTES];
    uint8_t got[32], expected[64];
    cr_assert(hex_parse(stream, expected, sizeof(expected)));
    entropy_port_init(&port, zeros);
    take(got, 32);
    cr_expect_eq(memcmp(port.key, expected, 32), 0, "the next key");
    cr_expect_eq(memcmp(got, expected + 32, 32), 0, "the bytes behind it");
}

// However requests cut it, it is the same stream.
Test(entropy_port, pieces)
{
    static uint8_t whole[100000], parts[sizeof(whole)];
    uint8_t seed[VMM_PORT_SEED_BYTES];
    srand(3);
    for (unsigned i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)rand();
    entropy_port_init(&port, seed);
    for (size_t at = 0; at < sizeof(whole); at += 4000)
        take(whole + at, 4000);
    for (unsigned round = 0; round < 50; round++) {
        entropy_port_init(&port, seed);
        for (size_t at = 0; at < sizeof(parts);) {
            size_t left = sizeof(parts) - at;
            uint32_t part = 1 + (uint32_t)rand() % (round % 2 ? 40 : ENTROPY_MAX_BYTES);
            take(parts + at, part < left ? part : (uint32_t)left);
            at += part < left ? part : left;
        }
        cr_assert_eq(memcmp(whole, parts, sizeof(whole)), 0, "round %u", round);
    }
}

// Whoever reads the state learns nothing of what was given out: it is not there, and the key cannot
// make it.
Test(entropy_port, nothing_stays_behind)
{
    static uint8_t got[ENTROPY_MAX_BYTES];
    uint8_t seed[VMM_PORT_SEED_BYTES];
    memset(seed, 0x5a, sizeof(seed));
    entropy_port_init(&port, seed);
    for (uint32_t bytes = 1; bytes <= ENTROPY_MAX_BYTES; bytes = bytes * 3 + 1) {
        take(got, bytes);
        const uint8_t *state = (const uint8_t *)&port;
        cr_expect(!memmem(state, sizeof(port), seed, sizeof(seed)), "the seed is still there");
        for (uint32_t at = 0; at + 8 <= bytes; at++)
            cr_assert(!memmem(state, sizeof(port), got + at, 8), "a byte given out is there");
        for (uint32_t i = 0; i < sizeof(port.pool) - port.left; i++)
            cr_assert_eq(port.pool[i], 0);
        static uint8_t later[ENTROPY_MAX_BYTES];
        struct entropy_port thief = port;
        struct port_request request = reading(later, ENTROPY_MAX_BYTES);
        entropy_backend.submit(&thief, &request);
        cr_expect(bytes < 16 || !memmem(later, sizeof(later), got, 16));
    }
}

Test(entropy_port, requests_that_make_no_sense)
{
    static uint8_t target[ENTROPY_MAX_BYTES];
    static const uint8_t seed[VMM_PORT_SEED_BYTES];
    entropy_port_init(&port, seed);
    static const struct {
        uint32_t operation, bytes, capacity, status;
    } cases[] = {
        {ENTROPY_READ, 0, ENTROPY_MAX_BYTES, PORT_STATUS_INVALID},
        {ENTROPY_READ, ENTROPY_MAX_BYTES + 1, ENTROPY_MAX_BYTES + 1, PORT_STATUS_INVALID},
        {ENTROPY_READ, UINT32_MAX, UINT32_MAX, PORT_STATUS_INVALID},
        {ENTROPY_READ, 10, 9, PORT_STATUS_TOO_LARGE},
        {2, 10, 10, PORT_STATUS_INVALID},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct port_request request = reading(target, cases[i].bytes);
        request.operation = cases[i].operation;
        request.reply_capacity = cases[i].capacity;
        memset(target, 0xee, sizeof(target));
        cr_expect_eq(entropy_backend.submit(&port, &request), PORT_DONE);
        cr_expect_eq(request.status, cases[i].status, "case %zu", i);
        cr_expect_eq(request.reply_length, 0u);
        for (unsigned k = 0; k < sizeof(target); k++)
            cr_assert_eq(target[k], 0xee);
    }
}
