// SPDX-License-Identifier: Apache-2.0
// The durable level of one VM: vms/UUID.state, format guillotine-state/1.
//
// Two slots of 512 bytes, 4,096 bytes apart, so that no sector of a disk holds both; everything
// between them is zero. They are written in turn, each with a generation one above the other's and
// a keyed checksum: whatever a power cut does to the slot that is being written, the other one
// still says what was durable, and any doubt counts as Offline.
#ifndef MONITOR_STATE_FILE_H
#define MONITOR_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "level.h"
#include "uuid.h"

#define STATE_FORMAT      "guillotine-state/1"
#define STATE_SLOT_BYTES  512u
#define STATE_SLOT_STRIDE 4096u
#define STATE_FILE_BYTES  (STATE_SLOT_STRIDE + STATE_SLOT_BYTES)
#define STATE_KEY_BYTES   32u
#define STATE_REASON_SIZE 192u

// A key set of administrators that was in force. All zero: none ever was.
struct key_set_pin {
    uint64_t version;
    uint8_t sha256[32]; // of what its signatures are over
};

struct state_record {
    struct uuid uuid;
    uint64_t generation;            // of the write, from 1
    uint64_t sequence;              // of the last order of administrators that was accepted
    uint64_t audit_size;            // of the audit log's tree when this was written, in records
    uint64_t since_wall_ns;         // Unix time of the last change of the level
    uint32_t level;                 // enum level
    uint32_t restarts;              // launches so far
    bool running;                   // a run has begun and not ended cleanly
    uint8_t boot_id[16];            // of the host when this was written
    uint64_t orders_from_s;         // orders that lower and were issued before may be spent ones
    struct key_set_pin keys;        // the newest that was in force
    char reason[STATE_REASON_SIZE]; // of the level, one line
};

// What touches the disk, so that a test can record the writes and cut the power between them.
struct state_ops {
    int (*open)(void *context, int folder, const char *name, int flags, mode_t mode);
    ssize_t (*pwrite)(void *context, int fd, const void *data, size_t length, off_t offset);
    int (*fdatasync)(void *context, int fd);
    int (*rename)(void *context, int folder, const char *from, const char *to);
    int (*fsync_folder)(void *context, int folder);
    void *context;
};

// The host's disk.
extern const struct state_ops state_ops_host;

// Reads a file's `length` bytes. *record is always filled: with the slot of the highest generation,
// and where anything is in doubt with at least Offline and the reason. `in_use`: the process that
// runs the VM holds the file's lock; if nobody does, a running mark means that the last run did not
// end cleanly, and so Offline. Returns false if the file is damaged (state_file_repair).
bool state_file_decode(const uint8_t *image, size_t length, const struct uuid *uuid,
                       const uint8_t key[STATE_KEY_BYTES], bool in_use,
                       struct state_record *record);

// Creates `name` in `folder` with the next generation of `record`, durable, in one step: it exists
// whole or not at all. Returns its descriptor, open for reading and writing, or -1.
int state_file_create(const struct state_ops *ops, int folder, const char *name,
                      struct state_record *record, const uint8_t key[STATE_KEY_BYTES],
                      struct error *err);

// Writes the next generation of `record` to the slot that holds the older one; durable on return.
// After a failure the same slot is the next one to be written, so the last durable record stands;
// until it is, readers see a damaged slot, which is Offline.
int state_file_write(const struct state_ops *ops, int fd, struct state_record *record,
                     const uint8_t key[STATE_KEY_BYTES], struct error *err);

// Writes both slots, so that no damage of one of them hides the level.
int state_file_write_both(const struct state_ops *ops, int fd, struct state_record *record,
                          const uint8_t key[STATE_KEY_BYTES], struct error *err);

// Writes both slots, and zeros between them: for a damaged file, whose level has been settled.
int state_file_repair(const struct state_ops *ops, int fd, struct state_record *record,
                      const uint8_t key[STATE_KEY_BYTES], struct error *err);

#endif
