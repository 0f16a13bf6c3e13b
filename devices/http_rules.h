// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-http once it serves a model, as data: those of any backend
// process, sockets of the internet, and the allocator's. None takes a path.
#ifndef DEVICES_HTTP_RULES_H
#define DEVICES_HTTP_RULES_H

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "backend_rules.h"

#define HTTP_FILTER 1u

static const struct seccomp_rule http_rules[] = {
    BACKEND_RULES(HTTP_FILTER),
    {SYS_socket, HTTP_FILTER, 0, AF_INET, -1, 0, "the internet"},
    {SYS_socket, HTTP_FILTER, 0, AF_INET6, -1, 0, "the internet"},
    {SYS_connect, HTTP_FILTER, SECCOMP_ANY, "servers; addresses are checked before"},
    {SYS_bind, HTTP_FILTER, SECCOMP_ANY, "questions to name servers come from any port"},
    {SYS_getsockopt, HTTP_FILTER, SECCOMP_ANY, "why a connection failed"},
    {SYS_setsockopt, HTTP_FILTER, SECCOMP_ANY, "small packets at once"},
    {SYS_getsockname, HTTP_FILTER, SECCOMP_ANY, "curl's notes on a connection"},
    {SYS_getpeername, HTTP_FILTER, SECCOMP_ANY, "curl's notes on a connection"},
    {SYS_sendto, HTTP_FILTER, SECCOMP_ANY, "requests"},
    {SYS_recvfrom, HTTP_FILTER, SECCOMP_ANY, "replies"},
    {SYS_poll, HTTP_FILTER, SECCOMP_ANY, "which socket is ready"},
    {SYS_fcntl, HTTP_FILTER, 1, F_SETFL, -1, 0, "sockets that do not block"},
    {SYS_fcntl, HTTP_FILTER, 1, F_GETFL, -1, 0, "sockets that do not block"},
    {SYS_fcntl, HTTP_FILTER, 1, F_SETFD, -1, 0, "c-ares marks its sockets"},
    {SYS_close, HTTP_FILTER, SECCOMP_ANY, "sockets"},
    {SYS_brk, HTTP_FILTER, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},
    {SYS_mmap, HTTP_FILTER, 2, PROT_READ | PROT_WRITE, 3, MAP_PRIVATE | MAP_ANONYMOUS, "memory"},
    {SYS_munmap, HTTP_FILTER, SECCOMP_ANY, "memory"},
    {SYS_mremap, HTTP_FILTER, SECCOMP_ANY, "memory"},
    {SYS_getrandom, HTTP_FILTER, SECCOMP_ANY, "keys, numbers of questions"},
    {SYS_futex, HTTP_FILTER, 1, FUTEX_WAKE_PRIVATE, -1, 0, "OpenSSL does things once"},
    {SYS_getpid, HTTP_FILTER, SECCOMP_ANY, "OpenSSL looks whether it was forked"},
};

#define HTTP_RULE_COUNT (sizeof(http_rules) / sizeof(http_rules[0]))

#endif
