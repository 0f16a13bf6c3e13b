// SPDX-License-Identifier: Apache-2.0
// guillotine-store: the process of a store's port, and `guillotine store`, the operator's commands
// on the same databases.
//
// As a port's process it gets files, not names. It reads the first byte of them when it can do
// nothing but that: what a database holds may be meant for SQLite, not for the model.
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend_process.h"
#include "cleanup.h"
#include "sandbox.h"
#include "store.h"
#include "store_command.h"
#include "store_filter.h"
#include "store_rules.h"
#include "store_vfs.h"

// Address space beyond what is mapped when the process begins to serve.
#define MEMORY_MAX (96ull << 20)

static struct backend_process process;
static struct store_database database;
static struct store_grant grant;

// Gives a descriptor the number that the filter knows.
static int move_fd(int *fd, int number, struct error *err)
{
    // One that has such a number already would be closed by the other's move.
    if (*fd >= STORE_DATABASE_FD || dup3(*fd, number, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "store: files");
    close(*fd);
    *fd = -1;
    return 0;
}

static int take_files(struct store_files *files, struct error *err)
{
    int *given = &process.fds[BACKEND_FDS];
    if (move_fd(&given[STORE_FD_DATABASE], STORE_DATABASE_FD, err) < 0 ||
        (grant.writable && move_fd(&given[STORE_FD_JOURNAL], STORE_JOURNAL_FD, err) < 0))
        return -1;
    *files = (struct store_files){STORE_DATABASE_FD, grant.writable ? STORE_JOURNAL_FD : -1};
    return 0;
}

// The state comes without an open database: that waits for the filter.
static void *make_state(struct backend_process *own, struct error *err)
{
    const uint64_t writing = 1ull << STORE_PUT | 1ull << STORE_DELETE;
    if (own->settings_length != sizeof(grant)) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "store: settings of another version");
        return NULL;
    }
    memcpy(&grant, own->settings, sizeof(grant));
    if (grant.writable != !!(own->config.port.operations & writing) ||
        own->config.extra_fds != (grant.writable ? STORE_FDS : 1u) ||
        grant.quota_bytes > STORE_QUOTA_MAX || grant.max_objects > STORE_MAX_OBJECTS_MAX) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "store: settings out of range");
        return NULL;
    }
    return &database;
}

// Address space may grow by MEMORY_MAX from what it is now. `statm` is /proc/self/statm, which
// cannot be opened any more.
static int bound_memory(int statm, struct error *err)
{
    char text[64];
    ssize_t length = read(statm, text, sizeof(text) - 1);
    if (length < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "store: /proc/self/statm");
    text[length] = '\0';
    uint64_t bytes = strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) + MEMORY_MAX;
    const struct rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "store: bound memory");
    return 0;
}

static int serve(struct error *err)
{
    static const struct backend_kind kinds[] = {{&store_backend, make_state}};
    struct store_files files;
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    cleanup_fd int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (sandbox_enter(&missing, err) < 0 || backend_process_receive(&process, kinds, 1, err) < 0 ||
        backend_process_build(&process, err) < 0 || take_files(&files, err) < 0 ||
        store_vfs_use(&files, err) < 0 || bound_memory(statm, err) < 0)
        return -1;
    close(steal_fd(&statm));
    if (sqlite3_initialize() != SQLITE_OK)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "store: SQLite cannot be started");
    if (backend_process_lock_down(
            &process, grant.writable ? store_filter_install_writer : store_filter_install_reader,
            err) < 0 ||
        store_database_open(&database, &files, &grant, err) < 0 ||
        backend_process_report_ready(err) < 0)
        return -1;
    backend_process_run(&process);
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "store: stopped"); // nobody stops it
}

int main(int argc, char **argv)
{
    struct error err = {0};
    if (argc > 1)
        return store_command(argc, argv);
    if (fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0)
        return store_command(argc, argv);
    serve(&err);
    backend_process_report_failure(&err);
    return (int)err.status;
}
