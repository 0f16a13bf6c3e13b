// SPDX-License-Identifier: Apache-2.0
// What a process still does when a fatal signal ends it: the page says Offline, and it is dead.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fatal_signal.h"

#define OFFLINE 3u
#define BASE    0x100u
#define MEMORY  5u

static struct {
    _Atomic uint32_t level;
    _Atomic uint32_t cause;
} * page;
static _Alignas(64) uint8_t stack[FATAL_SIGNAL_STACK_BYTES];
static _Alignas(64) uint8_t thread_stack[FATAL_SIGNAL_STACK_BYTES];

static void setup(void)
{
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(page, MAP_FAILED);
}

TestSuite(fatal_signal, .init = setup);

// Runs `act` in a child that handles its fatal signals. Returns the signal that ended it.
static int die_of(void (*act)(void), bool silent)
{
    atomic_store(&page->level, 1);
    atomic_store(&page->cause, 0);
    pid_t child = fork();
    if (!child) {
        const struct fatal_signal_action action = {
            .word = &page->level,
            .value = OFFLINE,
            .cause = &page->cause,
            .cause_base = BASE,
            .cause_memory = MEMORY,
            .silent = silent,
        };
        struct error err;
        if (fatal_signal_use_stack(stack, &err) < 0 || fatal_signal_install(&action, &err) < 0)
            _exit(1);
        act();
        _exit(2);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status), "it went on, status %x", status);
    return WTERMSIG(status);
}

static void expect(void (*act)(void), int number, uint32_t cause)
{
    cr_assert_eq(die_of(act, false), number);
    cr_assert_eq(atomic_load(&page->level), OFFLINE);
    cr_assert_eq(atomic_load(&page->cause), cause);
    // A process whose filters allow no call dies as surely.
    cr_assert_eq(die_of(act, true), SIGILL);
    cr_assert_eq(atomic_load(&page->level), OFFLINE);
    cr_assert_eq(atomic_load(&page->cause), cause);
}

static void null_store(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}

static void send_segv(void)
{
    kill(getpid(), SIGSEGV);
}

static void fail_assertion(void)
{
    abort();
}

static void send_bus(void)
{
    kill(getpid(), SIGBUS);
}

static void trap(void)
{
    __builtin_trap();
}

static void divide(void)
{
    __asm__ volatile("xorl %%edx, %%edx\n\txorl %%ecx, %%ecx\n\tdivl %%ecx" ::
                         : "eax", "ecx", "edx", "cc");
}

Test(fatal_signal, faults_and_signals_that_are_sent)
{
    expect(null_store, SIGSEGV, BASE + SIGSEGV);
    expect(send_segv, SIGSEGV, BASE + SIGSEGV);
    expect(fail_assertion, SIGABRT, BASE + SIGABRT);
    expect(send_bus, SIGBUS, BASE + SIGBUS);
    expect(trap, SIGILL, BASE + SIGILL);
    expect(divide, SIGFPE, BASE + SIGFPE);
}

static volatile unsigned bottom = UINT32_MAX; // deeper than any stack

__attribute__((noinline)) static unsigned recurse(unsigned n)
{
    volatile char frame[512];
    frame[n % sizeof(frame)] = (char)n;
    if (n == bottom)
        return 0;
    return recurse(n + 1) + (unsigned)frame[0];
}

static void exhaust(void)
{
    recurse(0);
}

static void *exhaust_thread(void *argument)
{
    struct error err;
    (void)argument;
    if (fatal_signal_use_stack(thread_stack, &err) == 0)
        recurse(0);
    return NULL;
}

static void exhaust_in_thread(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64u << 10); // as the VMM's threads have
    pthread_create(&thread, &attributes, exhaust_thread, NULL);
    pthread_join(thread, NULL);
}

Test(fatal_signal, exhaustion_of_the_stack_of_process_and_thread)
{
    expect(exhaust, SIGSEGV, BASE + SIGSEGV);
    expect(exhaust_in_thread, SIGSEGV, BASE + SIGSEGV);
}

// What the kernel sends for a bad page of memory, which only it may send to another process.
static void send_memory_error(int code)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGBUS;
    info.si_code = code;
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info);
}

static void action_required(void)
{
    send_memory_error(4);
}

static void action_optional(void)
{
    send_memory_error(5);
}

Test(fatal_signal, memory_errors_are_told_from_other_bus_errors)
{
    expect(action_required, SIGBUS, MEMORY);
    expect(action_optional, SIGBUS, MEMORY);
}

static void raised_before(void)
{
    atomic_store(&page->level, 5);
    atomic_store(&page->cause, 2);
    abort();
}

Test(fatal_signal, nothing_is_lowered_and_the_first_cause_stands)
{
    cr_assert_eq(die_of(raised_before, false), SIGABRT);
    cr_assert_eq(atomic_load(&page->level), 5u);
    cr_assert_eq(atomic_load(&page->cause), 2u);
}
