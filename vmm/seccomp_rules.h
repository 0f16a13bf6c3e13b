// SPDX-License-Identifier: Apache-2.0
// The system calls of each thread kind of the VMM after lock-down, as data.
#ifndef VMM_SECCOMP_RULES_H
#define VMM_SECCOMP_RULES_H

#include <linux/kvm.h>
#include <signal.h>
#include <sys/syscall.h>

#include "seccomp_rule.h"

enum seccomp_thread {
    SECCOMP_VCPU = 1,
    SECCOMP_POLLER = 2,
    SECCOMP_CONTROL = 4,
    SECCOMP_WATCHDOG = 8,
};

static const struct seccomp_rule seccomp_rules[] = {
    {SYS_ioctl, SECCOMP_VCPU, 1, KVM_RUN, 2, 0, "enter the guest; no other ioctl"},
    {SYS_rt_sigreturn, SECCOMP_VCPU | SECCOMP_CONTROL, SECCOMP_ANY, "return from a kick"},
    {SYS_futex, SECCOMP_VCPU | SECCOMP_POLLER | SECCOMP_CONTROL | SECCOMP_WATCHDOG, SECCOMP_ANY,
     "park and unpark vCPUs, wait for threads to start and to stop"},
    {SYS_write, SECCOMP_VCPU | SECCOMP_POLLER | SECCOMP_CONTROL | SECCOMP_WATCHDOG, 2, 8, -1, 0,
     "signal an eventfd: 8 bytes"},
    {SYS_clock_gettime, SECCOMP_VCPU | SECCOMP_POLLER | SECCOMP_CONTROL | SECCOMP_WATCHDOG,
     SECCOMP_ANY, "clocks, where the vDSO cannot read them"},
    {SYS_exit_group, SECCOMP_VCPU | SECCOMP_POLLER | SECCOMP_CONTROL, SECCOMP_ANY, "end"},
    {SYS_ppoll, SECCOMP_POLLER | SECCOMP_CONTROL | SECCOMP_WATCHDOG, SECCOMP_ANY,
     "sleep until there is work"},
    {SYS_read, SECCOMP_POLLER | SECCOMP_CONTROL, 2, 8, -1, 0, "drain an eventfd: 8 bytes"},
    {SYS_restart_syscall, SECCOMP_CONTROL, SECCOMP_ANY, "a timed futex goes on after SIGCONT"},
    {SYS_recvmsg, SECCOMP_CONTROL, 0, 3, -1, 0, "messages of the supervisor"},
    {SYS_sendmsg, SECCOMP_CONTROL, 0, 3, -1, 0, "answers to the supervisor"},
    {SYS_tgkill, SECCOMP_CONTROL | SECCOMP_WATCHDOG, 0, SECCOMP_PID_PLACEHOLDER, 2, SIGUSR1,
     "kick own vCPU threads"},
    {SYS_kill, SECCOMP_WATCHDOG, 0, SECCOMP_PID_PLACEHOLDER, 1, SIGKILL, "end the own process"},
};

#define SECCOMP_RULE_COUNT (sizeof(seccomp_rules) / sizeof(seccomp_rules[0]))

#endif
