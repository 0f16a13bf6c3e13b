// SPDX-License-Identifier: Apache-2.0
// Lock-down of a process.
#include "sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp_rule.h"

// An identity that owns nothing: "nobody" on every Linux system.
#define UNPRIVILEGED_ID 65534u

// Makes an empty, read-only file system that is mounted nowhere the root of this process. Nothing
// else is reachable then: no directory of the old tree is open, there is no capability to change
// the root again, and after sandbox_install no system call that takes a path.
static int empty_mount_view(void)
{
    int context = (int)syscall(SYS_fsopen, "tmpfs", 0);
    if (context < 0)
        return -1;
    int result = -1;
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", "4k", 0);
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", "2", 0);
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", "0555", 0);
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        int root = (int)syscall(SYS_fsmount, context, 0,
                                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                    MOUNT_ATTR_NOEXEC);
        if (root >= 0 && fchdir(root) == 0 && chroot(".") == 0)
            result = 0;
        if (root >= 0)
            close(root);
    }
    close(context);
    return result;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    if (syscall(SYS_capset, &header, none) < 0)
        return -1;
    return 0;
}

static void drop_bounding_set(void)
{
    // EINVAL ends the loop: the kernel's last capability. EPERM without CAP_SETPCAP is harmless,
    // since no_new_privs keeps the bounding set from being used.
    for (unsigned long capability = 0; capability < 64; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return;
    }
}

static void drop_identity(uint32_t uid, uint32_t gid, uint32_t *missing)
{
    if (geteuid() != 0 || getuid() != 0)
        return; // already somebody without rights of its own beyond the caller's
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
        syscall(SYS_setresuid, uid, uid, uid) < 0)
        *missing |= SANDBOX_LAYER_IDENTITY;
}

// Speculation that this process and its threads can do without, where the kernel lets each process
// say so (Documentation/userspace-api/spec_ctrl.rst). Elsewhere nothing is claimed:
// /proc/PID/status and `guillotine host check` say how it is.
static void limit_speculation(void)
{
    static const unsigned long kinds[] = {PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int state = prctl(PR_GET_SPECULATION_CTRL, kinds[i], 0, 0, 0);
        if (state > 0 && (state & PR_SPEC_PRCTL))
            prctl(PR_SET_SPECULATION_CTRL, kinds[i], PR_SPEC_FORCE_DISABLE, 0, 0);
    }
}

int sandbox_enter(uint32_t *missing, struct error *err)
{
    return sandbox_enter_as(UNPRIVILEGED_ID, UNPRIVILEGED_ID, missing, err);
}

int sandbox_enter_as(uint32_t uid, uint32_t gid, uint32_t *missing, struct error *err)
{
    static const struct rlimit none = {0, 0};

    // Without privileges, a user namespace (and a mount namespace, which it must own) lends the
    // ones that the next step needs.
    bool privileged = geteuid() == 0;
    if (!privileged)
        unshare(CLONE_NEWUSER | CLONE_NEWNS);
    if (empty_mount_view() < 0)
        *missing |= SANDBOX_LAYER_MOUNT_VIEW;

    drop_bounding_set();
    if (privileged)
        drop_identity(uid, gid, missing);
    if (drop_capabilities() < 0)
        *missing |= SANDBOX_LAYER_CAPABILITIES;
    limit_speculation();
    setrlimit(RLIMIT_CORE, &none);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sandbox: prctl");
    // After the change of identity, which clears it: nothing outlives its supervisor.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sandbox: parent death signal");
    return 0;
}

#define FILTER_MAX 128

int sandbox_install(const struct sock_filter *filter, size_t count, struct error *err)
{
    struct sock_filter own[FILTER_MAX];
    if (count > FILTER_MAX)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "sandbox: filter too long");
    memcpy(own, filter, count * sizeof(*filter));
    for (size_t i = 0; i < count; i++) {
        if (BPF_CLASS(own[i].code) == BPF_JMP && own[i].k == SECCOMP_PID_PLACEHOLDER)
            own[i].k = (uint32_t)getpid();
    }
    struct sock_fprog program = {.len = (unsigned short)count, .filter = own};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "sandbox: seccomp filter");
    return 0;
}
