// SPDX-License-Identifier: Apache-2.0
// Makes names durable.
#ifndef BASE_SYNC_FOLDER_H
#define BASE_SYNC_FOLDER_H

#include "error.h"

// Waits until the folder that holds `path` is on the disk. Returns 0, or -1 with
// EXIT_STATUS_RESOURCES.
int sync_folder(const char *path, struct error *err);

#endif
