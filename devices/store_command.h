// SPDX-License-Identifier: Apache-2.0
// guillotine store: the operator's commands on databases of stores.
#ifndef DEVICES_STORE_COMMAND_H
#define DEVICES_STORE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "store_database.h"

// Runs one command; argv[0] is "store". Returns the exit status.
int store_command(int argc, char **argv);

// Largest `quota_bytes` and `max_objects` of a grant: operators are not bound by those of a model.
struct store_grant store_operator_grant(void);

// Copies files and folders into a store, under names that begin with `prefix` ("" or NULL: none).
// A file's name is its last part, names of files in a folder begin behind the folder. Symbolic
// links and what is neither file nor folder are left out. All of it in one transaction.
struct store_import {
    struct store_database *database;
    const char *prefix;
    bool progress; // says on standard error how far it is
    uint64_t files;
    uint64_t bytes;
    uint64_t skipped;
};

int store_import_paths(struct store_import *import, char *const *paths, int count,
                       struct error *err);

// Copies all objects, or those whose names begin with `prefix`, to files beneath a folder, which
// is made if it is not there. Never follows a symbolic link and never leaves the folder. A file
// that is there already is refused unless `force`.
struct store_export {
    struct store_database *database;
    const char *prefix;
    bool force;
    uint64_t files;
    uint64_t bytes;
};

int store_export_folder(struct store_export *export, const char *folder, struct error *err);

// Same as a tar archive (POSIX ustar, names that are too long for it as GNU tar writes them).
int store_export_tar(struct store_export *export, int fd, struct error *err);

// What a status of the database means to an operator: fills *err, returns -1.
int store_refuse(uint32_t status, const char *name, struct error *err);

#endif
