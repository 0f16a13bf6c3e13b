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

// What a process needs that speaks HTTP and TLS, beyond what every backend process does.
#define HTTP_RULES(filters)                                                                        \
    {SYS_socket, filters, 0, AF_INET, -1, 0, "the internet"},                                      \
        {SYS_socket, filters, 0, AF_INET6, -1, 0, "the internet"},                                 \
        {SYS_connect, filters, SECCOMP_ANY, "servers; addresses are checked before"},              \
        {SYS_bind, filters, SECCOMP_ANY, "questions to name servers come from any port"},          \
        {SYS_getsockopt, filters, SECCOMP_ANY, "why a connection failed"},                         \
        {SYS_setsockopt, filters, SECCOMP_ANY, "small packets at once"},                           \
        {SYS_getsockname, filters, SECCOMP_ANY, "curl's notes on a connection"},                   \
        {SYS_getpeername, filters, SECCOMP_ANY, "curl's notes on a connection"},                   \
        {SYS_sendto, filters, SECCOMP_ANY, "requests"},                                            \
        {SYS_recvfrom, filters, SECCOMP_ANY, "replies"},                                           \
        {SYS_poll, filters, SECCOMP_ANY, "which socket is ready"},                                 \
        {SYS_fcntl, filters, 1, F_SETFL, -1, 0, "sockets that do not block"},                      \
        {SYS_fcntl, filters, 1, F_GETFL, -1, 0, "sockets that do not block"},                      \
        {SYS_fcntl, filters, 1, F_SETFD, -1, 0, "c-ares marks its sockets"},                       \
        {SYS_close, filters, SECCOMP_ANY, "sockets"},                                              \
        {SYS_brk, filters, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},                         \
        {SYS_mmap, filters, 2, PROT_READ | PROT_WRITE, 3, MAP_PRIVATE | MAP_ANONYMOUS, "memory"},  \
        {SYS_munmap, filters, SECCOMP_ANY, "memory"},                                              \
        {SYS_mremap, filters, SECCOMP_ANY, "memory"},                                              \
        {SYS_getrandom, filters, SECCOMP_ANY, "keys, numbers of questions"},                       \
        {SYS_futex, filters, 1, FUTEX_WAKE_PRIVATE, -1, 0, "OpenSSL does things once"},            \
    {                                                                                              \
        SYS_getpid, filters, SECCOMP_ANY, "OpenSSL looks whether it was forked"                    \
    }

#define HTTP_FILTER 1u

static const struct seccomp_rule http_rules[] = {
    BACKEND_RULES(HTTP_FILTER),
    HTTP_RULES(HTTP_FILTER),
};

#define HTTP_RULE_COUNT (sizeof(http_rules) / sizeof(http_rules[0]))

#endif
