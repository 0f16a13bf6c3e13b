// SPDX-License-Identifier: Apache-2.0
// Runs guillotine-loader.
#ifndef MONITOR_LINUX_LAUNCH_H
#define MONITOR_LINUX_LAUNCH_H

#include <sys/types.h>

#include "error.h"
#include "linux_layout.h"

struct linux_loader {
    pid_t pid; // 0 or less: none
    int pidfd;
    int channel;
};

// Starts the loader, which locks itself down while the caller goes on.
int linux_loader_start(struct linux_loader *loader, struct error *err);

// Has it fill the empty memory file as `load` says, with a kernel and perhaps an initrd (else -1),
// and waits for its answer, 20 s at most. Checks what it says: it has parsed hostile files. Errors
// have the loader's status and text, escaped.
int linux_loader_run(struct linux_loader *loader, const struct linux_load *load,
                     const char *command_line, int memory_fd, int kernel_fd, int initrd_fd,
                     struct linux_entry *entry, struct error *err);

// Ends and reaps it, if there is one.
void linux_loader_end(struct linux_loader *loader);

#endif
