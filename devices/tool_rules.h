// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-tool once it serves a model, as data: those of any backend
// process, two pipes, and the allocator's. None takes a path or makes a process.
#ifndef DEVICES_TOOL_RULES_H
#define DEVICES_TOOL_RULES_H

#include <sys/mman.h>

#include "backend_rules.h"

#define TOOL_FILTER 1u

// The pipes have numbers of their own.
#define TOOL_FROM_SERVER_FD 40
#define TOOL_TO_SERVER_FD   41

static const struct seccomp_rule tool_rules[] = {
    BACKEND_RULES(TOOL_FILTER),
    {SYS_read, TOOL_FILTER, 0, TOOL_FROM_SERVER_FD, -1, 0, "what the server says"},
    {SYS_write, TOOL_FILTER, 0, TOOL_TO_SERVER_FD, -1, 0, "calls"},
    {SYS_brk, TOOL_FILTER, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},
    {SYS_mmap, TOOL_FILTER, 2, PROT_READ | PROT_WRITE, 3, MAP_PRIVATE | MAP_ANONYMOUS, "memory"},
    {SYS_munmap, TOOL_FILTER, SECCOMP_ANY, "memory"},
    {SYS_mremap, TOOL_FILTER, SECCOMP_ANY, "memory"},
    {SYS_getrandom, TOOL_FILTER, SECCOMP_ANY, "seeds of hash tables"},
};

#define TOOL_RULE_COUNT (sizeof(tool_rules) / sizeof(tool_rules[0]))

#endif
