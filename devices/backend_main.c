// SPDX-License-Identifier: Apache-2.0
// guillotine-backend: receives a port's grant and descriptors, locks itself down, serves.
#include <fcntl.h>
#include <stdio.h>

#include "backend_process.h"
#include "loopback.h"
#include "sandbox.h"

// Every backend without a program of its own that may run outside the VMM.
static const struct backend_kind kinds[] = {
    {&loopback_backend, NULL},
};

// One port per process; static, so that it needs no allocation and is zero.
static struct backend_process process;

int main(void)
{
    struct error err = {0};
    uint32_t missing = 0; // the VMM, on the same host, reports the same

    if (fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-backend is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    if (sandbox_enter(&missing, &err) < 0 ||
        backend_process_receive(&process, kinds, sizeof(kinds) / sizeof(kinds[0]), &err) < 0 ||
        backend_process_build(&process, &err) < 0 ||
        backend_process_lock_down(&process, backend_filter_install, &err) < 0 ||
        backend_process_report_ready(&err) < 0) {
        backend_process_report_failure(&err);
        return (int)err.status;
    }
    backend_process_run(&process);
    return EXIT_STATUS_INTERNAL; // nobody stops it
}
