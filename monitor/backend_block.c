// SPDX-License-Identifier: Apache-2.0
// Opens the disk of a block port for its program.
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_launch.h"
#include "block_grant.h"
#include "cleanup.h"

int backend_block_prepare(struct backend_launch *launch, struct error *err)
{
    const struct block_settings *block = launch->settings;
    if (launch->length != sizeof(*block))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of a disk are missing");
    int access = block->grant.writable ? O_RDWR : O_RDONLY;
    cleanup_fd int fd = open(block->path, access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "disk %s", block->path);
    off_t bytes = lseek(fd, 0, SEEK_END);
    if (bytes < 0 || (uint64_t)bytes < block->grant.bytes)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "disk %s became shorter", block->path);
    // For as long as a copy of the descriptor is open.
    if (flock(fd, (block->grant.writable ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
        return error_set(
            err, EXIT_STATUS_RESOURCES, 0,
            "disk %s is in use by another VM%s: stop that one, or give this one a copy",
            block->path, block->grant.writable ? "" : ", which writes to it");
    launch->fds[0] = steal_fd(&fd);
    launch->fd_count = 1;
    // The program learns no name.
    launch->settings = &block->grant;
    launch->length = sizeof(block->grant);
    return 0;
}
