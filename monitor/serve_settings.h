// SPDX-License-Identifier: Apache-2.0
// The settings of a serve port as the supervisor keeps them, and the sockets that clients find.
#ifndef MONITOR_SERVE_SETTINGS_H
#define MONITOR_SERVE_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "error.h"
#include "serve_grant.h"

struct serve_place {
    bool is_unix;
    char path[PATH_MAX];             // of a Unix socket; empty: NAME.serve in the runtime directory
    struct sockaddr_storage address; // else: of the loopback
    socklen_t address_length;
    int fd;     // listening, or -1
    bool bound; // `path` is ours to remove
};

struct serve_settings {
    struct serve_grant grant;                       // without the token
    char token_file[PATH_MAX];                      // empty: none is asked for
    struct serve_place places[SERVE_LISTENERS_MAX]; // grant.listeners of them
};

#endif
