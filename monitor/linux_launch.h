// SPDX-License-Identifier: Apache-2.0
// Runs guillotine-loader.
#ifndef MONITOR_LINUX_LAUNCH_H
#define MONITOR_LINUX_LAUNCH_H

#include "error.h"
#include "linux_layout.h"

// Has the loader fill the empty memory file as `load` says, with a kernel and perhaps an initrd
// (else -1), and waits for its answer, 20 s at most. Checks what it says: it has parsed hostile
// files. Errors have the loader's status and text, escaped.
int linux_launch(const struct linux_load *load, const char *command_line, int memory_fd,
                 int kernel_fd, int initrd_fd, struct linux_entry *entry, struct error *err);

#endif
