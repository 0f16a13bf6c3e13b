// SPDX-License-Identifier: Apache-2.0
// The last act of a process that a fatal signal ends.
#include "fatal_signal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

// Numbers of the kernel's ABI that not every C library names.
#define CODE_MEMORY_ACTION_REQUIRED 4 // BUS_MCEERR_AR
#define CODE_MEMORY_ACTION_OPTIONAL 5 // BUS_MCEERR_AO
#define AUXILIARY_MINSIGSTKSZ       51

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

static struct fatal_signal_action action;

static bool is_memory_error(int number, const siginfo_t *info)
{
    return number == SIGBUS && (info->si_code == CODE_MEMORY_ACTION_REQUIRED ||
                                info->si_code == CODE_MEMORY_ACTION_OPTIONAL);
}

// Nothing here may allocate, lock or trust the state of the process beyond `action`.
static void on_fatal(int number, siginfo_t *info, void *context)
{
    (void)context;
    uint32_t old = atomic_load(action.word);
    while (old < action.value && !atomic_compare_exchange_weak(action.word, &old, action.value))
        continue;
    uint32_t none = 0;
    atomic_compare_exchange_strong(
        action.cause, &none,
        is_memory_error(number, info) ? action.cause_memory : action.cause_base + (uint32_t)number);
    // All fatal signals are blocked here. One that an instruction raises while it is blocked makes
    // the kernel restore the default action and kill the process: no system call is needed.
    if (action.silent)
        __builtin_trap();
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t set;
    sigaction(number, &plain, NULL);
    // Pending while it is blocked: whether it was raised by an instruction or sent by somebody.
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    __builtin_trap();
}

int fatal_signal_install(const struct fatal_signal_action *wanted, struct error *err)
{
    const size_t count = sizeof(fatal_signals) / sizeof(fatal_signals[0]);
    struct sigaction handler = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    handler.sa_sigaction = on_fatal;
    sigemptyset(&handler.sa_mask);
    for (size_t i = 0; i < count; i++)
        sigaddset(&handler.sa_mask, fatal_signals[i]);
    action = *wanted;
    for (size_t i = 0; i < count; i++) {
        if (sigaction(fatal_signals[i], &handler, NULL) < 0)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "handler of signal %d",
                             fatal_signals[i]);
    }
    return 0;
}

int fatal_signal_use_stack(void *stack, struct error *err)
{
    const stack_t alternate = {.ss_sp = stack, .ss_size = FATAL_SIGNAL_STACK_BYTES};
    // What the processor's registers need may be more than any size that was compiled in.
    if (getauxval(AUXILIARY_MINSIGSTKSZ) + 4096 > FATAL_SIGNAL_STACK_BYTES)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "signal frames of this processor need %lu bytes",
                         getauxval(AUXILIARY_MINSIGSTKSZ));
    return sigaltstack(&alternate, NULL) < 0
               ? error_set(err, EXIT_STATUS_INTERNAL, errno, "alternate signal stack")
               : 0;
}
