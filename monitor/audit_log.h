// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of the audit log: checks and stamps records and hands them to the recorder,
// the process that writes the file (recorder_main.c).
//
// A writer's ring gives its room back only when the recorder has the records in the file, and from
// Probation on durable: a recorder that is late stops the ports, nothing is lost.
#ifndef MONITOR_AUDIT_LOG_H
#define MONITOR_AUDIT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit_record.h"
#include "clock.h"
#include "error.h"
#include "payload_digest.h"
#include "recorder_protocol.h"
#include "shared_ring.h"

// A ring that somebody else writes.
struct audit_ring {
    struct shared_ring ring;
    enum audit_source source;
    uint64_t next;       // sequence that its next record must have
    uint32_t first_port; // records may be about ports from this one ...
    uint32_t ports;      // ... this many
    // What its records say was allowed, in all.
    uint64_t requests;
    uint64_t bytes;
    uint64_t reply_bytes;
    // Bytes that are with the recorder and still in this ring; and, of these, bytes that may be
    // consumed when the recorder has come to a position.
    uint64_t ahead;
    uint64_t mark_bytes;
    uint64_t mark_position;
    struct payload_digests digests; // its writer's own: it can spoil nobody else's
};

struct audit_log {
    int fd; // the log's first file, locked
    const struct clock *clock;
    uint64_t sequence;      // of the next record in this run
    struct shared_ring out; // to the recorder
    int ring_fd;
    int channel;
    int wake_own;      // eventfd: the recorder has made room, or says something
    int wake_recorder; // eventfd
    pid_t pid;
    int pidfd;
    bool opened;           // audit_log_open succeeded
    bool ready;            // the recorder has the log open
    bool finished;         // the log is sealed
    bool failed;           // nobody waits for it again
    bool full;             // the budget is used up: rings are not emptied any more
    uint64_t budget_bytes; // or 0
    uint64_t bytes;        // of the log, with what is with the recorder; known once it is ready
    uint64_t generation;   // in the last AUDIT_STATE record of earlier runs, or 0; once it is ready
    uint64_t sync_asked;
    uint64_t sync_done;
    uint64_t asked_ns;      // when the last answer was asked for, or records were taken since
    uint64_t within_ns;     // within what time it has to come
    uint64_t seen_position; // of the recorder
    // Sees every record of a writer's ring, and the data behind it, before it goes to the recorder;
    // NULL: nobody. Set by the owner.
    void (*observe)(void *context, const struct audit_record *record, const void *data);
    // True if what a VMM's ring held when this became true is not to be given back yet. NULL:
    // never.
    bool (*withhold)(void *context);
    void *observer;
};

// Where a log is and how it is written.
struct audit_place {
    const char *path;
    const char *state_dir; // with the key
    const char *witness;   // file to which every checkpoint is appended too, or NULL
    uint64_t rotate_bytes; // or 0
    uint64_t budget_bytes; // or 0
    uint64_t state_cookie; // of the VM's AUDIT_STATE records
};

// No log: everything is -1.
void audit_log_init(struct audit_log *log, const struct clock *clock);

// Makes the ring to the recorder. Records can be appended from now on.
int audit_log_prepare(struct audit_log *log, struct error *err);

// Starts the recorder, which waits for audit_log_open: for those who have something else to do
// before that, which would start it too.
int audit_log_start_recorder(struct audit_log *log, struct error *err);

// Opens or creates the log under an exclusive lock, one run per file, and starts its recorder, but
// does not wait for it: audit_log_serve reports what becomes of it. `level_fd` is the page of the
// supervisor's level. A file that is not a log of this format is refused at once.
int audit_log_open(struct audit_log *log, const struct audit_place *place, int level_fd,
                   struct error *err);

// Appends a record of the supervisor itself, and data of at most AUDIT_DATA_MAX bytes. Fails if the
// recorder is so far behind that the room kept for these records is used up.
int audit_log_append(struct audit_log *log, const struct audit_record *record, struct error *err);
int audit_log_append_data(struct audit_log *log, const struct audit_record *record,
                          const void *data, uint32_t length, struct error *err);

// Hands what is in a ring to the recorder, as far as there is room, and gives the ring back what
// the recorder is done with. *wake is set if its writer waits for room. A ring whose contents are
// not records in sequence is an error without code: the log would lie.
int audit_log_take(struct audit_log *log, struct audit_ring *ring, bool *wake, struct error *err);

// Same at the ring's end: everything, waiting at most `timeout_ns` for the recorder, budget or not.
int audit_log_take_all(struct audit_log *log, struct audit_ring *ring, uint64_t timeout_ns,
                       struct error *err);

// Before the supervisor sleeps: asks for wake-ups about a ring. True if there is work now.
bool audit_log_wait(struct audit_log *log, struct audit_ring *ring);

// Reads what the recorder says, without waiting. An error: the log cannot be written any more.
int audit_log_serve(struct audit_log *log, struct error *err);

// Waits until all records so far are durable.
int audit_log_wait_durable(struct audit_log *log, uint64_t timeout_ns, struct error *err);

// Waits until the log is written to its end, sealed and closed.
int audit_log_finish(struct audit_log *log, uint64_t timeout_ns, struct error *err);

// Ends the recorder, if it has not ended, and releases everything.
void audit_log_close(struct audit_log *log);

#endif
