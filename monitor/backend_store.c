// SPDX-License-Identifier: Apache-2.0
// Opens the files of a store for its program.
#include "backend_launch.h"
#include "store_file.h"
#include "store_settings.h"

int backend_store_prepare(struct backend_launch *launch, struct error *err)
{
    const struct store_settings *store = launch->settings;
    struct store_files files;
    if (launch->length != sizeof(*store))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of a store are missing");
    if (store_files_open(store->path,
                         store->grant.writable ? STORE_ACCESS_WRITE : STORE_ACCESS_READ, &files,
                         err) < 0)
        return -1;
    launch->fds[STORE_FD_DATABASE] = files.database;
    launch->fds[STORE_FD_JOURNAL] = files.journal;
    launch->fd_count = store->grant.writable ? STORE_FDS : 1;
    // The program learns no name.
    launch->settings = &store->grant;
    launch->length = sizeof(store->grant);
    return 0;
}
