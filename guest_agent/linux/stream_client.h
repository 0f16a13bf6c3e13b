// SPDX-License-Identifier: Apache-2.0
// Ports for the processes of a Linux guest: a stream for each user of a port (stream_abi.h).
#ifndef LINUX_STREAM_CLIENT_H
#define LINUX_STREAM_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "port_abi.h"
#include "stream_abi.h"

#define STREAM_PORTS_MAX 64u

// An open stream to one port. Not for several threads at once.
struct stream {
    int fd;
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    uint64_t cookie;
};

// Reads the table of ports. Returns how many there are, or -1 with errno.
int stream_list(struct stream_table_entry entries[STREAM_PORTS_MAX]);

// Connects to the port with that name, or, if `name` is NULL, to the first of that kind. Returns 0,
// or -1 with errno (ENOENT: there is no such port; ENOTSUP: it has a device of its own).
int stream_open(struct stream *stream, uint32_t kind, const char *name);

void stream_close(struct stream *stream);

// Makes one request and waits for its reply, of which at most `size` bytes fit. Returns the status
// (enum port_status), or -1 with errno if the stream broke (EMSGSIZE: the request is larger than
// the port takes, or the reply than `size`).
int stream_call(struct stream *stream, uint32_t operation, uint32_t argument, const void *payload,
                uint32_t length, void *reply, uint32_t size, uint32_t *reply_length);

// What a status means, for messages.
const char *stream_status_text(int status);

#endif
