// SPDX-License-Identifier: Apache-2.0
// Addresses of Unix sockets.
#include "socket_path.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"

int socket_path_address(struct sockaddr_un *address, const char *path, int *folder,
                        struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    const char *name = strrchr(path, '/');
    *folder = name ? open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (*folder < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, name ? errno : EINVAL, "folder of %s", path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length =
        snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d%s", *folder, name);
    return length < 0 || (size_t)length >= sizeof(address->sun_path)
               ? error_set(err, EXIT_STATUS_BAD_FILE, ENAMETOOLONG, "%s", path)
               : 0;
}

int socket_path_connect(const char *path, struct error *err)
{
    struct sockaddr_un address;
    cleanup_fd int folder = -1;
    if (socket_path_address(&address, path, &folder, err) < 0)
        return -1;
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "%s", path);
    return steal_fd(&fd);
}
