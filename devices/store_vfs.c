// SPDX-License-Identifier: Apache-2.0
// SQLite's way to the files of a store: two descriptors.
#include "store_vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

#include "clock.h"

// 1970-01-01 in SQLite's days, in milliseconds.
#define EPOCH_MS 210866760000000ll

static struct store_files files = STORE_FILES_NONE;

struct store_vfs_file {
    sqlite3_file base;
    int fd;
};

static int fd_of(sqlite3_file *file)
{
    return ((struct store_vfs_file *)file)->fd;
}

static int file_close(sqlite3_file *file)
{
    (void)file;
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *buffer, int amount, sqlite3_int64 offset)
{
    char *at = buffer;
    while (amount > 0) {
        ssize_t n = pread(fd_of(file), at, (size_t)amount, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SQLITE_IOERR_READ;
        if (n == 0) { // SQLite wants zeros behind the end
            memset(at, 0, (size_t)amount);
            return SQLITE_IOERR_SHORT_READ;
        }
        at += n;
        offset += n;
        amount -= (int)n;
    }
    return SQLITE_OK;
}

static int file_write(sqlite3_file *file, const void *buffer, int amount, sqlite3_int64 offset)
{
    const char *at = buffer;
    while (amount > 0) {
        ssize_t n = pwrite(fd_of(file), at, (size_t)amount, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno != ENOSPC && errno != EDQUOT ? SQLITE_IOERR_WRITE : SQLITE_FULL;
        at += n;
        offset += n;
        amount -= (int)n;
    }
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return ftruncate(fd_of(file), size) < 0 ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    return fdatasync(fd_of(file)) < 0 ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = lseek(fd_of(file), 0, SEEK_END);
    return *size < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int file_check_lock(sqlite3_file *file, int *locked)
{
    (void)file;
    *locked = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int operation, void *argument)
{
    (void)file;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return STORE_VFS_ALIGNMENT;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return files.journal < 0 ? SQLITE_IOCAP_IMMUTABLE : 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1, // no shared memory, no mapping
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

static bool is_journal(const char *name)
{
    return name && !strcmp(name, STORE_VFS_DATABASE "-journal");
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *given)
{
    (void)vfs;
    struct store_vfs_file *opened = (struct store_vfs_file *)file;
    opened->base.pMethods = NULL;
    opened->fd = -1;
    if (flags & SQLITE_OPEN_MAIN_DB && name && !strcmp(name, STORE_VFS_DATABASE))
        opened->fd = files.database;
    else if (flags & SQLITE_OPEN_MAIN_JOURNAL && is_journal(name))
        opened->fd = files.journal;
    if (opened->fd < 0)
        return SQLITE_CANTOPEN; // whatever it wants beyond that, it has to do in memory
    opened->base.pMethods = &methods;
    if (given)
        *given = files.journal < 0 ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    return SQLITE_OK;
}

// A journal is never unlinked: one that is empty is none.
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    (void)sync;
    if (!is_journal(name) || files.journal < 0)
        return SQLITE_IOERR_DELETE;
    return ftruncate(files.journal, 0) < 0 || fdatasync(files.journal) < 0 ? SQLITE_IOERR_DELETE
                                                                           : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    (void)vfs;
    (void)flags;
    *result = is_journal(name) && files.journal >= 0 && lseek(files.journal, 0, SEEK_END) > 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *path)
{
    (void)vfs;
    sqlite3_snprintf(size, path, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *buffer)
{
    (void)vfs;
    ssize_t n = getrandom(buffer, (size_t)size, 0);
    return n < 0 ? 0 : (int)n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds; // nobody is waited for
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *now)
{
    (void)vfs;
    *now = EPOCH_MS + (sqlite3_int64)(clock_wall_ns(&clock_host) / NS_PER_MS);
    return SQLITE_OK;
}

static int vfs_days(sqlite3_vfs *vfs, double *days)
{
    sqlite3_int64 now;
    int result = vfs_time(vfs, &now);
    *days = (double)now / 86400000.0;
    return result;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *text)
{
    (void)vfs;
    (void)size;
    (void)text;
    return errno;
}

static sqlite3_vfs vfs = {
    .iVersion = 2,
    .szOsFile = sizeof(struct store_vfs_file),
    .mxPathname = 64,
    .zName = STORE_VFS_NAME,
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_path,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_days,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_time,
};

int store_vfs_use(const struct store_files *use, struct error *err)
{
    static bool started;
    files = *use;
    if (started)
        return 0;
    started = true;
    if (sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) != SQLITE_OK ||
        sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "SQLite cannot be started");
    return 0;
}
