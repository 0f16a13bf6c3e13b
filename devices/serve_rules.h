// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-serve once it serves a model, as data: those of any backend
// process, connections that somebody makes to it, and the allocator's. It opens and connects to
// nothing.
#ifndef DEVICES_SERVE_RULES_H
#define DEVICES_SERVE_RULES_H

#include <linux/futex.h>
#include <sys/mman.h>

#include "backend_rules.h"

#define SERVE_FILTER 1u

static const struct seccomp_rule serve_rules[] = {
    BACKEND_RULES(SERVE_FILTER),
    {SYS_accept4, SERVE_FILTER, SECCOMP_ANY, "clients"},
    {SYS_recvfrom, SERVE_FILTER, SECCOMP_ANY, "requests"},
    {SYS_sendto, SERVE_FILTER, SECCOMP_ANY, "replies"},
    {SYS_sendmsg, SERVE_FILTER, SECCOMP_ANY, "replies in pieces"},
    {SYS_shutdown, SERVE_FILTER, SECCOMP_ANY, "the end of a connection"},
    {SYS_close, SERVE_FILTER, SECCOMP_ANY, "connections"},
    {SYS_getsockopt, SERVE_FILTER, SECCOMP_ANY, "who a client is"},
    {SYS_setsockopt, SERVE_FILTER, SECCOMP_ANY, "small packets at once"},
    {SYS_getsockname, SERVE_FILTER, SECCOMP_ANY, "libmicrohttpd's notes on a connection"},
    {SYS_fcntl, SERVE_FILTER, 1, 4 /* F_SETFL */, -1, 0, "connections that do not block"},
    {SYS_fcntl, SERVE_FILTER, 1, 3 /* F_GETFL */, -1, 0, "connections that do not block"},
    {SYS_epoll_wait, SERVE_FILTER, SECCOMP_ANY, "which connection is ready"},
    {SYS_epoll_pwait, SERVE_FILTER, SECCOMP_ANY, "which connection is ready"},
    {SYS_epoll_ctl, SERVE_FILTER, SECCOMP_ANY, "connections that come and go"},
    {SYS_poll, SERVE_FILTER, SECCOMP_ANY, "which client has gone"},
    {SYS_read, SERVE_FILTER, 2, 8, -1, 0, "eventfds and the timer: 8 bytes"},
    {SYS_timerfd_settime, SERVE_FILTER, SECCOMP_ANY, "deadlines"},
    {SYS_brk, SERVE_FILTER, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},
    {SYS_mmap, SERVE_FILTER, 2, PROT_READ | PROT_WRITE, 3, MAP_PRIVATE | MAP_ANONYMOUS, "memory"},
    {SYS_munmap, SERVE_FILTER, SECCOMP_ANY, "memory"},
    {SYS_mremap, SERVE_FILTER, SECCOMP_ANY, "memory"},
    {SYS_madvise, SERVE_FILTER, SECCOMP_ANY, "memory that is given back"},
    {SYS_getrandom, SERVE_FILTER, SECCOMP_ANY, "names of replies"},
    {SYS_futex, SERVE_FILTER, 1, FUTEX_WAKE_PRIVATE, -1, 0, "locks that nobody waits for"},
};

#define SERVE_RULE_COUNT (sizeof(serve_rules) / sizeof(serve_rules[0]))

#endif
