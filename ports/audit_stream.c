// SPDX-License-Identifier: Apache-2.0
// The fabric's end of an audit ring.
#include "audit_stream.h"

#include <unistd.h>

// Looks at the reader's index. Room that was free cannot become less by reading, and what was not
// shown cannot have been read: then the index is nonsense, what is reserved stays reserved, nothing
// more is taken, and nothing counts as read any more.
static void look(struct audit_stream *stream)
{
    uint64_t space = shared_ring_space(&stream->ring);
    uint64_t used = stream->ring.own - stream->ring.cached;
    if (used > stream->ring.size || space < stream->space ||
        used < stream->ring.own - stream->shown)
        stream->broken = true;
    if (stream->broken)
        return;
    stream->space = space;
    stream->taken = stream->ring.cached;
}

bool audit_stream_has_bytes(struct audit_stream *stream, uint64_t bytes)
{
    uint64_t needed = stream->reserved + bytes;
    if (stream->space < needed)
        look(stream);
    return !stream->broken && stream->space >= needed;
}

bool audit_stream_wait_bytes(struct audit_stream *stream, uint64_t bytes)
{
    if (audit_stream_has_bytes(stream, bytes))
        return false;
    return stream->broken || !shared_ring_wait_space(&stream->ring, stream->reserved + bytes);
}

bool audit_stream_reserve(struct audit_stream *stream, unsigned records, uint64_t now_ns)
{
    stream->retry_ns = 0;
    if (!audit_stream_has_bytes(stream, records * sizeof(struct audit_record)) ||
        !token_bucket_take(&stream->budget, records, now_ns, &stream->retry_ns))
        return false;
    stream->reserved += records * sizeof(struct audit_record);
    return true;
}

bool audit_stream_reserve_bytes(struct audit_stream *stream, uint64_t bytes)
{
    if (!audit_stream_has_bytes(stream, bytes))
        return false;
    stream->reserved += bytes;
    return true;
}

void audit_stream_release(struct audit_stream *stream, uint64_t bytes)
{
    stream->reserved -= bytes;
}

void audit_stream_append(struct audit_stream *stream, struct audit_record *record, const void *data,
                         uint32_t length)
{
    static const uint8_t zeros[8];
    uint32_t padding = -length % 8;
    record->size = (uint32_t)audit_record_bytes(length);
    record->sequence = stream->sequence++;
    shared_ring_append(&stream->ring, record, sizeof(*record));
    if (length) {
        shared_ring_append(&stream->ring, data, length);
        shared_ring_append(&stream->ring, zeros, padding);
    }
    stream->space -= record->size;
    stream->reserved -= record->size;
    stream->unpublished = true;
}

uint64_t audit_stream_position(const struct audit_stream *stream)
{
    return stream->ring.own;
}

// Whether the reader's index, as last seen, has passed a position. Differences only: indices may
// wrap.
static bool has_passed(const struct audit_stream *stream, uint64_t position)
{
    uint64_t own = stream->ring.own;
    return !stream->broken && own - stream->taken <= own - position;
}

bool audit_stream_is_taken(struct audit_stream *stream, uint64_t position)
{
    if (!has_passed(stream, position))
        look(stream);
    return has_passed(stream, position);
}

bool audit_stream_wait_taken(struct audit_stream *stream, uint64_t position)
{
    if (audit_stream_is_taken(stream, position))
        return false;
    const struct shared_ring *ring = &stream->ring;
    // That much is free once everything up to the position is read.
    uint64_t needed = ring->size - (ring->own - position);
    return stream->broken || !shared_ring_wait_space(&stream->ring, needed);
}

void audit_stream_notify(struct audit_stream *stream)
{
    if (!stream->unannounced)
        return;
    stream->unannounced = false;
    if (shared_ring_consumer_waits(&stream->ring)) {
        uint64_t one = 1;
        // The counter cannot overflow and the reader cannot be missed: nothing to handle.
        ssize_t ignored = write(stream->wake_fd, &one, sizeof(one));
        (void)ignored;
    }
}

void audit_stream_flush(struct audit_stream *stream)
{
    if (!stream->unpublished)
        return;
    stream->unpublished = false;
    stream->unannounced = true;
    shared_ring_show(&stream->ring);
    stream->shown = stream->ring.own;
    if (stream->space < stream->ring.size / 2)
        look(stream);
    if (stream->space < stream->ring.size / 2)
        audit_stream_notify(stream);
}
