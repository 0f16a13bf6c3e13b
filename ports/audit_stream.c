// SPDX-License-Identifier: Apache-2.0
// The fabric's end of an audit ring.
#include "audit_stream.h"

#include <unistd.h>

// Looks at the reader's index. Room that was free cannot become less by reading: then the index is
// nonsense, what is reserved stays reserved, and nothing more is taken.
static void look(struct audit_stream *stream)
{
    uint64_t space = shared_ring_space(&stream->ring);
    if (space < stream->space)
        stream->broken = true;
    else
        stream->space = space;
}

bool audit_stream_has_room(struct audit_stream *stream, unsigned records)
{
    uint64_t needed = stream->reserved + records * sizeof(struct audit_record);
    if (stream->space < needed)
        look(stream);
    return !stream->broken && stream->space >= needed;
}

bool audit_stream_wait_room(struct audit_stream *stream, unsigned records)
{
    uint64_t needed = stream->reserved + records * sizeof(struct audit_record);
    if (audit_stream_has_room(stream, records))
        return false;
    return stream->broken || !shared_ring_wait_space(&stream->ring, needed);
}

bool audit_stream_reserve(struct audit_stream *stream, unsigned records, uint64_t now_ns)
{
    stream->retry_ns = 0;
    if (!audit_stream_has_room(stream, records) ||
        !token_bucket_take(&stream->budget, records, now_ns, &stream->retry_ns))
        return false;
    stream->reserved += records * sizeof(struct audit_record);
    return true;
}

void audit_stream_release(struct audit_stream *stream, unsigned records)
{
    stream->reserved -= records * sizeof(struct audit_record);
}

void audit_stream_append(struct audit_stream *stream, struct audit_record *record)
{
    record->size = sizeof(*record);
    record->sequence = stream->sequence++;
    shared_ring_append(&stream->ring, record, sizeof(*record));
    stream->space -= sizeof(*record);
    stream->reserved -= sizeof(*record);
    stream->unpublished = true;
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
    if (stream->space < stream->ring.size / 2)
        look(stream);
    if (stream->space < stream->ring.size / 2)
        audit_stream_notify(stream);
}
