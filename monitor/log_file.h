// SPDX-License-Identifier: Apache-2.0
// The file of a log port: one JSON object a line, harmless whatever the model wrote.
#ifndef MONITOR_LOG_FILE_H
#define MONITOR_LOG_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define LOG_FILE_BYTES_MIN     65536u
#define LOG_FILE_BYTES_DEFAULT (16u << 20)

// What a VM file says of it.
struct log_settings {
    uint64_t max_bytes;  // of the file, what earlier runs wrote included
    char path[PATH_MAX]; // terminated; empty: the default
};

struct log_file {
    int fd;         // -1: not open
    const char *vm; // names, borrowed: [a-z0-9-]
    const char *port;
    uint64_t bytes; // of the file
    uint64_t max_bytes;
    uint64_t dropped; // messages of this run
    bool full;        // takes no more: max_bytes is reached, or the file cannot be written
};

// Opens or creates (0600) the file at `path` for this run alone; lines are appended. Symbolic links
// and what is not a regular file are refused. Returns 0, or -1 with *err set.
int log_file_open(struct log_file *log, const char *path, uint64_t max_bytes, struct error *err);

// Appends a message of at most LOG_MESSAGE_MAX bytes with the Unix time `wall_ns`. A message that
// is not written whole is dropped and counted, and so are all later ones: a log has no gaps.
#define LOG_MESSAGE_MAX 4096u
void log_file_write(struct log_file *log, uint64_t wall_ns, uint32_t severity, const void *text,
                    size_t length);

// If messages were dropped, says so in the last line. Closes the file; nothing for one that is not
// open.
void log_file_close(struct log_file *log, uint64_t wall_ns);

#endif
