// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors over a Unix SOCK_SEQPACKET socket: one message, one datagram.
#ifndef BASE_FD_MESSAGE_H
#define BASE_FD_MESSAGE_H

#include <stddef.h>
#include <sys/types.h>

#include "error.h"

// Most descriptors that one message carries.
#define FD_MESSAGE_MAX_FDS 64

// Sends `length` bytes and `fd_count` descriptors (kept by the caller). Returns 0 or -1.
int fd_message_send(int socket, const void *data, size_t length, const int *fds, size_t fd_count,
                    struct error *err);

// Receives one message of at most `size` bytes; a longer one is an error. Received descriptors
// are close-on-exec; *fd_count is the capacity of `fds` on entry and the number received on
// return; more descriptors than that are closed and are an error. Returns the length, 0 when the
// peer closed the socket, or -1 (EAGAIN in err->code if the socket is non-blocking).
ssize_t fd_message_receive(int socket, void *data, size_t size, int *fds, size_t *fd_count,
                           struct error *err);

#endif
