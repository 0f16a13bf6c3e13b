// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-loader before it reads a byte of a kernel, as data.
#ifndef MONITOR_LINUX_LOADER_RULES_H
#define MONITOR_LINUX_LOADER_RULES_H

#include <sys/syscall.h>

#include "linux_layout.h"
#include "seccomp_rule.h"

#define LOADER_FILTER 1u

static const struct seccomp_rule loader_rules[] = {
    {SYS_pread64, LOADER_FILTER, SECCOMP_ANY, "read kernel and initrd"},
    {SYS_sendfile, LOADER_FILTER, SECCOMP_ANY, "copy them into the memory's file"},
    {SYS_lseek, LOADER_FILTER, SECCOMP_ANY, "where in it"},
    {SYS_sendmsg, LOADER_FILTER, 0, LINUX_LOADER_FD_CHANNEL, -1, 0, "answer"},
    {SYS_exit_group, LOADER_FILTER, SECCOMP_ANY, "end"},
};

#define LOADER_RULE_COUNT (sizeof(loader_rules) / sizeof(loader_rules[0]))

#endif
