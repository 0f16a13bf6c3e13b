// SPDX-License-Identifier: Apache-2.0
// Memory that nobody changes any more, for other processes to map.
#include "constant_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"

int constant_memory_make(const char *name, const void *bytes, size_t length, struct error *err)
{
    cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || (length && write(fd, bytes, length) != (ssize_t)length) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", name);
    return steal_fd(&fd);
}
