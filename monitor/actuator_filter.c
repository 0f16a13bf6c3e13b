// SPDX-License-Identifier: Apache-2.0
// What guillotine-actuator gives up before it talks to a device. A list of what is denied: glibc,
// libcurl and OpenSSL need more, and other things with each release, than can be named.
#include "actuator_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Numbers from here on are those of the x32 ABI.
#define X32_CALLS 0x40000000u

// The first EXECUTIONS execute a program.
#define EXECUTIONS 2u
static const uint32_t denied[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_perf_event_open,
    SYS_bpf,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_mount,
    SYS_umount2,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_open_by_handle_at,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_personality,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_syslog,
    SYS_vhangup,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
};

int actuator_filter_enter(bool programs, struct error *err)
{
    static const struct sock_filter head[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_filter filter[COUNT(head) + COUNT(denied) + 2];
    size_t count = COUNT(head);
    memcpy(filter, head, sizeof(head));
    _Static_assert(COUNT(denied) < 255, "jumps are of 8 bits");
    for (size_t i = programs ? EXECUTIONS : 0; i < COUNT(denied); i++) {
        uint8_t to_denial = (uint8_t)(COUNT(denied) - i);
        filter[count++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i], to_denial, 0);
    }
    filter[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "forbid new privileges");
    return sandbox_install(filter, count, err);
}

int actuator_filter_enter_for(const struct actuator_config *config, enum actuator_action action,
                              const char *only, struct error *err)
{
    bool programs = false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct actuator *actuator = &config->list[i];
        if (!actuator_action_concerns(action, actuator->class) ||
            (only && strcmp(only, actuator->name)))
            continue;
        if (actuator->kind == ACTUATOR_COMMAND)
            return 0;
        programs = programs || actuator->kind == ACTUATOR_IPMI;
    }
    return actuator_filter_enter(programs, err);
}
