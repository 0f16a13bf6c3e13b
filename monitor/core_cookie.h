// SPDX-License-Identifier: Apache-2.0
// Core scheduling: tasks with different cookies never run on two hardware threads of a core at the
// same time (Documentation/admin-guide/hw-vuln/core-scheduling.rst in the kernel's source).
#ifndef MONITOR_CORE_COOKIE_H
#define MONITOR_CORE_COOKIE_H

#include <stdbool.h>
#include <sys/types.h>

// Gives all threads of a VMM that are named "vcpu" one cookie, which nobody else has. False if the
// kernel has no core scheduling, or the host no hardware threads.
bool core_cookie_give(pid_t vmm);

#endif
