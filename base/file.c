// SPDX-License-Identifier: Apache-2.0
// Files: written whole, and made durable.
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

int file_write(int fd, const void *data, size_t length, struct error *err)
{
    const char *at = data;
    while (length) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_RESOURCES, n < 0 ? errno : EIO, "write");
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

int file_sync_folder(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    cleanup_fd int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "sync the folder of %s", path);
    return 0;
}
