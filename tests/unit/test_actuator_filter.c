// SPDX-License-Identifier: Apache-2.0
// What guillotine-actuator cannot do any more once it talks to devices.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actuator_filter.h"

// The result of a raw call with harmless arguments, in a child: 0 or errno; -1 if the filter
// failed.
static int result_of(bool filtered, bool programs, long number)
{
    struct error err;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (filtered && actuator_filter_enter(programs, &err) < 0)
            _exit(255);
        _exit(syscall(number, -1L, 0L, 0L, 0L, 0L, 0L) < 0 ? errno : 0);
    }
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status), "call %ld", number);
    return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}

Test(actuator_filter, denies)
{
    static const long calls[] = {SYS_ptrace,         SYS_process_vm_readv, SYS_bpf,
                                 SYS_io_uring_setup, SYS_finit_module,     SYS_kexec_load,
                                 SYS_keyctl};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        cr_expect_eq(result_of(true, false, calls[i]), EPERM, "call %ld", calls[i]);
        cr_expect_eq(result_of(true, true, calls[i]), EPERM, "call %ld", calls[i]);
    }
}

Test(actuator_filter, executes_only_where_a_driver_does)
{
    cr_expect_eq(result_of(true, false, SYS_execve), EPERM);
    cr_expect_eq(result_of(true, false, SYS_execveat), EPERM);
    cr_expect_eq(result_of(true, true, SYS_execve), EFAULT);
}

Test(actuator_filter, leaves_the_rest)
{
    static const long calls[] = {SYS_read, SYS_socket, SYS_openat, SYS_clone3, SYS_poll};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        cr_expect_eq(result_of(true, false, calls[i]), result_of(false, false, calls[i]),
                     "call %ld", calls[i]);
}

// 0: entered, with execution; 1: entered without; 2: nothing denied.
static int entered_for(enum actuator_kind kind, const char *only)
{
    struct actuator list[] = {{.name = "a", .kind = kind}, {.name = "b", .kind = ACTUATOR_REDFISH}};
    static struct actuator_config config;
    struct error err;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        config = (struct actuator_config){.count = 2};
        for (unsigned i = 0; i < 2; i++)
            config.list[i] = list[i];
        if (actuator_filter_enter_for(&config, ACTUATOR_CUT, only, &err) < 0)
            _exit(255);
        bool traces = syscall(SYS_ptrace, -1L, 0L, 0L, 0L) == 0 || errno != EPERM;
        syscall(SYS_execve, -1L, 0L, 0L);
        _exit(traces ? 2 : errno == EPERM ? 1 : 0);
    }
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

Test(actuator_filter, is_for_the_drivers_concerned)
{
    cr_expect_eq(entered_for(ACTUATOR_SIMULATED, NULL), 1);
    cr_expect_eq(entered_for(ACTUATOR_IPMI, NULL), 0);
    cr_expect_eq(entered_for(ACTUATOR_COMMAND, NULL), 2);
    cr_expect_eq(entered_for(ACTUATOR_COMMAND, "b"), 1);
}
