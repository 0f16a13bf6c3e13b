// SPDX-License-Identifier: Apache-2.0
// Runs in a Linux guest: many processes make requests of a loopback port through vsock streams, and
// check every byte that comes back.
//
// stream_probe PROCESSES REQUESTS
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port_abi.h"
#include "stream_abi.h"

#define BYTES_MAX 65536u

static int dial(unsigned number)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = number, .svm_cid = STREAM_HOST_CID};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static int all(int fd, void *bytes, size_t length, int sends)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = sends ? write(fd, (uint8_t *)bytes + done, length - done)
                          : read(fd, (uint8_t *)bytes + done, length - done);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

// The vsock port of the loopback port, from the table.
static unsigned find_port(void)
{
    struct stream_table table;
    struct stream_table_entry entry;
    unsigned found = 0;
    int fd = dial(STREAM_TABLE_PORT);
    if (fd < 0 || all(fd, &table, sizeof(table), 0) < 0 || strcmp(table.format, STREAM_FORMAT))
        return 0;
    for (uint32_t i = 0; i < table.count && all(fd, &entry, sizeof(entry), 0) == 0; i++) {
        printf("port %s kind %u at %u\n", entry.name, entry.kind, entry.vsock_port);
        if (entry.kind == PORT_KIND_LOOPBACK)
            found = entry.vsock_port;
    }
    char more;
    if (read(fd, &more, 1) != 0)
        printf("the table does not end\n");
    close(fd);
    return found;
}

static int ask(int fd, uint64_t cookie, uint32_t length)
{
    static uint8_t out[BYTES_MAX], in[BYTES_MAX];
    struct port_request_header header = {
        .operation = LOOPBACK_ECHO, .cookie = cookie, .length = length};
    struct port_reply_header reply;
    for (uint32_t i = 0; i < length; i++)
        out[i] = (uint8_t)(i * 7 + cookie);
    if (all(fd, &header, sizeof(header), 1) < 0 || all(fd, out, length, 1) < 0 ||
        all(fd, &reply, sizeof(reply), 0) < 0)
        return -1;
    if (reply.status || reply.cookie != cookie || reply.length != length)
        return -1;
    return all(fd, in, length, 0) == 0 && !memcmp(in, out, length) ? 0 : -1;
}

static int work(unsigned number, unsigned process, unsigned requests)
{
    srand(process + 1);
    int fd = dial(number);
    if (fd < 0)
        return 1;
    for (unsigned i = 0; i < requests; i++) {
        uint32_t length = rand() % 4 ? (uint32_t)rand() % 512 : (uint32_t)rand() % BYTES_MAX;
        if (ask(fd, (uint64_t)process << 32 | i, length) < 0)
            return 2;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned processes = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    unsigned requests = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    setvbuf(stdout, NULL, _IONBF, 0);
    unsigned number = find_port();
    if (!number)
        return 1;
    // What is not there is refused, and a malformed request resets its stream alone.
    int nobody = dial(22);
    printf("nobody: %d %s\n", nobody, strerror(errno));
    struct port_request_header bad = {.operation = LOOPBACK_ECHO, .flags = 1};
    int fd = dial(number);
    char byte;
    all(fd, &bad, sizeof(bad), 1);
    ssize_t after = read(fd, &byte, 1);
    printf("malformed: %s\n", after < 0 ? strerror(errno) : after ? "answered" : "ended");
    close(fd);
    for (unsigned i = 0; i < processes; i++) {
        if (fork() == 0)
            _exit(work(number, i, requests));
    }
    unsigned good = 0;
    int status;
    while (wait(&status) > 0)
        good += WIFEXITED(status) && !WEXITSTATUS(status);
    printf("streams: %u of %u good\n", good, processes);
    return good == processes ? 0 : 1;
}
