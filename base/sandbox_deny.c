// SPDX-License-Identifier: Apache-2.0
// A system-call filter for programs of others.
#include "sandbox_deny.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Numbers from here on are those of the x32 ABI.
#define X32_CALLS 0x40000000u

// Requests of ioctl that type into a terminal.
#define IOCTL_TIOCSTI   0x5412u
#define IOCTL_TIOCLINUX 0x541cu

#define NEW_NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

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

#define ARGUMENT(index) offsetof(struct seccomp_data, args[index])
#define LOAD(offset)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define RETURN(action)  BPF_STMT(BPF_RET | BPF_K, action)
#define REFUSE(code)    RETURN(SECCOMP_RET_ERRNO | (code))
// Jumps: over `no` instructions unless (over `yes` if) the loaded word is `value`.
#define IF(value, yes, no)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_ANY(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, value, yes, no)

static const struct sock_filter head[] = {
    LOAD(offsetof(struct seccomp_data, arch)),
    IF(AUDIT_ARCH_X86_64, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 0, 1),
    REFUSE(EPERM),
};

// Each block looks at the number of the call and leaves it loaded, or returns.
static const struct sock_filter ways_out[] = {
    // clone3 has its flags in memory. Libraries fall back to clone.
    IF(SYS_clone3, 0, 1),
    REFUSE(ENOSYS),
    IF(SYS_clone, 0, 4),
    LOAD(ARGUMENT(0)),
    IF_ANY(NEW_NAMESPACES, 0, 1),
    REFUSE(EPERM),
    RETURN(SECCOMP_RET_ALLOW),
    // Network namespaces do not hold all families: not vsock, for one.
    IF(SYS_socket, 0, 6),
    LOAD(ARGUMENT(0)),
    IF(AF_UNIX, 3, 0),
    IF(AF_INET, 2, 0),
    IF(AF_INET6, 1, 0),
    REFUSE(EAFNOSUPPORT),
    RETURN(SECCOMP_RET_ALLOW),
    IF(SYS_ioctl, 0, 5),
    LOAD(ARGUMENT(1)),
    IF(IOCTL_TIOCSTI, 1, 0),
    IF(IOCTL_TIOCLINUX, 0, 1),
    REFUSE(EPERM),
    RETURN(SECCOMP_RET_ALLOW),
};

int sandbox_deny(unsigned also, struct error *err)
{
    struct sock_filter filter[COUNT(head) + COUNT(denied) + COUNT(ways_out) + 3];
    size_t count = COUNT(head);
    memcpy(filter, head, sizeof(head));
    // Not denied: over the jump to the rest. Denied: to the refusal that stands before it.
    size_t first = also & SANDBOX_DENY_PROGRAMS ? 0 : EXECUTIONS;
    _Static_assert(COUNT(denied) < 255, "jumps are of 8 bits");
    for (size_t i = first; i < COUNT(denied); i++) {
        bool last = i + 1 == COUNT(denied);
        uint8_t to_refusal = (uint8_t)(COUNT(denied) - i - 1);
        filter[count++] = (struct sock_filter)IF(denied[i], to_refusal, last ? 1 : 0);
    }
    filter[count++] = (struct sock_filter)REFUSE(EPERM);
    if (also & SANDBOX_DENY_WAYS_OUT) {
        memcpy(filter + count, ways_out, sizeof(ways_out));
        count += COUNT(ways_out);
    }
    filter[count++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "forbid new privileges");
    return sandbox_install(filter, count, err);
}
