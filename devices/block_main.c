// SPDX-License-Identifier: Apache-2.0
// guillotine-block: the process of a block port. It gets a file, not a name.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend_process.h"
#include "block.h"
#include "block_filter.h"
#include "block_rules.h"
#include "sandbox.h"

// One port per process; static, so that it needs no allocation and is zero.
static struct backend_process process;
static struct block disk;

static void *make_state(struct backend_process *own, struct error *err)
{
    const uint64_t writing =
        1ull << BLOCK_WRITE | 1ull << BLOCK_DISCARD | 1ull << BLOCK_WRITE_ZEROES;
    if (own->settings_length != sizeof(disk.grant)) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "block: settings of another version");
        return NULL;
    }
    memcpy(&disk.grant, own->settings, sizeof(disk.grant));
    if (own->config.extra_fds != 1 || !disk.grant.bytes || disk.grant.bytes > INT64_MAX ||
        disk.grant.bytes % BLOCK_SECTOR_BYTES || (disk.grant.discards && !disk.grant.writable) ||
        disk.grant.writable != !!(own->config.port.operations & writing)) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "block: settings out of range");
        return NULL;
    }
    return &disk;
}

// Gives the disk the number that the filter knows.
static int take_disk(struct error *err)
{
    int *given = &process.fds[BACKEND_FDS];
    if (*given >= BLOCK_DISK_FD || dup3(*given, BLOCK_DISK_FD, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "block: disk");
    close(*given);
    *given = -1;
    disk.fd = BLOCK_DISK_FD;
    return 0;
}

int main(void)
{
    static const struct backend_kind kinds[] = {{&block_backend, make_state}};
    struct error err = {0};
    uint32_t missing = 0; // the VMM, on the same host, reports the same

    if (fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-block is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    if (sandbox_enter(&missing, &err) < 0 ||
        backend_process_receive(&process, kinds, 1, &err) < 0 ||
        backend_process_build(&process, &err) < 0 || take_disk(&err) < 0 ||
        backend_process_lock_down(&process,
                                  disk.grant.writable ? block_filter_install_writer
                                                      : block_filter_install_reader,
                                  &err) < 0 ||
        backend_process_report_ready(&err) < 0) {
        backend_process_report_failure(&err);
        return (int)err.status;
    }
    backend_process_run(&process);
    return EXIT_STATUS_INTERNAL; // nobody stops it
}
