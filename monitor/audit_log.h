// SPDX-License-Identifier: Apache-2.0
// The audit log file: stamps records and appends them, whole, in batches.
#ifndef MONITOR_AUDIT_LOG_H
#define MONITOR_AUDIT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit_record.h"
#include "clock.h"
#include "error.h"
#include "level.h"
#include "shared_ring.h"

#define AUDIT_LOG_BATCH 512u

// A ring that somebody else writes.
struct audit_ring {
    struct shared_ring ring;
    enum audit_source source;
    uint64_t next;       // sequence that its next record must have
    uint32_t first_port; // records may be about ports from this one ...
    uint32_t ports;      // ... this many
    // Pages of the level; from Probation on nothing is consumed before it is on the disk. NULL: by
    // the level of nobody.
    const struct level_page *levels[2];
    // What its records say was allowed, in all.
    uint64_t requests;
    uint64_t bytes;
    uint64_t reply_bytes;
};

struct audit_log {
    int fd;
    const struct clock *clock;
    uint64_t sequence; // of the next record in this run
    off_t whole;       // bytes of the file that are whole records
    size_t used;       // records in `batch`
    struct audit_record batch[AUDIT_LOG_BATCH];
};

// Opens or creates a log for appending, under an exclusive lock: one writer per file. A file that
// is not a log of this format is refused.
int audit_log_open(struct audit_log *log, const char *path, const struct clock *clock,
                   struct error *err);

// Appends a record of the supervisor itself.
int audit_log_append(struct audit_log *log, const struct audit_record *record, struct error *err);

// Moves what is in a ring to the log. *wake is set if its writer waits for room. A ring whose
// contents are not records in sequence is an error: the log would lie.
int audit_log_take(struct audit_log *log, struct audit_ring *ring, bool *wake, struct error *err);

// Writes the batch to the file.
int audit_log_flush(struct audit_log *log, struct error *err);

void audit_log_close(struct audit_log *log);

#endif
