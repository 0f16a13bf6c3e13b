// SPDX-License-Identifier: Apache-2.0
// The compiled system-call filters, call by call: each one in a child that installs the filter,
// makes the raw call and says whether it lived.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend_process.h"
#include "backend_rules.h"
#include "sandbox.h"
#include "store_filter.h"
#include "store_rules.h"
#include "support.h"
#include "thread_filter.h"
#include "vmm_protocol.h"

#define LAST_CALL 460
#define LIVED     42

// Newer kernels (6.14, 6.18) let these pass whatever the filter. Outside the trampolines that the
// kernel itself maps they do nothing but raise SIGILL or fail.
#define CALL_URETPROBE 335
#define CALL_UPROBE    336

// What runs under a filter of its own. The numbers of the VMM's threads are those of its rules.
enum kind {
    VCPU = SECCOMP_VCPU,
    POLLER = SECCOMP_POLLER,
    CONTROL = SECCOMP_CONTROL,
    WATCHDOG = SECCOMP_WATCHDOG,
    BACKEND = 16,
    STORE_READER = 32,
    STORE_WRITER = 64,
};

#define STORES (STORE_READER | STORE_WRITER)

static const enum kind kinds[] = {VCPU,    POLLER,       CONTROL,     WATCHDOG,
                                  BACKEND, STORE_READER, STORE_WRITER};

static int install(enum kind kind, struct error *err)
{
    if (kind == BACKEND)
        return backend_filter_install(err);
    if (kind == STORE_READER)
        return store_filter_install_reader(err);
    if (kind == STORE_WRITER)
        return store_filter_install_writer(err);
    return thread_filter_install((enum seccomp_thread)kind, err);
}

static long raw(long number, const uint64_t *a)
{
    long result;
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

// Stands for a value that only the child knows.
#define OWN_PID    0xffff000000000001ull
#define OWN_TID    0xffff000000000002ull
#define PARENT_PID 0xffff000000000003ull

struct call {
    long number;
    uint64_t arguments[6];
};

static uint64_t resolve(uint64_t argument)
{
    switch (argument) {
    case OWN_PID:
        return (uint64_t)getpid();
    case OWN_TID:
        return (uint64_t)gettid();
    case PARENT_PID:
        return (uint64_t)getppid();
    default:
        return argument;
    }
}

static void ignore_signal(int number)
{
    (void)number;
}

// The wait status of a child that makes the call under the filter.
static int status_of(enum kind kind, const struct call *call)
{
    static const uint64_t exit_arguments[6] = {LIVED};
    pid_t child = fork();
    if (child == 0) {
        struct error err;
        uint64_t arguments[6];
        const uint64_t kill_arguments[6] = {(uint64_t)getpid(), SIGKILL};
        // What blocks is ended by an alarm; what kills leaves no core.
        const struct itimerval soon = {{0, 0}, {0, 30000}};
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGUSR1, ignore_signal);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGSYS, SIG_DFL);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        for (unsigned i = 0; i < 6; i++)
            arguments[i] = resolve(call->arguments[i]);
        setitimer(ITIMER_REAL, &soon, NULL);
        if (install(kind, &err) < 0)
            _exit(99);
        raw(call->number, arguments);
        if (kind == WATCHDOG)
            raw(SYS_kill, kill_arguments); // the one way to end that it has
        raw(SYS_exit_group, exit_arguments);
        __builtin_trap();
    }
    int status = 0;
    cr_assert_gt(child, 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_not(WIFEXITED(status) && WEXITSTATUS(status) == 99, "filter was not installed");
    return status;
}

static bool killed(enum kind kind, const struct call *call)
{
    int status = status_of(kind, call);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static const struct seccomp_rule *find_rule(const struct seccomp_rule *rules, size_t count,
                                            long number, unsigned filter)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].number == number && (rules[i].filters & filter))
            return &rules[i];
    }
    return NULL;
}

static const struct seccomp_rule *rule_of(long number, enum kind kind)
{
    if (kind == BACKEND)
        return find_rule(backend_rules, BACKEND_RULE_COUNT, number, BACKEND_FILTER);
    if (kind & STORES)
        return find_rule(store_rules, STORE_RULE_COUNT, number,
                         kind == STORE_READER ? STORE_READ_FILTER : STORE_WRITE_FILTER);
    return find_rule(seccomp_rules, SECCOMP_RULE_COUNT, number, kind);
}

