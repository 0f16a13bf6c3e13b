// SPDX-License-Identifier: Apache-2.0
// Files that hold a secret.
#ifndef MONITOR_SECRET_FILE_H
#define MONITOR_SECRET_FILE_H

#include <stddef.h>

#include "error.h"

// Checks that a file belongs to this user (or root) and that nobody else can read it, and reads up
// to `count` lines of less than `size` printable bytes each, without their ends; the file has
// nothing else. `lines` may be NULL: only the check. Returns 0 or -1.
int secret_file_read(const char *path, char *lines, size_t size, size_t count, struct error *err);

#endif
