// SPDX-License-Identifier: Apache-2.0
// What a backend's program gets when it is started, beyond its grant.
#ifndef MONITOR_BACKEND_LAUNCH_H
#define MONITOR_BACKEND_LAUNCH_H

#include <stddef.h>

#include "backend_protocol.h"
#include "error.h"

// Owned by who starts the program.
struct backend_launch {
    const void *settings; // of the VM file, until prepare says otherwise
    size_t length;
    void *made; // freed and wiped when the program has it, or NULL
    int fds[BACKEND_MAX_EXTRA_FDS];
    unsigned fd_count;
    uint64_t start_ns; // how long it may take until it serves; 0: as long as any
};

// What opens the files of kinds of ports, one for each (struct backend_program). Each may change
// `settings` and `length`, and set the others. Returns 0 or -1.
int backend_block_prepare(struct backend_launch *launch, struct error *err);
int backend_http_prepare(struct backend_launch *launch, struct error *err);
int backend_serve_prepare(struct backend_launch *launch, struct error *err);
int backend_store_prepare(struct backend_launch *launch, struct error *err);
int backend_tool_prepare(struct backend_launch *launch, struct error *err);

#endif
