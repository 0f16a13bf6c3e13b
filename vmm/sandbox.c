// SPDX-License-Identifier: Apache-2.0
// Lock-down of the VMM process.
#include "sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp_filters.h"
#include "vmm_protocol.h"

// An identity that owns nothing: "nobody" on every Linux system.
#define UNPRIVILEGED_ID 65534u

// Any directory serves as the place where the empty root is mounted before it becomes the root.
static const char *mount_place(void)
{
    static const char *const places[] = {"/tmp", "/run", "/proc", "/dev", "/var", "/etc"};
    struct stat status;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (stat(places[i], &status) == 0 && S_ISDIR(status.st_mode))
            return places[i];
    }
    return NULL;
}

// Replaces the whole file system by an empty, read-only one. The old one is unreachable after.
static int empty_mount_view(void)
{
    const char *place = mount_place();
    if (!place || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("guillotine", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2,mode=0555") < 0)
        return -1;
    if (chdir(place) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        return -1;
    return 0;
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

static void drop_identity(uint32_t *missing)
{
    if (geteuid() != 0 || getuid() != 0)
        return; // already somebody without rights of its own beyond the caller's
    if (syscall(SYS_setgroups, 0, NULL) < 0 ||
        syscall(SYS_setresgid, UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0 ||
        syscall(SYS_setresuid, UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0)
        *missing |= VMM_LAYER_IDENTITY;
}

int sandbox_enter(uint32_t *missing, struct error *err)
{
    static const struct rlimit none = {0, 0};

    // Without privileges, a user namespace lends the ones that the next steps need.
    bool privileged = geteuid() == 0;
    if (!privileged)
        unshare(CLONE_NEWUSER);
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        *missing |= VMM_LAYER_NAMESPACES | VMM_LAYER_MOUNT_VIEW;
    else if (empty_mount_view() < 0)
        *missing |= VMM_LAYER_MOUNT_VIEW;

    drop_bounding_set();
    if (privileged)
        drop_identity(missing);
    if (drop_capabilities() < 0)
        *missing |= VMM_LAYER_CAPABILITIES;
    setrlimit(RLIMIT_CORE, &none);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sandbox: prctl");
    // After the change of identity, which clears it: no supervisor, no VMM.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sandbox: parent death signal");
    return 0;
}

#define FILTER_MAX 128

static int install(const struct sock_filter *filter, size_t count, struct error *err)
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

#define INSTALL(filter, err) install(filter, sizeof(filter) / sizeof((filter)[0]), err)

int sandbox_filter(enum seccomp_thread thread, struct error *err)
{
    switch (thread) {
    case SECCOMP_VCPU:
        return INSTALL(seccomp_filter_vcpu, err);
    case SECCOMP_POLLER:
        return INSTALL(seccomp_filter_poller, err);
    case SECCOMP_CONTROL:
        return INSTALL(seccomp_filter_control, err);
    }
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "sandbox: unknown thread kind");
}
