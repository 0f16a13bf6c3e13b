// SPDX-License-Identifier: Apache-2.0
// Digests of payloads: those of the whole, whatever the pieces; nonsense is refused.
#include <criterion/criterion.h>
#include <string.h>

#include "payload_digest.h"
#include "support.h"

static struct payload_digests digests;
static uint8_t payload[3 * AUDIT_PIECE_BYTES];

static struct audit_record piece(uint64_t request, uint32_t offset, uint32_t length, uint32_t total)
{
    return (struct audit_record){
        .type = AUDIT_PAYLOAD,
        .size = (uint32_t)audit_record_bytes(length),
        .port = 3,
        .sequence = 100 + offset,
        .request = request,
        .cookie = 9,
        .operation = AUDIT_PIECE_DIGEST,
        .argument = offset,
        .length = length,
        .status = total,
        .source = AUDIT_SOURCE_VMM,
    };
}

static enum payload_digest_result add(const struct audit_record *record,
                                      struct audit_record *digest, uint8_t hash[32])
{
    return payload_digest_add(&digests, record, payload + record->argument % sizeof(payload),
                              digest, hash);
}

Test(payload_digest, whole_payloads_in_pieces)
{
    static const uint32_t totals[] = {1, 63, 64, 4095, 4096, 4097, 8192, 3 * AUDIT_PIECE_BYTES};
    struct audit_record digest;
    uint8_t hash[32], expected[32];
    for (unsigned i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7);
    for (unsigned t = 0; t < COUNT(totals); t++) {
        enum payload_digest_result result = PAYLOAD_DIGEST_MORE;
        for (uint32_t at = 0; at < totals[t]; at += AUDIT_PIECE_BYTES) {
            uint32_t part = totals[t] - at < AUDIT_PIECE_BYTES ? totals[t] - at : AUDIT_PIECE_BYTES;
            struct audit_record record = piece(t + 1, at, part, totals[t]);
            cr_expect(payload_digest_wants(&record));
            cr_assert_eq(result, PAYLOAD_DIGEST_MORE);
            result = add(&record, &digest, hash);
        }
        cr_assert_eq(result, PAYLOAD_DIGEST_DONE);
        crypto_hash_sha256(expected, payload, totals[t]);
        cr_expect_eq(memcmp(hash, expected, sizeof(hash)), 0);
        cr_expect_eq(digest.type, AUDIT_DIGEST);
        cr_expect_eq(digest.size, 112u);
        cr_expect_eq(digest.length, totals[t]);
        cr_expect_eq(digest.request, t + 1);
        cr_expect_eq(digest.cookie, 9u);
        cr_expect_eq(digest.port, 3u);
    }
}

// SHA-256 of "abc", FIPS 180-2.
Test(payload_digest, known_answer)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct audit_record digest, record = piece(1, 0, 3, 3);
    uint8_t hash[32];
    memcpy(payload, "abc", 3);
    cr_expect_eq(add(&record, &digest, hash), PAYLOAD_DIGEST_DONE);
    cr_expect_eq(memcmp(hash, abc, sizeof(abc)), 0);
}

// Request and reply of one number, and those of other ports and writers, are different payloads.
Test(payload_digest, several_at_once)
{
    struct audit_record digest, records[4];
    uint8_t hash[32], expected[32];
    for (unsigned i = 0; i < 4; i++)
        records[i] = piece(1, 0, 4096, 4097);
    records[1].detail = AUDIT_DIRECTION_REPLY;
    records[2].port = 4;
    records[3].source = AUDIT_SOURCE_BACKEND;
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(add(&records[i], &digest, hash), PAYLOAD_DIGEST_MORE);
    crypto_hash_sha256(expected, payload, 4097);
    for (unsigned i = 0; i < 4; i++) {
        records[i].argument = 4096;
        records[i].length = 1;
        cr_expect_eq(add(&records[i], &digest, hash), PAYLOAD_DIGEST_DONE);
        cr_expect_eq(digest.detail, records[i].detail);
        cr_expect_eq(memcmp(hash, expected, sizeof(hash)), 0);
    }
}

Test(payload_digest, refuses_nonsense)
{
    struct audit_record digest;
    uint8_t hash[32];
    const struct audit_record bad[] = {
        piece(1, 4096, 1, 4097), // not the first
        piece(1, 0, 0, 10),      // empty
        piece(1, 0, 11, 10),     // longer than the whole
        piece(1, 0, 4097, 5000), // longer than a piece
        piece(1, 0, 0, 0),
    };
    for (unsigned i = 0; i < COUNT(bad); i++)
        cr_expect_eq(add(&bad[i], &digest, hash), PAYLOAD_DIGEST_REFUSED, "%u", i);
    struct audit_record first = piece(2, 0, 4096, 9000), other = piece(2, 4096, 4096, 9001);
    cr_expect_eq(add(&first, &digest, hash), PAYLOAD_DIGEST_MORE);
    cr_expect_eq(add(&other, &digest, hash), PAYLOAD_DIGEST_REFUSED, "another length");
    // Refused pieces keep no place.
    for (unsigned i = 0; i < PAYLOAD_DIGEST_MAX; i++) {
        struct audit_record record = piece(10 + i, 0, 1, 2);
        cr_expect_eq(add(&record, &digest, hash), PAYLOAD_DIGEST_MORE);
    }
    struct audit_record record = piece(99, 0, 1, 2);
    cr_expect_eq(add(&record, &digest, hash), PAYLOAD_DIGEST_REFUSED, "too many at once");
}
