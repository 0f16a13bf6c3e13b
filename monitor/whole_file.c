// SPDX-License-Identifier: Apache-2.0
// Whole files.
#include "whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

static int read_all(int fd, const char *path, size_t max, char **text, size_t *length,
                    struct error *err)
{
    cleanup_free char *buffer = malloc(max + 2);
    size_t used = 0;
    if (!buffer)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "%s", path);
    while (used <= max) {
        ssize_t n = read(fd, buffer + used, max + 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read %s", path);
        if (n == 0)
            break;
        used += (size_t)n;
    }
    if (used > max)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is larger than %zu bytes", path, max);
    buffer[used] = '\0';
    *text = steal_pointer(&buffer);
    *length = used;
    return 0;
}

int whole_file_read(const char *path, size_t max, char **text, size_t *length, struct error *err)
{
    struct stat status;
    if (!strcmp(path, "-"))
        return read_all(STDIN_FILENO, "standard input", max, text, length, err);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not a regular file", path);
    return read_all(fd, path, max, text, length, err);
}

int whole_file_write(const char *path, const void *data, size_t length, mode_t mode, bool fresh,
                     struct error *err)
{
    char other[PATH_MAX];
    if (snprintf(other, sizeof(other), "%s.XXXXXX", path) >= (int)sizeof(other))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", path);
    cleanup_fd int fd = mkostemp(other, O_CLOEXEC);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "write beside %s", path);
    int result = fchmod(fd, mode) < 0 ? -1 : file_write(fd, data, length, NULL);
    if (result == 0)
        result = fsync(fd);
    // A link fails where a rename would replace.
    if (result == 0)
        result = fresh ? link(other, path) : rename(other, path);
    int code = errno;
    if (result < 0 || fresh)
        unlink(other);
    if (result < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, code, "write %s", path);
    return file_sync_folder(path, err);
}
