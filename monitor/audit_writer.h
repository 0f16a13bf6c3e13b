// SPDX-License-Identifier: Apache-2.0
// Writes a log: its files, its Merkle tree, its signed checkpoints. The recorder's core.
#ifndef MONITOR_AUDIT_WRITER_H
#define MONITOR_AUDIT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit_record.h"
#include "signed_note.h"

#define AUDIT_WRITER_NAME_SIZE 240u
#define AUDIT_WRITER_PATH_SIZE 300u
#define AUDIT_WRITER_MAX_FILES 1000000u

// Whatever changes files; tests record it. Each returns as the system call of its name does.
struct audit_files {
    int (*openat)(const struct audit_files *files, int folder, const char *name, int flags,
                  mode_t mode);
    ssize_t (*pwrite)(const struct audit_files *files, int fd, const void *data, size_t length,
                      off_t offset);
    int (*fdatasync)(const struct audit_files *files, int fd);
    int (*fsync)(const struct audit_files *files, int fd);
    int (*ftruncate)(const struct audit_files *files, int fd, off_t length);
    int (*renameat)(const struct audit_files *files, int folder, const char *from, const char *to);
    void *context;
};

extern const struct audit_files audit_files_host;

struct audit_writer {
    // Given.
    const struct audit_files *files;
    int folder;                        // borrowed
    int witness;                       // appended to, or -1; borrowed
    char name[AUDIT_WRITER_NAME_SIZE]; // of the first file, in `folder`
    char path[AUDIT_WRITER_PATH_SIZE]; // for messages
    char origin[NOTE_ORIGIN_SIZE];
    uint64_t rotate_bytes;            // a file is not longer than this, or 0
    uint64_t state_cookie;            // AUDIT_STATE records with it ...
    uint64_t state_generation;        // ... had this argument last, 0: there was none
    const struct note_secret *secret; // borrowed
    void (*progress)(void *context, uint64_t records); // while a log is read, or NULL
    void *progress_context;
    // State.
    int lock; // the first file as given; owned: its lock lasts as long as the log is open
    int fd;   // of the last file; owned
    uint64_t index;
    off_t end;        // of the last file's whole records
    uint64_t bytes;   // of all files
    bool dirty;       // written since the last fdatasync
    uint64_t covered; // records in the last checkpoint
    struct merkle_tree tree;
    uint64_t last_now_ns; // of the last record
    uint64_t last_wall_ns;
};

// Opens the log whose first file is `fd` (taken, also after an error), or begins it if that is
// empty. A log that does not agree with its last checkpoint is refused and left as it is; what a
// crash left behind the last checkpoint is cut back to whole records, and a record says so.
int audit_writer_open(struct audit_writer *writer, int fd, struct error *err);

// Appends whole records, which it numbers: their `sequence` is changed in `data`. After an error
// the log ends with the last record of the call before, or could not be cut.
int audit_writer_append(struct audit_writer *writer, void *data, size_t length, struct error *err);

// Makes all records durable.
int audit_writer_sync(struct audit_writer *writer, struct error *err);

// Makes all records durable, then replaces the checkpoint.
int audit_writer_checkpoint(struct audit_writer *writer, struct error *err);

// Ends the log: a seal, and the last checkpoint.
int audit_writer_seal(struct audit_writer *writer, struct error *err);

void audit_writer_close(struct audit_writer *writer);

#endif
