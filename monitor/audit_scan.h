// SPDX-License-Identifier: Apache-2.0
// Reads a log's files one after the other, checks what they say about themselves, and builds the
// Merkle tree of their records.
#ifndef MONITOR_AUDIT_SCAN_H
#define MONITOR_AUDIT_SCAN_H

#include <stdbool.h>
#include <sys/types.h>

#include "audit_record.h"
#include "error.h"
#include "merkle_tree.h"

#define AUDIT_SCAN_BUFFER (1u << 18)

struct audit_scan {
    int folder; // borrowed
    char name[256];
    bool forgives_tail; // what is wrong at the last file's end is left out, not an error
    bool writable;      // open the files for writing too
    bool hashes;        // build the tree
    bool torn;          // something was wrong, at `end`
    int fd;             // of the file that is read, or was read last
    uint64_t index;     // its index
    off_t end;          // where its whole records end, so far
    off_t file_bytes;   // its length
    uint64_t bytes;     // of whole records and headers in all files
    struct merkle_tree tree;
    struct merkle_hash root_before; // of a seal: of the tree without it
    // What is in memory of the file.
    off_t buffer_at;
    size_t buffer_length;
    uint8_t buffer[AUDIT_SCAN_BUFFER];
};

// Called for each record, after it was added to scan->tree. A value other than 0 ends the scan,
// which returns it; -1 comes with *err set.
typedef int (*audit_scan_function)(void *context, const struct audit_scan *scan,
                                   const struct audit_record_data *record,
                                   const struct merkle_hash *leaf, struct error *err);

// The name of file `index` of a log.
void audit_scan_file_name(char *text, size_t size, const char *name, uint64_t index);

// Prepares to read NAME, NAME.1, ... in the folder.
void audit_scan_init(struct audit_scan *scan, int folder, const char *name, bool forgives_tail);

// Reads to the end. Errors have the position of what is wrong.
int audit_scan_run(struct audit_scan *scan, audit_scan_function take, void *context,
                   struct error *err);

// Reads what was appended since audit_scan_run, or the last call, returned 0.
int audit_scan_more(struct audit_scan *scan, audit_scan_function take, void *context,
                    struct error *err);

void audit_scan_close(struct audit_scan *scan);

#endif