Test(sandbox, at_most_20_calls_and_6_for_a_vcpu_or_a_backend)
{
    unsigned all = 0, vcpu = 0, backend = 0;
    for (long number = 0; number <= LAST_CALL; number++) {
        all += rule_of(number, VCPU) || rule_of(number, POLLER) || rule_of(number, CONTROL) ||
               rule_of(number, WATCHDOG);
        vcpu += rule_of(number, VCPU) != NULL;
        backend += rule_of(number, BACKEND) != NULL;
    }
    cr_expect_leq(all, 20u, "%u calls of the VMM", all);
    cr_expect_leq(vcpu, 6u, "%u calls of a vCPU thread", vcpu);
    cr_expect_leq(backend, 6u, "%u calls of a backend process", backend);
    for (size_t i = 0; i < SECCOMP_RULE_COUNT; i++)
        cr_expect_neq(seccomp_rules[i].reason[0], '\0', "rule %zu has no reason", i);
    for (size_t i = 0; i < BACKEND_RULE_COUNT; i++)
        cr_expect_neq(backend_rules[i].reason[0], '\0', "rule %zu has no reason", i);
}

// With all arguments zero: what the table allows without a condition lives, all else dies.
static void every_call(enum kind kind)
{
    unsigned lived = 0;
    for (long number = 0; number <= LAST_CALL; number++) {
        const struct call call = {number, {0}};
        const struct seccomp_rule *rule = rule_of(number, kind);
        bool allowed = rule && rule->argument < 0;
        if (number == CALL_URETPROBE || number == CALL_UPROBE)
            continue;
        cr_assert_eq(killed(kind, &call), !allowed, "call %ld %s", number,
                     allowed ? "is in the table and dies" : "is not in the table and lives");
        lived += allowed;
    }
    cr_expect_geq(lived, 3u);
    cr_expect_leq(lived, kind & STORES ? 7u : 6u);
}

Test(sandbox, every_call_of_a_vcpu, .timeout = 50)
{
    every_call(VCPU);
}

Test(sandbox, every_call_of_the_poller, .timeout = 50)
{
    every_call(POLLER);
}

Test(sandbox, every_call_of_the_control_thread, .timeout = 50)
{
    every_call(CONTROL);
}

Test(sandbox, every_call_of_the_watchdog, .timeout = 50)
{
    every_call(WATCHDOG);
}

Test(sandbox, every_call_of_a_backend, .timeout = 50)
{
    every_call(BACKEND);
}

Test(sandbox, every_call_of_a_store, .timeout = 50)
{
    every_call(STORE_READER);
    every_call(STORE_WRITER);
}

// Other ways to the same calls: the x32 numbers, and numbers beyond the table.
Test(sandbox, other_numbers)
{
    static const long numbers[] = {0x40000000, 0x40000001, 0x400000ca, 0x40000000 | 231, 461,
                                   1000,       0x7fffffff, -1,         1ll << 32 | 600};
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (size_t i = 0; i < COUNT(numbers); i++)
            cr_expect(killed(kinds[k], &(struct call){numbers[i], {0}}), "number %#lx", numbers[i]);
}

