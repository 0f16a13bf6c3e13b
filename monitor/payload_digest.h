// SPDX-License-Identifier: Apache-2.0
// Digests of payloads: what the log gets in the place of pieces that are marked "digest only".
#ifndef MONITOR_PAYLOAD_DIGEST_H
#define MONITOR_PAYLOAD_DIGEST_H

#include <sodium/crypto_hash_sha256.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit_record.h"

// Payloads that can be half digested at once. The fabric puts all pieces of a payload behind each
// other: of an honest writer there is never more than one in its ring.
#define PAYLOAD_DIGEST_MAX 8u

struct payload_digest_entry {
    bool open;
    uint8_t source;
    uint16_t port;
    uint32_t direction;
    uint64_t request;
    uint32_t total;
    uint32_t done;
    crypto_hash_sha256_state state;
};

// Zero is a valid start.
struct payload_digests {
    struct payload_digest_entry entries[PAYLOAD_DIGEST_MAX];
};

enum payload_digest_result {
    PAYLOAD_DIGEST_MORE,    // taken; other pieces follow
    PAYLOAD_DIGEST_DONE,    // taken, and the last one
    PAYLOAD_DIGEST_REFUSED, // out of order, of another length, or one payload too many at once
};

// True if the log gets a digest in the place of this record.
static inline bool payload_digest_wants(const struct audit_record *record)
{
    return record->type == AUDIT_PAYLOAD && record->operation == AUDIT_PIECE_DIGEST;
}

// Takes the next piece: an AUDIT_PAYLOAD record with its `source` stamped, and the record->length
// bytes behind it. After PAYLOAD_DIGEST_DONE *digest is the AUDIT_DIGEST record for the log (its
// sequence and times are those of the last piece; `length` is that of the payload) and `hash` the
// SHA-256 that belongs behind it. A piece that is refused closes its payload.
enum payload_digest_result payload_digest_add(struct payload_digests *digests,
                                              const struct audit_record *record, const void *data,
                                              struct audit_record *digest,
                                              uint8_t hash[crypto_hash_sha256_BYTES]);

#endif
