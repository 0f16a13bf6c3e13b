// SPDX-License-Identifier: Apache-2.0
// guillotine-loader: fills a Linux guest's memory, says where to enter, ends.
//
// Kernel and initrd are parsed here, in a process that can do nothing but read them, and not in the
// VMM or the supervisor.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd_message.h"
#include "linux_loader.h"
#include "loader_filters.h"
#include "sandbox.h"

// One guest per process; static, so that nothing is allocated.
static struct {
    struct linux_load load;
    char command_line[LINUX_COMMAND_LINE_MAX];
} request;
static struct linux_memory memory;
static struct linux_file files[2]; // kernel, initrd
static struct linux_entry entry;

static int receive(int *fds, struct error *err)
{
    size_t fd_count = 3;
    ssize_t length =
        fd_message_receive(LINUX_LOADER_FD_CHANNEL, &request, sizeof(request), fds, &fd_count, err);
    if (length < 0)
        return -1;
    const struct linux_load *load = &request.load;
    if ((size_t)length < sizeof(*load) || strncmp(load->format, LINUX_LOADER_FORMAT, 16) ||
        load->command_line_bytes != (size_t)length - sizeof(*load) || !load->command_line_bytes ||
        request.command_line[load->command_line_bytes - 1] || fd_count != 2u + !!load->has_initrd ||
        load->devices > LINUX_MAX_DEVICES || !load->vcpus || load->vcpus > 254 ||
        load->memory_bytes % (2ull << 20) || load->memory_bytes < (2ull << 20))
        return error_set(err, EXIT_STATUS_INTERNAL, 0,
                         "the supervisor speaks another protocol than %s", LINUX_LOADER_FORMAT);
    return 0;
}

static int open_file(struct linux_file *file, int fd, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a regular file");
    *file = (struct linux_file){fd, (uint64_t)status.st_size};
    return 0;
}

static int open_all(const int *fds, struct error *err)
{
    uint64_t bytes = request.load.memory_bytes;
    memory.bytes = bytes < LINUX_LOW_END ? bytes : LINUX_LOW_END;
    if (ftruncate(fds[LINUX_LOAD_FD_MEMORY], (off_t)bytes) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "guest memory of %llu bytes",
                         (unsigned long long)bytes);
    void *host = mmap(NULL, memory.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                      fds[LINUX_LOAD_FD_MEMORY], 0);
    if (host == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map guest memory");
    memory.host = host;
    memory.fd = fds[LINUX_LOAD_FD_MEMORY];
    if (open_file(&files[0], fds[LINUX_LOAD_FD_KERNEL], err) < 0)
        return -1;
    if (request.load.has_initrd && open_file(&files[1], fds[LINUX_LOAD_FD_INITRD], err) < 0)
        return error_wrap(err, "initrd");
    return 0;
}

int main(void)
{
    int fds[3];
    struct error err = {0};
    uint32_t missing = 0; // the VMM, on the same host, reports the same

    if (fcntl(LINUX_LOADER_FD_CHANNEL, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-loader is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    if (sandbox_enter(&missing, &err) < 0 || receive(fds, &err) < 0 || open_all(fds, &err) < 0 ||
        sandbox_install(loader_filter, sizeof(loader_filter) / sizeof(loader_filter[0]), &err) <
            0 ||
        linux_load_all(&memory, &request.load, request.command_line, &files[0], &files[1], &entry,
                       &err) < 0) {
        entry.status = (uint32_t)err.status;
        snprintf(entry.text, sizeof(entry.text), "%s", err.text);
    }
    memcpy(entry.format, LINUX_LOADER_FORMAT, sizeof(LINUX_LOADER_FORMAT));
    fd_message_send(LINUX_LOADER_FD_CHANNEL, &entry, sizeof(entry), NULL, 0, NULL);
    _exit((int)entry.status);
}
