// SPDX-License-Identifier: Apache-2.0
// Digests of payloads, piece by piece.
#include "payload_digest.h"

static bool is_about(const struct payload_digest_entry *entry, const struct audit_record *record)
{
    return entry->open && entry->source == record->source && entry->port == record->port &&
           entry->direction == record->detail && entry->request == record->request;
}

static struct payload_digest_entry *find(struct payload_digests *digests,
                                         const struct audit_record *record)
{
    for (size_t i = 0; i < PAYLOAD_DIGEST_MAX; i++) {
        if (is_about(&digests->entries[i], record))
            return &digests->entries[i];
    }
    return NULL;
}

static struct payload_digest_entry *begin(struct payload_digests *digests,
                                          const struct audit_record *record)
{
    for (size_t i = 0; i < PAYLOAD_DIGEST_MAX; i++) {
        struct payload_digest_entry *entry = &digests->entries[i];
        if (entry->open)
            continue;
        *entry = (struct payload_digest_entry){
            .open = true,
            .source = record->source,
            .port = record->port,
            .direction = record->detail,
            .request = record->request,
            .total = record->status,
        };
        crypto_hash_sha256_init(&entry->state);
        return entry;
    }
    return NULL;
}

static bool fits(const struct payload_digest_entry *entry, const struct audit_record *record)
{
    return record->length && record->length <= AUDIT_PIECE_BYTES &&
           record->detail <= AUDIT_DIRECTION_REPLY && record->argument == entry->done &&
           record->status == entry->total && record->length <= entry->total - entry->done;
}

enum payload_digest_result payload_digest_add(struct payload_digests *digests,
                                              const struct audit_record *record, const void *data,
                                              struct audit_record *digest,
                                              uint8_t hash[crypto_hash_sha256_BYTES])
{
    struct payload_digest_entry *entry = find(digests, record);
    if (!entry)
        entry = begin(digests, record);
    if (!entry)
        return PAYLOAD_DIGEST_REFUSED;
    if (!fits(entry, record)) {
        entry->open = false;
        return PAYLOAD_DIGEST_REFUSED;
    }
    crypto_hash_sha256_update(&entry->state, data, record->length);
    entry->done += record->length;
    if (entry->done < entry->total)
        return PAYLOAD_DIGEST_MORE;
    crypto_hash_sha256_final(&entry->state, hash);
    entry->open = false;
    *digest = *record;
    digest->type = AUDIT_DIGEST;
    digest->size = sizeof(*digest) + crypto_hash_sha256_BYTES;
    digest->argument = 0;
    digest->length = entry->total;
    return PAYLOAD_DIGEST_DONE;
}
