// SPDX-License-Identifier: Apache-2.0
// The system calls of guillotine-store once it serves a model, as data: those of any backend
// process, and what two open files and the system's allocator need. None takes a path.
#ifndef DEVICES_STORE_RULES_H
#define DEVICES_STORE_RULES_H

#include <sys/mman.h>

#include "backend_rules.h"

#define STORE_READ_FILTER  1u
#define STORE_WRITE_FILTER 2u
#define STORE_FILTERS      (STORE_READ_FILTER | STORE_WRITE_FILTER)

// The files have numbers of their own.
#define STORE_DATABASE_FD 40
#define STORE_JOURNAL_FD  41

#define STORE_MAPPED (MAP_PRIVATE | MAP_ANONYMOUS)

static const struct seccomp_rule store_rules[] = {
    BACKEND_RULES(STORE_FILTERS),
    {SYS_pread64, STORE_FILTERS, 0, STORE_DATABASE_FD, -1, 0, "read pages"},
    {SYS_lseek, STORE_FILTERS, 0, STORE_DATABASE_FD, -1, 0, "size of the database"},
    {SYS_pread64, STORE_WRITE_FILTER, 0, STORE_JOURNAL_FD, -1, 0, "undo a transaction"},
    {SYS_lseek, STORE_WRITE_FILTER, 0, STORE_JOURNAL_FD, -1, 0, "size of the journal"},
    {SYS_pwrite64, STORE_WRITE_FILTER, 0, STORE_DATABASE_FD, -1, 0, "write pages"},
    {SYS_pwrite64, STORE_WRITE_FILTER, 0, STORE_JOURNAL_FD, -1, 0, "write old pages first"},
    {SYS_fdatasync, STORE_WRITE_FILTER, 0, STORE_DATABASE_FD, -1, 0, "commit"},
    {SYS_fdatasync, STORE_WRITE_FILTER, 0, STORE_JOURNAL_FD, -1, 0, "commit"},
    {SYS_ftruncate, STORE_WRITE_FILTER, 0, STORE_DATABASE_FD, -1, 0, "undo growth"},
    {SYS_ftruncate, STORE_WRITE_FILTER, 0, STORE_JOURNAL_FD, -1, 0, "empty the journal"},
    {SYS_getrandom, STORE_FILTERS, SECCOMP_ANY, "numbers of journals"},
    {SYS_brk, STORE_FILTERS, SECCOMP_ANY, "memory, which RLIMIT_AS bounds"},
    {SYS_mmap, STORE_FILTERS, 2, PROT_READ | PROT_WRITE, 3, STORE_MAPPED, "memory"},
    {SYS_munmap, STORE_FILTERS, SECCOMP_ANY, "memory"},
    {SYS_mremap, STORE_FILTERS, SECCOMP_ANY, "memory"},
};

#define STORE_RULE_COUNT (sizeof(store_rules) / sizeof(store_rules[0]))

#endif
