// SPDX-License-Identifier: Apache-2.0
// The server behind a tool port, in a sandbox of its own.
#include "tool_server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "mcp_client.h"

#define NOBODY 65534u

// Where the new root is put together: any folder that every system has.
#define ROOT "/tmp"

// What a server needs of the system; what is not there is left out.
static const char *const system_paths[] = {
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl", "/etc/ld.so.cache", "/etc/alternatives"};
static const char *const network_paths[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"};
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/urandom"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Of the server: more than any is known to need, less than would hurt its host.
static const struct {
    __rlimit_resource_t resource;
    rlim_t limit;
} limits[] = {
    {RLIMIT_CORE, 0},
    {RLIMIT_NOFILE, 1024},
    {RLIMIT_NPROC, 256},
    {RLIMIT_FSIZE, 1ull << 30},
};

// The paths of a grant: `read` first, then `write`.
struct paths {
    const char *read[TOOL_MAX_PATHS];
    const char *write[TOOL_MAX_PATHS];
    char *arguments[TOOL_MAX_ARGUMENTS + 1];
    char *variables[TOOL_MAX_VARIABLES + 1];
};

static void take_texts(const struct tool_grant *grant, struct paths *paths)
{
    const char *at = NULL;
    for (uint32_t i = 0; i < grant->argument_count; i++)
        paths->arguments[i] = (char *)(uintptr_t)tool_grant_next(grant, &at);
    for (uint32_t i = 0; i < grant->variable_count; i++)
        paths->variables[i] = (char *)(uintptr_t)tool_grant_next(grant, &at);
    for (uint32_t i = 0; i < grant->read_count; i++)
        paths->read[i] = tool_grant_next(grant, &at);
    for (uint32_t i = 0; i < grant->write_count; i++)
        paths->write[i] = tool_grant_next(grant, &at);
}

// Says on standard error what failed and ends the process.
static _Noreturn void give_up(const char *what, const char *which)
{
    dprintf(STDERR_FILENO, "guillotine: tool server: %s%s%s: %s\n", what, *which ? " " : "", which,
            strerror(errno));
    _exit(EXIT_STATUS_RESOURCES);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        give_up("write", path);
    close(fd);
}

// The unprivileged get the same rights over what they own, and no others.
static void enter_user_namespace(void)
{
    char map[64];
    unsigned uid = geteuid();
    unsigned gid = getegid();
    if (unshare(CLONE_NEWUSER) < 0)
        give_up("this host gives no user namespace to who is not root", "");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "%u %u 1", uid, uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof(map), "%u %u 1", gid, gid);
    write_file("/proc/self/gid_map", map);
}

// Makes the folders above a path, below the new root.
static void make_parents(char *path)
{
    for (char *slash = strchr(path + sizeof(ROOT), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            give_up("mkdir", path);
        *slash = '/';
    }
}

// Shows a path of the host at the same place below the new root.
static void show(const char *path, bool writable, bool must)
{
    char target[4096 + sizeof(ROOT)];
    char link[256];
    struct stat status;
    if (lstat(path, &status) < 0) {
        if (must)
            give_up("path", path);
        return;
    }
    if (snprintf(target, sizeof(target), ROOT "%s", path) >= (int)sizeof(target))
        give_up("path", path);
    make_parents(target);
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlink(path, link, sizeof(link) - 1);
        if (length < 0)
            give_up("link", path);
        link[length] = '\0';
        if (symlink(link, target) < 0 && errno != EEXIST)
            give_up("link", path);
        return;
    }
    if (S_ISDIR(status.st_mode)) {
        if (mkdir(target, 0755) < 0 && errno != EEXIST)
            give_up("mkdir", target);
    } else {
        int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            give_up("create", target);
        close(fd);
    }
    unsigned long flags = MS_BIND | MS_REC;
    if (mount(path, target, NULL, flags, NULL) < 0)
        give_up("show", path);
    bool device = S_ISCHR(status.st_mode);
    flags = MS_BIND | MS_REMOUNT | MS_NOSUID | (device ? 0 : MS_NODEV) |
            (writable || device ? 0 : MS_RDONLY);
    if (mount(NULL, target, NULL, flags, NULL) < 0)
        give_up("protect", path);
}

static void enter_root(const struct tool_grant *grant, const struct paths *paths)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m") < 0)
        give_up("mount", ROOT);
    for (size_t i = 0; i < COUNT(system_paths); i++)
        show(system_paths[i], false, false);
    for (size_t i = 0; i < COUNT(devices); i++)
        show(devices[i], false, true);
    for (size_t i = 0; i < COUNT(network_paths) && grant->network; i++)
        show(network_paths[i], false, false);
    for (uint32_t i = 0; i < grant->read_count; i++)
        show(paths->read[i], false, true);
    for (uint32_t i = 0; i < grant->write_count; i++)
        show(paths->write[i], true, true);
    if (mkdir(ROOT "/tmp", 0777) < 0 || chmod(ROOT "/tmp", 01777) < 0 ||
        mkdir(ROOT "/proc", 0755) < 0 || mkdir(ROOT "/.old", 0700) < 0)
        give_up("mkdir", ROOT);
    if (mount("proc", ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        give_up("mount", "/proc");
    if (chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".old") < 0 || chdir("/") < 0 ||
        umount2("/.old", MNT_DETACH) < 0 || rmdir("/.old") < 0)
        give_up("enter", "the new root");
}

// Whose files it may write, or nobody's.
static void choose_user(const struct tool_grant *grant, const struct paths *paths, uid_t *uid,
                        gid_t *gid)
{
    struct stat status;
    *uid = *gid = NOBODY;
    if (grant->write_count && stat(paths->write[0], &status) == 0 && status.st_uid) {
        *uid = status.st_uid;
        *gid = status.st_gid;
    }
}

static void drop_rights(bool root, uid_t uid, gid_t gid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    for (int capability = 0; capability < 64; capability++)
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); // those that the kernel knows
    if (root &&
        (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
        give_up("become another user", "");
    if (syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        give_up("drop rights", "");
    for (size_t i = 0; i < COUNT(limits); i++) {
        const struct rlimit limit = {limits[i].limit, limits[i].limit};
        if (setrlimit(limits[i].resource, &limit) < 0)
            give_up("limit", "");
    }
}

// The first process of its namespace: with it all the others end.
static _Noreturn void run(const struct tool_grant *grant, struct paths *paths, bool root)
{
    uid_t uid;
    gid_t gid;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    choose_user(grant, paths, &uid, &gid);
    enter_root(grant, paths);
    drop_rights(root, uid, gid);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // becoming another user has undone it
    execve(paths->arguments[0], paths->arguments, paths->variables);
    give_up("start", paths->arguments[0]);
}

// Between the caller and the server: makes the namespaces and waits, so that the server's end is
// seen, and is a child of whoever has them.
static _Noreturn void guard(const struct tool_grant *grant, struct paths *paths)
{
    bool root = geteuid() == 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    signal(SIGPIPE, SIG_DFL);
    if (!root)
        enter_user_namespace();
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    if (unshare(flags | (grant->network ? 0 : CLONE_NEWNET)) < 0)
        give_up("namespaces", "");
    if (sethostname("tool", 4) < 0)
        give_up("name the host", "");
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork", "");
    if (pid == 0)
        run(grant, paths, root);
    // Its ends of the pipes are the server's alone.
    syscall(SYS_close_range, 0, ~0u, 0);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    _exit(EXIT_STATUS_OK);
}

int tool_server_start(struct tool_server *server, const struct tool_grant *grant, struct error *err)
{
    static struct paths paths;
    int input[2];
    int output[2];
    take_texts(grant, &paths);
    if (pipe2(input, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe");
    if (pipe2(output, O_CLOEXEC) < 0) {
        close(input[0]);
        close(input[1]);
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe");
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(input[0], STDIN_FILENO) < 0 || dup2(output[1], STDOUT_FILENO) < 0)
            give_up("pipes", "");
        syscall(SYS_close_range, 3, ~0u, 0);
        guard(grant, &paths);
    }
    close(input[0]);
    close(output[1]);
    *server = (struct tool_server){.to_server = input[1], .from_server = output[0]};
    if (pid > 0)
        return 0;
    close(input[1]);
    close(output[0]);
    return error_set(err, EXIT_STATUS_RESOURCES, errno, "start the tool's server");
}
