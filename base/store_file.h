// SPDX-License-Identifier: Apache-2.0
// The files of a store: a database of SQLite and its rollback journal, opened and locked for one
// user. Who has them open never needs their names again.
#ifndef BASE_STORE_FILE_H
#define BASE_STORE_FILE_H

#include "error.h"

enum store_access {
    STORE_ACCESS_READ,
    STORE_ACCESS_WRITE,
    STORE_ACCESS_CREATE, // as WRITE; a database that is not there is made, empty
};

struct store_files {
    int database;
    int journal; // -1: read only
};

// Opens the database at `path`, and for writing its journal, PATH-journal. Both have to be regular
// files, not symbolic links, that belong to the caller or to root and that nobody else may write.
// The lock excludes every writer, and for writing everybody, SQLite's own tools included; it lives
// as long as a copy of the descriptor. Refuses to read a database whose last writer died half-way:
// only a writer can undo that. Descriptors are the caller's to close. Returns 0, or -1 with
// EXIT_STATUS_BAD_FILE (files that are refused) or EXIT_STATUS_RESOURCES.
int store_files_open(const char *path, enum store_access access, struct store_files *files,
                     struct error *err);

void store_files_close(struct store_files *files);

// Closes the files at scope exit; they start as STORE_FILES_NONE.
#define STORE_FILES_NONE                                                                           \
    {                                                                                              \
        -1, -1                                                                                     \
    }
#define cleanup_store_files __attribute__((cleanup(store_files_close)))

#endif
