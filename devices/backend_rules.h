// SPDX-License-Identifier: Apache-2.0
// The system calls of a backend process after lock-down, as data. It has one thread, which serves
// one queue and never returns: nothing is mapped, opened, received or joined any more.
#ifndef DEVICES_BACKEND_RULES_H
#define DEVICES_BACKEND_RULES_H

#include <sys/syscall.h>

#include "seccomp_rule.h"

#define BACKEND_FILTER 1u

// The one eventfd that a backend process reads.
#define BACKEND_DOORBELL_FD 32

static const struct seccomp_rule backend_rules[] = {
    {SYS_ppoll, BACKEND_FILTER, SECCOMP_ANY, "sleep until the VMM or the supervisor rings"},
    {SYS_read, BACKEND_FILTER, 2, 8, 0, BACKEND_DOORBELL_FD, "drain its doorbell: 8 bytes"},
    {SYS_write, BACKEND_FILTER, 2, 8, -1, 0, "signal an eventfd: 8 bytes"},
    {SYS_clock_gettime, BACKEND_FILTER, SECCOMP_ANY, "clocks, where the vDSO cannot read them"},
    {SYS_sendmsg, BACKEND_FILTER, 0, 3, -1, 0, "tell the supervisor: ready, or failed"},
    {SYS_exit_group, BACKEND_FILTER, SECCOMP_ANY, "end, if the supervisor cannot be told"},
};

#define BACKEND_RULE_COUNT (sizeof(backend_rules) / sizeof(backend_rules[0]))

#endif
