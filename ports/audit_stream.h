// SPDX-License-Identifier: Apache-2.0
// The fabric's end of the audit ring: a record has its room reserved before its event happens.
#ifndef PORTS_AUDIT_STREAM_H
#define PORTS_AUDIT_STREAM_H

#include "audit_record.h"
#include "shared_ring.h"

struct audit_stream {
    struct shared_ring ring;
    int wake_fd; // eventfd of the reader, borrowed
    uint64_t sequence;
    uint64_t reserved; // bytes promised to requests in flight
    uint64_t space;    // free bytes when last looked
    bool unpublished;
    bool broken; // the reader published an impossible index: nothing is reserved any more
};

// Reserves room for `records` records. Returns false if the reader is behind: take no request
// then (back-pressure, never loss).
bool audit_stream_reserve(struct audit_stream *stream, unsigned records);

// Gives back room that was reserved and is not needed.
void audit_stream_release(struct audit_stream *stream, unsigned records);

// Appends a record into reserved room; fills size and sequence.
void audit_stream_append(struct audit_stream *stream, struct audit_record *record);

// Publishes appended records and wakes the reader if it sleeps.
void audit_stream_flush(struct audit_stream *stream);

#endif
