// SPDX-License-Identifier: Apache-2.0
// SQLite's way to the files of a store: two descriptors. It knows no paths, no other files, no
// shared memory and no locks; who opened the files holds those (base/store_file.h).
#ifndef DEVICES_STORE_VFS_H
#define DEVICES_STORE_VFS_H

#include "error.h"
#include "store_file.h"

// Name of the database, and of the VFS, for sqlite3_open_v2.
#define STORE_VFS_NAME      "store"
#define STORE_VFS_DATABASE  "database"
#define STORE_VFS_ALIGNMENT 4096

// Configures SQLite for one thread and these files, for good: one store in a process at a time.
// Without a journal the database is immutable. The descriptors stay the caller's. To be called
// again, with other files, when no database is open. Returns 0 or -1.
int store_vfs_use(const struct store_files *files, struct error *err);

#endif
