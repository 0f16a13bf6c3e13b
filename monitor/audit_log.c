// SPDX-License-Identifier: Apache-2.0
// The audit log file.
#include "audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "level.h"

static int write_all(int fd, const void *data, size_t length, struct error *err)
{
    const uint8_t *at = data;
    while (length) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_ISOLATED, errno, "audit log");
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static int check_or_write_header(int fd, const char *path, struct error *err)
{
    char header[AUDIT_FILE_HEADER_BYTES] = AUDIT_FORMAT "\n";
    char found[AUDIT_FILE_HEADER_BYTES];
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "audit log %s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "audit log %s is not a regular file", path);
    if (status.st_size == 0)
        return write_all(fd, header, sizeof(header), err);
    if (pread(fd, found, sizeof(found), 0) != (ssize_t)sizeof(found) ||
        memcmp(found, header, sizeof(header)) || status.st_size % 8)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s exists and is not a whole audit log of format %s: move it away", path,
                         AUDIT_FORMAT);
    return 0;
}

int audit_log_open(struct audit_log *log, const char *path, const struct clock *clock,
                   struct error *err)
{
    cleanup_fd int fd = open(
        path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, errno == EISDIR ? EXIT_STATUS_BAD_FILE : EXIT_STATUS_RESOURCES, errno,
                         "audit log %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "audit log %s is in use by another VM",
                         path);
    if (check_or_write_header(fd, path, err) < 0)
        return -1;
    log->clock = clock;
    log->sequence = 0;
    log->used = 0;
    log->whole = lseek(fd, 0, SEEK_END);
    log->fd = steal_fd(&fd);
    return 0;
}

int audit_log_flush(struct audit_log *log, struct error *err)
{
    size_t bytes = log->used * sizeof(log->batch[0]);
    if (!bytes)
        return 0;
    if (write_all(log->fd, log->batch, bytes, err) < 0) {
        // No torn record: the log ends where it was whole, and later runs can go on with it.
        if (ftruncate(log->fd, log->whole) < 0)
            return error_wrap(err, "and it cannot be cut back to its last record");
        return -1;
    }
    log->whole += (off_t)bytes;
    log->used = 0;
    return 0;
}

static int add(struct audit_log *log, const struct audit_record *record, uint64_t wall_ns,
               struct error *err)
{
    if (log->used == AUDIT_LOG_BATCH && audit_log_flush(log, err) < 0)
        return -1;
    struct audit_record *copy = &log->batch[log->used++];
    *copy = *record;
    copy->size = sizeof(*copy);
    copy->sequence = log->sequence++;
    copy->wall_ns = wall_ns;
    return 0;
}

int audit_log_append(struct audit_log *log, const struct audit_record *record, struct error *err)
{
    struct audit_record stamped = *record;
    stamped.now_ns = clock_now_ns(log->clock);
    return add(log, &stamped, clock_wall_ns(log->clock), err);
}

// The supervisor writes start, level, violation and end itself: a VMM that claims one is lying.
static bool is_of_fabric(const struct audit_ring *ring, const struct audit_record *record)
{
    bool known = record->type == AUDIT_REQUEST || record->type == AUDIT_COMPLETION ||
                 record->type == AUDIT_ANOMALY || record->type == AUDIT_PAYLOAD;
    return known && record->port >= ring->first_port &&
           record->port - ring->first_port < ring->ports &&
           record->decision <= AUDIT_DECISION_GATE && record->level < LEVEL_COUNT;
}

static void account(struct audit_ring *ring, const struct audit_record *record)
{
    if (record->decision != AUDIT_DECISION_ALLOW)
        return;
    if (record->type == AUDIT_REQUEST) {
        ring->requests++;
        ring->bytes += record->length;
    } else if (record->type == AUDIT_COMPLETION) {
        ring->reply_bytes += record->length;
    }
}

// Writes a piece of a payload, with its record, behind what the batch has.
static int add_piece(struct audit_log *log, const struct audit_ring *ring, uint64_t offset,
                     struct audit_record *record, uint64_t wall_ns, struct error *err)
{
    uint8_t piece[sizeof(*record) + AUDIT_PIECE_BYTES];
    if (audit_log_flush(log, err) < 0)
        return -1;
    record->sequence = log->sequence++;
    record->wall_ns = wall_ns;
    memcpy(piece, record, sizeof(*record));
    shared_ring_peek(&ring->ring, offset + sizeof(*record), piece + sizeof(*record),
                     record->size - sizeof(*record));
    if (write_all(log->fd, piece, record->size, err) < 0) {
        if (ftruncate(log->fd, log->whole) < 0)
            return error_wrap(err, "and it cannot be cut back to its last record");
        return -1;
    }
    log->whole += (off_t)record->size;
    return 0;
}

// True if a record says a size that its type can have, and is in the ring as a whole.
static bool has_sound_size(const struct audit_record *record, uint64_t available)
{
    if (record->type != AUDIT_PAYLOAD)
        return record->size == sizeof(*record);
    return record->length <= AUDIT_PIECE_BYTES &&
           record->size == audit_record_bytes(record->length) && record->size <= available;
}

int audit_log_take(struct audit_log *log, struct audit_ring *ring, bool *wake, struct error *err)
{
    const uint64_t least = sizeof(struct audit_record);
    const char *writer = audit_source_name(ring->source);
    uint64_t available = shared_ring_available(&ring->ring);
    // Behind the head: whoever showed these records at Probation had seen that level before.
    bool durable = ring->levels[0] && ring->levels[1] &&
                   level_effective(ring->levels[0], ring->levels[1]) >= LEVEL_PROBATION;
    if (available == UINT64_MAX || available % 8)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "audit ring of the %s: impossible index",
                         writer);
    uint64_t wall_ns = available ? clock_wall_ns(log->clock) : 0;
    for (uint64_t offset = 0; offset < available;) {
        struct audit_record record = {0};
        if (available - offset >= least)
            shared_ring_peek(&ring->ring, offset, &record, sizeof(record));
        if (!has_sound_size(&record, available - offset) || record.sequence != ring->next ||
            !is_of_fabric(ring, &record))
            return error_set(err, EXIT_STATUS_ISOLATED, 0,
                             "audit ring of the %s: record %llu is not one that the fabric writes",
                             writer, (unsigned long long)ring->next);
        ring->next++;
        record.source = (uint8_t)ring->source;
        account(ring, &record);
        if ((record.type == AUDIT_PAYLOAD ? add_piece(log, ring, offset, &record, wall_ns, err)
                                          : add(log, &record, wall_ns, err)) < 0)
            return -1;
        offset += record.size;
    }
    // Consumed only once they are in the file, at Probation on the disk.
    if (audit_log_flush(log, err) < 0)
        return -1;
    if (available && durable && fdatasync(log->fd) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "audit log");
    if (available && shared_ring_consume(&ring->ring, available))
        *wake = true;
    return 0;
}

void audit_log_close(struct audit_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}
