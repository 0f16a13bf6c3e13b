// SPDX-License-Identifier: Apache-2.0
// Small files that are read and replaced as a whole.
#ifndef MONITOR_WHOLE_FILE_H
#define MONITOR_WHOLE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "error.h"

// Reads a regular file of at most `max` bytes; "-" is standard input. *text is the caller's to free
// and has a terminator behind its *length bytes. A missing file has err->code ENOENT. Returns 0 or
// -1.
int whole_file_read(const char *path, size_t max, char **text, size_t *length, struct error *err);

// Makes the file have these bytes, or leaves it as it was: written under another name, synced,
// renamed, and the folder synced. `fresh`: refuses to replace a file. Returns 0 or -1.
int whole_file_write(const char *path, const void *data, size_t length, mode_t mode, bool fresh,
                     struct error *err);

#endif
