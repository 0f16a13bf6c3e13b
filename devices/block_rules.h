// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-block once it serves a model, as data: those of any backend
// process, and those on its one file.
#ifndef DEVICES_BLOCK_RULES_H
#define DEVICES_BLOCK_RULES_H

#include "backend_rules.h"

#define BLOCK_READ_FILTER  1u
#define BLOCK_WRITE_FILTER 2u
#define BLOCK_FILTERS      (BLOCK_READ_FILTER | BLOCK_WRITE_FILTER)

// The disk has a number of its own.
#define BLOCK_DISK_FD 40

static const struct seccomp_rule block_rules[] = {
    BACKEND_RULES(BLOCK_FILTERS),
    {SYS_pread64, BLOCK_FILTERS, 0, BLOCK_DISK_FD, -1, 0, "read sectors"},
    {SYS_pwrite64, BLOCK_WRITE_FILTER, 0, BLOCK_DISK_FD, -1, 0, "write sectors"},
    {SYS_lseek, BLOCK_WRITE_FILTER, 0, BLOCK_DISK_FD, -1, 0, "where the file ends now"},
    {SYS_fdatasync, BLOCK_WRITE_FILTER, 0, BLOCK_DISK_FD, -1, 0, "flush"},
    {SYS_fallocate, BLOCK_WRITE_FILTER, 0, BLOCK_DISK_FD, -1, 0, "discard, write zeros"},
};

#define BLOCK_RULE_COUNT (sizeof(block_rules) / sizeof(block_rules[0]))

#endif
