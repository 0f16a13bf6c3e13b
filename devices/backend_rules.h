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

// What every backend process needs, whatever its filters are.
#define BACKEND_RULES(filters)                                                                     \
    {SYS_ppoll, filters, SECCOMP_ANY, "sleep until the VMM or the supervisor rings"},              \
        {SYS_read, filters, 2, 8, 0, BACKEND_DOORBELL_FD, "drain its doorbell: 8 bytes"},          \
        {SYS_write, filters, 2, 8, -1, 0, "signal an eventfd: 8 bytes"},                           \
        {SYS_clock_gettime, filters, SECCOMP_ANY, "clocks, where the vDSO cannot read them"},      \
        {SYS_sendmsg, filters, 0, 3, -1, 0, "tell the supervisor: ready, or failed"},              \
    {                                                                                              \
        SYS_exit_group, filters, SECCOMP_ANY, "end, if the supervisor cannot be told"              \
    }

static const struct seccomp_rule backend_rules[] = {BACKEND_RULES(BACKEND_FILTER)};

#define BACKEND_RULE_COUNT (sizeof(backend_rules) / sizeof(backend_rules[0]))

#endif
