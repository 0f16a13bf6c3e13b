// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors over a Unix SOCK_SEQPACKET socket.
#include "fd_message.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fd_message_send(int socket, const void *data, size_t length, const int *fds, size_t fd_count,
                    struct error *err)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * FD_MESSAGE_MAX_FDS)];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd_count > FD_MESSAGE_MAX_FDS)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "%zu descriptors in one message", fd_count);
    if (fd_count) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.space;
        message.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * fd_count);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "send message");
    if ((size_t)sent != length)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "message sent in part");
    return 0;
}

static int collect_fds(struct msghdr *message, int *fds, size_t *fd_count)
{
    size_t taken = 0;
    int lost = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (taken < *fd_count) {
                fds[taken++] = fd;
            } else {
                close(fd);
                lost = 1;
            }
        }
    }
    *fd_count = taken;
    return lost;
}

ssize_t fd_message_receive(int socket, void *data, size_t size, int *fds, size_t *fd_count,
                           struct error *err)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * FD_MESSAGE_MAX_FDS)];
    } control;
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    ssize_t length;
    do {
        length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        *fd_count = 0;
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "receive message");
    }
    int lost = collect_fds(&message, fds, fd_count);
    if (lost || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        for (size_t i = 0; i < *fd_count; i++)
            close(fds[i]);
        *fd_count = 0;
        return error_set(err, EXIT_STATUS_INTERNAL, EMSGSIZE, "receive message");
    }
    return length;
}
