// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors: they arrive whole or not at all, and nothing leaks.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd_message.h"
#include "support.h"

static int pair[2];

static void setup(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
    close(pair[0]);
    close(pair[1]);
}

TestSuite(fd_message, .init = setup, .fini = teardown);

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static ino_t inode(int fd)
{
    struct stat status;
    cr_assert_eq(fstat(fd, &status), 0);
    return status.st_ino;
}

Test(fd_message, data_and_descriptors_pass_in_order)
{
    struct error err;
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    int sent[3] = {pipes[1], pair[0], pipes[0]};
    cr_assert_eq(fd_message_send(pair[0], "hello", 5, sent, 3, &err), 0);
    cr_assert_eq(fd_message_send(pair[0], "next", 4, NULL, 0, &err), 0);

    char data[16];
    int received[8];
    size_t count = COUNT(received);
    cr_assert_eq(fd_message_receive(pair[1], data, sizeof(data), received, &count, &err), 5);
    cr_expect_eq(memcmp(data, "hello", 5), 0);
    cr_assert_eq(count, 3u);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(inode(received[i]), inode(sent[i]));
        cr_expect_neq(received[i], sent[i]);
        cr_expect(fcntl(received[i], F_GETFD) & FD_CLOEXEC);
    }
    // The sender keeps its own, and what arrived is the right end.
    cr_expect_eq(write(received[0], "x", 1), 1);
    cr_expect_eq(read(sent[2], data, 1), 1);

    count = COUNT(received);
    cr_assert_eq(fd_message_receive(pair[1], data, sizeof(data), received, &count, &err), 4);
    cr_expect_eq(count, 0u);
}

Test(fd_message, most_descriptors)
{
    struct error err;
    int sent[FD_MESSAGE_MAX_FDS + 1];
    for (unsigned i = 0; i < COUNT(sent); i++)
        sent[i] = pair[0];
    cr_assert_eq(fd_message_send(pair[0], "m", 1, sent, FD_MESSAGE_MAX_FDS, &err), 0);
    cr_assert_eq(fd_message_send(pair[0], "m", 1, sent, FD_MESSAGE_MAX_FDS + 1, &err), -1);
    char data;
    int received[FD_MESSAGE_MAX_FDS];
    size_t count = COUNT(received);
    cr_assert_eq(fd_message_receive(pair[1], &data, 1, received, &count, &err), 1);
    cr_expect_eq(count, (size_t)FD_MESSAGE_MAX_FDS);
}

Test(fd_message, more_descriptors_than_wanted_are_closed)
{
    struct error err;
    int sent[8];
    for (unsigned i = 0; i < COUNT(sent); i++)
        sent[i] = pair[0];
    for (size_t capacity = 0; capacity < COUNT(sent); capacity++) {
        cr_assert_eq(fd_message_send(pair[0], "m", 1, sent, COUNT(sent), &err), 0);
        unsigned before = open_descriptors();
        char data;
        int received[8];
        size_t count = capacity;
        cr_assert_eq(fd_message_receive(pair[1], &data, 1, received, &count, &err), -1);
        cr_expect_eq(count, 0u);
        cr_expect_eq(err.code, EMSGSIZE);
        cr_expect_eq(open_descriptors(), before, "descriptors leak at capacity %zu", capacity);
    }
}

// Raw: more descriptors in one message than the receiver's control buffer could ever hold.
Test(fd_message, more_descriptors_than_a_message_may_have)
{
    enum { MANY = 200 };
    char control[CMSG_SPACE(sizeof(int) * MANY)] = {0};
    char byte = 'm';
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * MANY);
    for (unsigned i = 0; i < MANY; i++)
        memcpy(CMSG_DATA(header) + i * sizeof(int), &pair[0], sizeof(int));
    cr_assert_eq(sendmsg(pair[0], &message, 0), 1);

    unsigned before = open_descriptors();
    char data;
    int received[FD_MESSAGE_MAX_FDS];
    size_t count = COUNT(received);
    struct error err;
    cr_assert_eq(fd_message_receive(pair[1], &data, 1, received, &count, &err), -1);
    cr_expect_eq(count, 0u);
    cr_expect_eq(open_descriptors(), before);
}

Test(fd_message, too_long_message_is_refused_with_its_descriptors)
{
    struct error err;
    char data[16] = {0};
    int received[2];
    size_t count = 2;
    unsigned before = open_descriptors();
    cr_assert_eq(fd_message_send(pair[0], data, 16, &pair[0], 1, &err), 0);
    cr_expect_eq(fd_message_receive(pair[1], data, 15, received, &count, &err), -1);
    cr_expect_eq(err.code, EMSGSIZE);
    cr_expect_eq(count, 0u);
    cr_expect_eq(open_descriptors(), before);
    // The next message is not affected, and one of just the size passes.
    count = 2;
    cr_assert_eq(fd_message_send(pair[0], data, 16, NULL, 0, &err), 0);
    cr_expect_eq(fd_message_receive(pair[1], data, 16, received, &count, &err), 16);
}

Test(fd_message, peer_gone)
{
    struct error err;
    char data[4];
    int received[1];
    size_t count = 1;
    close(pair[0]);
    cr_expect_eq(fd_message_receive(pair[1], data, sizeof(data), received, &count, &err), 0);
    cr_expect_eq(count, 0u);
    // EPIPE as a value, not SIGPIPE.
    cr_expect_eq(fd_message_send(pair[1], "x", 1, NULL, 0, &err), -1);
    cr_expect_eq(err.code, EPIPE);
    pair[0] = -1;
}

Test(fd_message, non_blocking_says_so)
{
    struct error err = {0};
    char data[4];
    int received[1];
    size_t count = 1;
    cr_assert_eq(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    cr_expect_eq(fd_message_receive(pair[1], data, sizeof(data), received, &count, &err), -1);
    cr_expect_eq(err.code, EAGAIN);
    cr_expect_eq(count, 0u);
}

// An empty datagram is legal on SEQPACKET: its descriptors must not be lost with it.
Test(fd_message, empty_message_with_descriptor)
{
    struct error err;
    char data[4];
    int received[4];
    size_t count = 4;
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = data, .iov_len = 0};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &pair[0], sizeof(int));
    cr_assert_eq(sendmsg(pair[0], &message, 0), 0);
    unsigned before = open_descriptors();
    cr_expect_eq(fd_message_receive(pair[1], data, sizeof(data), received, &count, &err), 0);
    // Reported to the caller, who owns them: the only way not to leak.
    cr_expect_eq(open_descriptors(), before + count);
}
