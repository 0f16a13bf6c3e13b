// SPDX-License-Identifier: Apache-2.0
// Ports for the processes of a Linux guest.
#include "stream_client.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Tests have Unix sockets NUMBER in this folder instead of a host behind vsock.
#define STREAMS_FOLDER "GUILLOTINE_STREAMS"

static int connect_to(int domain, const void *address, socklen_t length)
{
    int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, address, length) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static int dial(uint32_t number)
{
    const char *folder = getenv(STREAMS_FOLDER);
    if (folder) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%u", folder, number);
        if (n < 0 || (size_t)n >= sizeof(address.sun_path)) {
            errno = ENAMETOOLONG;
            return -1;
        }
        return connect_to(AF_UNIX, &address, sizeof(address));
    }
    const struct sockaddr_vm address = {
        .svm_family = AF_VSOCK,
        .svm_port = number,
        .svm_cid = STREAM_HOST_CID,
    };
    return connect_to(AF_VSOCK, &address, sizeof(address));
}

static int read_all(int fd, void *target, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = read(fd, (uint8_t *)target + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ECONNRESET;
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int write_all(int fd, const void *source, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = send(fd, (const uint8_t *)source + done, length - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int read_table(int fd, struct stream_table_entry entries[STREAM_PORTS_MAX])
{
    struct stream_table table;
    if (read_all(fd, &table, sizeof(table)) < 0)
        return -1;
    if (memcmp(table.format, STREAM_FORMAT, sizeof(STREAM_FORMAT)) ||
        table.entry_size != sizeof(entries[0]) || table.count > STREAM_PORTS_MAX) {
        errno = EPROTO;
        return -1;
    }
    if (read_all(fd, entries, table.count * sizeof(entries[0])) < 0)
        return -1;
    for (uint32_t i = 0; i < table.count; i++)
        entries[i].name[sizeof(entries[i].name) - 1] = '\0';
    return (int)table.count;
}

int stream_list(struct stream_table_entry entries[STREAM_PORTS_MAX])
{
    int fd = dial(STREAM_TABLE_PORT);
    if (fd < 0)
        return -1;
    int count = read_table(fd, entries);
    int code = errno;
    close(fd);
    errno = code;
    return count;
}

int stream_open(struct stream *stream, uint32_t kind, const char *name)
{
    struct stream_table_entry entries[STREAM_PORTS_MAX];
    int count = stream_list(entries);
    *stream = (struct stream){.fd = -1};
    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        const struct stream_table_entry *entry = &entries[i];
        if (name ? strcmp(entry->name, name) : entry->kind != kind)
            continue;
        if (!entry->vsock_port || entry->kind != kind) {
            errno = ENOTSUP;
            return -1;
        }
        stream->max_request_bytes = entry->max_request_bytes;
        stream->max_reply_bytes = entry->max_reply_bytes;
        stream->fd = dial(entry->vsock_port);
        return stream->fd < 0 ? -1 : 0;
    }
    errno = ENOENT;
    return -1;
}

void stream_close(struct stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
}

int stream_call(struct stream *stream, uint32_t operation, uint32_t argument, const void *payload,
                uint32_t length, void *reply, uint32_t size, uint32_t *reply_length)
{
    const struct port_request_header request = {
        .operation = operation,
        .cookie = ++stream->cookie,
        .length = length,
        .argument = argument,
    };
    struct port_reply_header header;
    *reply_length = 0;
    if (length > stream->max_request_bytes) {
        errno = EMSGSIZE;
        return -1;
    }
    if (write_all(stream->fd, &request, sizeof(request)) < 0 ||
        write_all(stream->fd, payload, length) < 0 ||
        read_all(stream->fd, &header, sizeof(header)) < 0)
        return -1;
    if (header.cookie != request.cookie || header.length > size || header.status > INT32_MAX) {
        errno = header.cookie != request.cookie ? EPROTO : EMSGSIZE;
        return -1;
    }
    if (read_all(stream->fd, reply, header.length) < 0)
        return -1;
    *reply_length = header.length;
    return (int)header.status;
}

const char *stream_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {PORT_STATUS_OK, "done"},
        {PORT_STATUS_NOT_FOUND, "what was named does not exist"},
        {PORT_STATUS_FAILED, "the backend could not do it"},
        {PORT_STATUS_DENIED, "denied by policy"},
        {PORT_STATUS_INVALID, "not a request of this port"},
        {PORT_STATUS_BROKEN, "nobody is at the other end"},
        {PORT_STATUS_TOO_LARGE, "too large"},
        {PORT_STATUS_LOST, "the backend died with the request"},
        {PORT_STATUS_CLOSED, "the port is closed"},
        {PORT_STATUS_TIMED_OUT, "the backend did not answer in time"},
        {PORT_STATUS_DOWN, "the backend is down"},
        {PORT_STATUS_EXHAUSTED, "a total is used up"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return status < 0 ? strerror(errno) : "unknown status";
}
