// SPDX-License-Identifier: Apache-2.0
// Files: written whole, and made durable.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>

#include "error.h"

// Writes all of it at the descriptor's offset. Returns 0, or -1 with EXIT_STATUS_RESOURCES.
int file_write(int fd, const void *data, size_t length, struct error *err);

// Waits until the folder that holds `path` is on the disk. Returns 0, or -1 with
// EXIT_STATUS_RESOURCES.
int file_sync_folder(const char *path, struct error *err);

#endif
