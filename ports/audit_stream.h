// SPDX-License-Identifier: Apache-2.0
// The fabric's end of an audit ring: a record has its room reserved before its event happens.
#ifndef PORTS_AUDIT_STREAM_H
#define PORTS_AUDIT_STREAM_H

#include "audit_record.h"
#include "port_limits.h"
#include "shared_ring.h"

struct audit_stream {
    struct shared_ring ring;
    int wake_fd; // eventfd of the reader, borrowed
    uint64_t sequence;
    uint64_t reserved; // bytes promised to requests in flight
    uint64_t space;    // free bytes when last looked
    uint64_t taken;    // the reader's index when last looked
    uint64_t shown;    // index up to which the reader may read
    bool unpublished;  // appended since the last flush
    bool unannounced;  // flushed since the reader was last woken
    bool broken;       // the reader published an impossible index: nothing is reserved any more
    struct token_bucket budget; // records that the model may cause; rate 0: no limit
    uint64_t retry_ns;          // after a refusal: when the budget has room; 0: the ring is full
    const void *turn;           // port that found the budget used up: the next room is for it
};

// Reserves room for `records` records. Returns false if the reader is behind or the budget is used
// up: take no request then (back-pressure, never loss).
bool audit_stream_reserve(struct audit_stream *stream, unsigned records, uint64_t now_ns);

// Reserves room for `bytes` of records that the budget does not count: pieces of payloads.
bool audit_stream_reserve_bytes(struct audit_stream *stream, uint64_t bytes);

// True if the ring has room for `bytes` more, whatever the budget says.
bool audit_stream_has_bytes(struct audit_stream *stream, uint64_t bytes);

// Before the fabric sleeps with requests that wait for room: asks the reader for a wake-up. Returns
// false if there is room now.
bool audit_stream_wait_bytes(struct audit_stream *stream, uint64_t bytes);

// Gives back room that was reserved and is not needed. The budget stays spent.
void audit_stream_release(struct audit_stream *stream, uint64_t bytes);

// Appends a record and `length` bytes of data behind it, at most AUDIT_PIECE_BYTES, into reserved
// room; fills size and sequence.
void audit_stream_append(struct audit_stream *stream, struct audit_record *record, const void *data,
                         uint32_t length);

// The index behind the last appended record.
uint64_t audit_stream_position(const struct audit_stream *stream);

// True if the reader has taken everything in front of a position. From Probation on it takes only
// what is on the disk; false for ever once its index made no sense.
bool audit_stream_is_taken(struct audit_stream *stream, uint64_t position);

// Before the fabric sleeps with something that waits for that: asks the reader for a wake-up.
// Returns false if it is taken now.
bool audit_stream_wait_taken(struct audit_stream *stream, uint64_t position);

// Makes appended records visible. Wakes the reader only if the ring is half full: a wake-up for
// each request would cost more than the request.
void audit_stream_flush(struct audit_stream *stream);

// Wakes the reader if it sleeps and records came since. Called every millisecond or so, and before
// the fabric itself sleeps.
void audit_stream_notify(struct audit_stream *stream);

#endif
