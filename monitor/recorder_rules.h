// SPDX-License-Identifier: Apache-2.0
// The system calls of the recorder after lock-down, as data. It opens files only in the folder that
// it was given.
#ifndef MONITOR_RECORDER_RULES_H
#define MONITOR_RECORDER_RULES_H

#include <sys/syscall.h>

#include "recorder_protocol.h"
#include "seccomp_rule.h"

#define RECORDER_FILTER 1u

static const struct seccomp_rule recorder_rules[] = {
    {SYS_ppoll, RECORDER_FILTER, SECCOMP_ANY, "sleep until the supervisor rings"},
    {SYS_read, RECORDER_FILTER, 2, 8, -1, 0, "drain an eventfd: 8 bytes"},
    {SYS_write, RECORDER_FILTER, SECCOMP_ANY, "signal an eventfd; tell the witness"},
    {SYS_pread64, RECORDER_FILTER, SECCOMP_ANY, "read the log and its checkpoint"},
    {SYS_pwrite64, RECORDER_FILTER, SECCOMP_ANY, "write the log and its checkpoint"},
    {SYS_openat, RECORDER_FILTER, 0, RECORDER_FOLDER_FD, -1, 0, "the log's files"},
    {SYS_faccessat, RECORDER_FILTER, 0, RECORDER_FOLDER_FD, -1, 0, "is there a next file?"},
    {SYS_renameat, RECORDER_FILTER, 0, RECORDER_FOLDER_FD, 2, RECORDER_FOLDER_FD,
     "replace the checkpoint"},
    {SYS_fcntl, RECORDER_FILTER, SECCOMP_ANY, "close-on-exec, where openat does not set it"},
    {SYS_fstat, RECORDER_FILTER, SECCOMP_ANY, "how long a file is"},
    {SYS_newfstatat, RECORDER_FILTER, SECCOMP_ANY, "how long a file is"},
    {SYS_fdatasync, RECORDER_FILTER, SECCOMP_ANY, "make records durable"},
    {SYS_fsync, RECORDER_FILTER, SECCOMP_ANY, "make checkpoints durable"},
    {SYS_ftruncate, RECORDER_FILTER, SECCOMP_ANY, "cut back to whole records"},
    {SYS_close, RECORDER_FILTER, SECCOMP_ANY, "files that are done"},
    {SYS_clock_gettime, RECORDER_FILTER, SECCOMP_ANY, "clocks, where the vDSO cannot read them"},
    {SYS_recvmsg, RECORDER_FILTER, 0, RECORDER_CHANNEL_FD, -1, 0, "orders of the supervisor"},
    {SYS_sendmsg, RECORDER_FILTER, 0, RECORDER_CHANNEL_FD, -1, 0, "tell the supervisor"},
    {SYS_exit_group, RECORDER_FILTER, SECCOMP_ANY, "end"},
};

#define RECORDER_RULE_COUNT (sizeof(recorder_rules) / sizeof(recorder_rules[0]))

#endif
