// SPDX-License-Identifier: Apache-2.0
// A system-call filter for programs of others: a list of what is denied, since what they need
// cannot be named. Denied calls fail with EPERM.
#ifndef BASE_SANDBOX_DENY_H
#define BASE_SANDBOX_DENY_H

#include "error.h"

enum sandbox_deny {
    // Executing programs.
    SANDBOX_DENY_PROGRAMS = 1u << 0,
    // New namespaces, sockets but Unix and Internet ones, and typing into a terminal: for programs
    // that have to stay in the namespaces that they were started in.
    SANDBOX_DENY_WAYS_OUT = 1u << 1,
};

// Denies the calling thread, and what it starts, other processes' memory, kernel modules, mounts,
// keys, clocks, BPF, io_uring and what `also` says. Forbids new privileges. Returns 0 or -1.
int sandbox_deny(unsigned also, struct error *err);

#endif
