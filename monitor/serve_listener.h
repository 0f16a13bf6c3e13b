// SPDX-License-Identifier: Apache-2.0
// The sockets of a serve port: opened by the supervisor, served by guillotine-serve.
#ifndef MONITOR_SERVE_LISTENER_H
#define MONITOR_SERVE_LISTENER_H

#include "serve_settings.h"

// Clients that were told why they are not served, and that may not have read it yet.
#define SERVE_FAREWELLS 16u

struct serve_farewells {
    int fds[SERVE_FAREWELLS]; // 0: none
    unsigned next;
};

// Listens at all places. A Unix socket of an earlier run is replaced, one that somebody listens at
// is not. What was opened before a failure stays open: serve_listeners_close.
int serve_listeners_open(struct serve_settings *settings, const char *runtime_dir,
                         const char *vm_name, struct error *err);

// Tells those who have connected at `fd`, at most a few, that the VM's level (its name, or another
// word for why) does not let them in: a reply of HTTP that needs no request to be read.
void serve_listener_refuse(int fd, const char *why, struct serve_farewells *farewells);

// Stops listening, removes the sockets' files, drops clients.
void serve_listeners_close(struct serve_settings *settings, struct serve_farewells *farewells);

#endif
