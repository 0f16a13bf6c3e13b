// SPDX-License-Identifier: Apache-2.0
// Starts a program without waiting until it has been loaded.
#ifndef MONITOR_SPAWN_H
#define MONITOR_SPAWN_H

#include <sys/types.h>

#include "error.h"

// Most descriptors that spawn_program hands over.
#define SPAWN_MAX_FDS 16

struct spawn_request {
    const char *path;
    const char *name; // argv[0]; no other argument without `arguments`, never an environment
    const char *const *arguments; // argv, NULL-ended, or NULL; only with `wait`
    int output_fd;                // becomes standard output; 0: /dev/null
    int fds[SPAWN_MAX_FDS];       // become 3, 4, ...; none of them may lie below 3 + fd_count
    unsigned fd_count;
    int wait;        // return only when the program has been loaded: for all but two
    int second;      // the second of the two that nobody waits for
    int keep_stderr; // else standard error is /dev/null, as the other two are
};

// Starts the program in a process group of its own, with no signal blocked and no
// descriptor beyond those handed over. *pidfd is close-on-exec. Returns the process id, or -1. A
// program that cannot be executed ends with status 127: the caller sees it die.
pid_t spawn_program(const struct spawn_request *request, int *pidfd, struct error *err);

// A channel to a program that is to be started. *own does not block: a program that does not read
// must never hold its supervisor up. *remote is to be handed over. Both are the caller's.
int spawn_channel(int *own, int *remote, struct error *err);

#endif