#ifdef __x86_64__
// The 32-bit entry, where 1 is exit and 4 is write.
Test(sandbox, other_architecture)
{
    for (size_t k = 0; k < COUNT(kinds); k++) {
        pid_t child = fork();
        if (child == 0) {
            struct error err;
            const struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (install(kinds[k], &err) < 0)
                _exit(99);
            __asm__ volatile("int $0x80" : : "a"(1), "b"(LIVED) : "memory");
            __builtin_trap();
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        // A kernel without 32-bit entry answers with SIGSEGV: dead as well.
        cr_expect(WIFSIGNALED(status), "status %#x", status);
        cr_expect(WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
    }
}
#endif

// Arguments that the rules ask for: these live ...
Test(sandbox, allowed_arguments)
{
    static const struct {
        unsigned kinds;
        struct call call;
    } cases[] = {
        {VCPU, {SYS_ioctl, {77, KVM_RUN, 0}}},
        {VCPU | POLLER | CONTROL | WATCHDOG | BACKEND | STORES, {SYS_write, {77, 0, 8}}},
        {POLLER | CONTROL, {SYS_read, {77, 0, 8}}},
        {POLLER | CONTROL | BACKEND | STORES, {SYS_read, {BACKEND_DOORBELL_FD, 0, 8}}},
        {CONTROL, {SYS_recvmsg, {3, 0, 0}}},
        {CONTROL | BACKEND | STORES, {SYS_sendmsg, {3, 0, 0}}},
        {STORES, {SYS_pread64, {STORE_DATABASE_FD, 0, 0, 0}}},
        {STORES, {SYS_lseek, {STORE_DATABASE_FD, 0, SEEK_END}}},
        {STORES, {SYS_mmap, {0, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0, 0}}},
        {STORE_WRITER, {SYS_pread64, {STORE_JOURNAL_FD, 0, 0, 0}}},
        {STORE_WRITER, {SYS_pwrite64, {STORE_DATABASE_FD, 0, 0, 0}}},
        {STORE_WRITER, {SYS_pwrite64, {STORE_JOURNAL_FD, 0, 0, 0}}},
        {STORE_WRITER, {SYS_ftruncate, {STORE_JOURNAL_FD, 0}}},
        {STORE_WRITER, {SYS_fdatasync, {STORE_DATABASE_FD}}},
        {CONTROL, {SYS_tgkill, {OWN_PID, OWN_TID, SIGUSR1}}},
        {CONTROL | WATCHDOG, {SYS_tgkill, {OWN_PID, 1, SIGUSR1}}},
        {WATCHDOG, {SYS_kill, {OWN_PID, SIGKILL}}},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t k = 0; k < COUNT(kinds); k++) {
            bool allowed = cases[i].kinds & kinds[k];
            // A signal to itself is delivered to a handler that returns: rt_sigreturn lives too.
            cr_expect_eq(killed(kinds[k], &cases[i].call), !allowed, "case %zu, kind %d", i,
                         kinds[k]);
        }
}

// ... and these do not, in any thread.
Test(sandbox, argument_filters_bite)
{
    static const struct call cases[] = {
        {SYS_ioctl, {77, KVM_RUN, 1}},
        {SYS_ioctl, {77, KVM_RUN, 1ull << 32}},
        {SYS_ioctl, {77, KVM_RUN | 1ull << 32, 0}},
        {SYS_ioctl, {77, KVM_RUN + 1, 0}},
        {SYS_ioctl, {77, KVM_SET_REGS, 0}},
        {SYS_ioctl, {77, KVM_SET_USER_MEMORY_REGION, 0}},
        {SYS_ioctl, {77, 0x5412 /* TIOCSTI */, 0}},
        {SYS_write, {1, 0, 7}},
        {SYS_write, {1, 0, 9}},
        {SYS_write, {1, 0, 0}},
        {SYS_write, {1, 0, 8 | 1ull << 32}},
        {SYS_read, {0, 0, 7}},
        {SYS_read, {0, 0, 4096}},
        {SYS_read, {0, 0, 8 | 1ull << 32}},
        {SYS_recvmsg, {4, 0, 0}},
        {SYS_recvmsg, {0, 0, 0}},
        {SYS_recvmsg, {3 | 1ull << 32, 0, 0}},
        {SYS_sendmsg, {4, 0, 0}},
        {SYS_sendmsg, {UINT32_MAX, 0, 0}},
        {SYS_tgkill, {PARENT_PID, PARENT_PID, SIGUSR1}},
        {SYS_tgkill, {SECCOMP_PID_PLACEHOLDER, 1, SIGUSR1}},
        {SYS_tgkill, {OWN_PID, OWN_TID, SIGKILL}},
        {SYS_tgkill, {OWN_PID, OWN_TID, 0}},
        {SYS_tgkill, {OWN_PID, OWN_TID, SIGUSR2}},
        {SYS_kill, {OWN_PID, SIGUSR1}},
        {SYS_kill, {PARENT_PID, SIGKILL}},
        {SYS_kill, {0, SIGKILL}},
        {SYS_kill, {UINT64_MAX, SIGKILL}},
        {SYS_kill, {SECCOMP_PID_PLACEHOLDER, SIGKILL}},
        {SYS_kill, {OWN_PID, 0}},
        {SYS_tkill, {OWN_TID, SIGUSR1}},
        {SYS_exit, {0}},
        {SYS_pread64, {BACKEND_DOORBELL_FD, 0, 0, 0}},
        {SYS_pwrite64, {1, 0, 0, 0}},
        {SYS_pwrite64, {STORE_JOURNAL_FD + 1, 0, 0, 0}},
        {SYS_ftruncate, {STORE_DATABASE_FD | 1ull << 32, 0}},
        {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
        {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, STORE_DATABASE_FD, 0}},
        {SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE, STORE_DATABASE_FD, 0}},
        {SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t k = 0; k < COUNT(kinds); k++)
            cr_expect(killed(kinds[k], &cases[i]), "case %zu, kind %d", i, kinds[k]);
}

Test(sandbox, unknown_kind)
{
    struct error err;
    cr_expect_eq(thread_filter_install((enum seccomp_thread)16, &err), -1);
    cr_expect_eq(err.status, EXIT_STATUS_INTERNAL);
}

// An operator stops and continues the process while it waits with a time-out. The call, which must
// be one that only the time-out ends, goes on.
static void stop_and_continue(enum kind kind, const struct call *call)
{
    pid_t child = fork();
    if (child == 0) {
        struct error err;
        const uint64_t exit_arguments[6] = {LIVED};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (install(kind, &err) < 0)
            _exit(99);
        raw(call->number, call->arguments);
        raw(SYS_exit_group, exit_arguments);
    }
    int status;
    usleep(50000);
    kill(child, SIGSTOP);
    cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
    cr_assert(WIFSTOPPED(status), "the call did not wait: status %#x", status);
    usleep(20000);
    kill(child, SIGCONT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == LIVED, "killed by signal %d",
              WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

// The kernel resumes a timed futex as restart_syscall, and ppoll as itself.
Test(sandbox, survives_stop_and_continue)
{
    static uint32_t word;
    struct timespec wait = {0, 300000000};
    const struct call futex = {
        SYS_futex,
        {(uint64_t)(uintptr_t)&word, 0x80 /* WAIT_PRIVATE */, 0, (uint64_t)(uintptr_t)&wait}};
    const struct call ppoll = {SYS_ppoll, {0, 0, (uint64_t)(uintptr_t)&wait}};
    stop_and_continue(CONTROL, &futex);
    stop_and_continue(CONTROL, &ppoll);
    stop_and_continue(POLLER, &ppoll);
    stop_and_continue(BACKEND, &ppoll);
}

// The layers of the sandbox: each one is either there or reported as missing.
struct observed {
    int result;
    uint32_t missing;
    int can_open_etc, can_open_proc, can_write_root, ids, no_new_privileges, dumpable, parent_death;
    unsigned long long effective, bounding;
    long core_limit;
};

static void observe(struct observed *seen)
{
    struct error err;
    FILE *status = fopen("/proc/self/status", "r"); // stays open over the change of root
    seen->result = sandbox_enter(&seen->missing, &err);
    seen->can_open_etc = open("/etc/passwd", O_RDONLY) >= 0 || open("../etc/passwd", O_RDONLY) >= 0;
    seen->can_open_proc = open("/proc/self/status", O_RDONLY) >= 0;
    seen->can_write_root = open("/x", O_CREAT | O_WRONLY, 0600) >= 0 || mkdir("/d", 0700) == 0;
    seen->ids = getuid() == 0 || geteuid() == 0 || getgid() == 0 || getegid() == 0;
    seen->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    seen->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_GET_PDEATHSIG, &seen->parent_death, 0, 0, 0);
    struct rlimit limit = {1, 1};
    getrlimit(RLIMIT_CORE, &limit);
    seen->core_limit = (long)limit.rlim_max;
    char line[256];
    while (status && fgets(line, sizeof(line), status)) {
        sscanf(line, "CapEff: %llx", &seen->effective);
        sscanf(line, "CapBnd: %llx", &seen->bounding);
    }
}

Test(sandbox, layers)
{
    struct observed *seen = (struct observed *)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        observe(seen);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_expect_eq(seen->result, 0);
    cr_expect_eq(seen->no_new_privileges, 1);
    cr_expect_eq(seen->dumpable, 0);
    cr_expect_eq(seen->parent_death, SIGKILL);
    cr_expect_eq(seen->core_limit, 0);
    if (!(seen->missing & VMM_LAYER_MOUNT_VIEW)) {
        cr_expect_not(seen->can_open_etc);
        cr_expect_not(seen->can_open_proc);
        cr_expect_not(seen->can_write_root);
    }
    if (!(seen->missing & VMM_LAYER_IDENTITY) && getuid() == 0)
        cr_expect_not(seen->ids);
    if (!(seen->missing & VMM_LAYER_CAPABILITIES))
        cr_expect_eq(seen->effective, 0ull);
    if (getuid() == 0)
        cr_expect_eq(seen->bounding, 0ull);
}
