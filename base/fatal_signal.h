// SPDX-License-Identifier: Apache-2.0
// The last act of a process that a fatal signal ends: it shuts a gate, then dies.
#ifndef BASE_FATAL_SIGNAL_H
#define BASE_FATAL_SIGNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Enough for a signal frame with AVX-512 and AMX state (arch/x86: AT_MINSIGSTKSZ) and the handler.
#define FATAL_SIGNAL_STACK_BYTES (32u << 10)

// What the handler stores, in this order. Where nothing is mapped any more, as at the end of a run,
// the store itself is what kills the process.
struct fatal_signal_action {
    _Atomic uint32_t *word; // gets `value` unless it is greater already
    uint32_t value;
    _Atomic uint32_t *cause; // gets `cause_base` plus the signal's number, unless it is not 0
    uint32_t cause_base;
    uint32_t cause_memory; // instead, for an uncorrected memory error (BUS_MCEERR_AR, _AO)
    bool silent; // dies without a system call, for processes whose filters allow none: SIGILL
};

// Handles SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP and SIGSYS from now on, with a copy of
// `action`: stores, then dies of the same signal (or SIGILL, see `silent`). To be called once.
// Threads that have no alternate stack cannot survive the exhaustion of their own for long enough:
// they die by the kernel's hand, without the stores.
int fatal_signal_install(const struct fatal_signal_action *action, struct error *err);

// Gives the calling thread an alternate stack: FATAL_SIGNAL_STACK_BYTES that are nobody else's and
// stay as long as the thread does.
int fatal_signal_use_stack(void *stack, struct error *err);

#endif
