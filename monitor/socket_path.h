// SPDX-License-Identifier: Apache-2.0
// Addresses of Unix sockets, whose paths may be longer than these addresses are.
#ifndef MONITOR_SOCKET_PATH_H
#define MONITOR_SOCKET_PATH_H

#include <sys/un.h>

#include "error.h"

// Fills *address with a short name for the absolute path `path`, by way of a descriptor of its
// folder: *folder, which has to stay open while the address is used and is the caller's to close
// (-1 on failure). Returns 0 or -1.
int socket_path_address(struct sockaddr_un *address, const char *path, int *folder,
                        struct error *err);

// Connects to the stream socket at `path`. Returns a descriptor, or -1 with *err set, err->code the
// reason.
int socket_path_connect(const char *path, struct error *err);

#endif
