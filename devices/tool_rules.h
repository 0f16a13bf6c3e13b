// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-tool once it listens to a server, as data: those of any backend
// process, two pipes or sockets, and the allocator's. None takes a path or makes a
// process.
#ifndef DEVICES_TOOL_RULES_H
#define DEVICES_TOOL_RULES_H

#include <sys/mman.h>

#include "http_rules.h"

#define TOOL_FILTER     1u
#define DESCRIBE_FILTER 2u // of guillotine-tool describe, which serves no model
#define TOOL_FILTERS    (TOOL_FILTER | DESCRIBE_FILTER)

// The same for servers that are somewhere else.
#define TOOL_REMOTE_FILTER     4u
#define DESCRIBE_REMOTE_FILTER 8u
#define REMOTE_FILTERS         (TOOL_REMOTE_FILTER | DESCRIBE_REMOTE_FILTER)
#define DESCRIBE_FILTERS       (DESCRIBE_FILTER | DESCRIBE_REMOTE_FILTER)

// The pipes have numbers of their own.
#define TOOL_FROM_SERVER_FD 40
#define TOOL_TO_SERVER_FD   41

// Of guillotine-tool describe: the grant, and where it says what the server has.
#define TOOL_GRANT_FD  3
#define TOOL_REPORT_FD 4
#define TOOL_HTTP_FD   5 // and those behind it: TOOL_FD_HTTP_GRANT...

#define TOOL_MAPPED (MAP_PRIVATE | MAP_ANONYMOUS)

static const struct seccomp_rule tool_rules[] = {
    BACKEND_RULES(TOOL_FILTER | TOOL_REMOTE_FILTER),
    HTTP_RULES(REMOTE_FILTERS),
    {SYS_ppoll, DESCRIBE_FILTERS, SECCOMP_ANY, "wait for the server"},
    {SYS_write, DESCRIBE_FILTERS, 0, TOOL_REPORT_FD, -1, 0, "say what the server has"},
    {SYS_clock_gettime, DESCRIBE_FILTERS, SECCOMP_ANY, "clocks, where the vDSO cannot read them"},
    {SYS_exit_group, DESCRIBE_FILTERS, SECCOMP_ANY, "end"},
    {SYS_read, TOOL_FILTERS, 0, TOOL_FROM_SERVER_FD, -1, 0, "what the server says"},
    {SYS_write, TOOL_FILTERS, 0, TOOL_TO_SERVER_FD, -1, 0, "calls"},
    {SYS_brk, TOOL_FILTERS, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},
    {SYS_mmap, TOOL_FILTERS, 2, PROT_READ | PROT_WRITE, 3, TOOL_MAPPED, "memory"},
    {SYS_munmap, TOOL_FILTERS, SECCOMP_ANY, "memory"},
    {SYS_mremap, TOOL_FILTERS, SECCOMP_ANY, "memory"},
    {SYS_getrandom, TOOL_FILTERS, SECCOMP_ANY, "seeds of hash tables"},
    {SYS_sysinfo, TOOL_FILTERS | REMOTE_FILTERS, SECCOMP_ANY,
     "qsort asks how much memory there is"},
};

#define TOOL_RULE_COUNT (sizeof(tool_rules) / sizeof(tool_rules[0]))

#endif
