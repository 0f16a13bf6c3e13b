// SPDX-License-Identifier: Apache-2.0
// The files of a store: opened, checked, locked.
#include "store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

// SQLite's locking bytes (its file format, "The Lock-Byte Page"): a reader holds the shared ones,
// a writer all of them. These locks belong to the open file, not to the process, and conflict with
// those of SQLite's own tools.
#define LOCK_FIRST  0x40000000
#define LOCK_SHARED 0x40000002
#define LOCK_BYTES  512

#define OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

static int check(int fd, const char *path, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not a regular file", path);
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s belongs to somebody else", path);
    if (status.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s can be written by others (mode %03o)",
                         path, status.st_mode & 0777);
    return 0;
}

static int lock(int fd, const char *path, bool exclusive, struct error *err)
{
    struct flock range = {
        .l_type = exclusive ? F_WRLCK : F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = exclusive ? LOCK_FIRST : LOCK_SHARED,
        .l_len = exclusive ? LOCK_BYTES : LOCK_BYTES - (LOCK_SHARED - LOCK_FIRST),
    };
    if (fcntl(fd, F_OFD_SETLK, &range) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s is in use%s", path,
                         exclusive ? "" : " by somebody who writes to it");
    return error_set(err, EXIT_STATUS_RESOURCES, errno, "lock %s", path);
}

// A journal that begins with a zero byte, or with nothing, has nothing to undo.
static int refuse_hot_journal(const char *path, struct error *err)
{
    char first = 0;
    cleanup_fd int fd = open(path, O_RDONLY | OPEN_FLAGS);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (check(fd, path, err) < 0)
        return -1;
    if (pread(fd, &first, 1, 0) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (first)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: its last writer died half-way (guillotine store check repairs it)",
                         path);
    return 0;
}

static int open_both(const char *path, const char *journal, enum store_access access,
                     struct store_files *files, struct error *err)
{
    int flags = OPEN_FLAGS | (access == STORE_ACCESS_READ ? O_RDONLY : O_RDWR);
    bool writes = access != STORE_ACCESS_READ;
    files->database = open(path, flags | (access == STORE_ACCESS_CREATE ? O_CREAT : 0), 0600);
    if (files->database < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (check(files->database, path, err) < 0 || lock(files->database, path, writes, err) < 0)
        return -1;
    if (!writes)
        return refuse_hot_journal(journal, err);
    files->journal = open(journal, flags | O_CREAT, 0600);
    if (files->journal < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", journal);
    if (check(files->journal, journal, err) < 0)
        return -1;
    return file_sync_folder(path, err); // a journal that a crash takes away undoes nothing
}

int store_files_open(const char *path, enum store_access access, struct store_files *files,
                     struct error *err)
{
    char journal[PATH_MAX];
    *files = (struct store_files)STORE_FILES_NONE;
    if (snprintf(journal, sizeof(journal), "%s-journal", path) >= (int)sizeof(journal))
        return error_set(err, EXIT_STATUS_BAD_FILE, ENAMETOOLONG, "%s", path);
    if (open_both(path, journal, access, files, err) == 0)
        return 0;
    store_files_close(files);
    return -1;
}

void store_files_close(struct store_files *files)
{
    if (files->database >= 0)
        close(files->database);
    if (files->journal >= 0)
        close(files->journal);
    *files = (struct store_files)STORE_FILES_NONE;
}
