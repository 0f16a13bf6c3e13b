// SPDX-License-Identifier: Apache-2.0
// An MCP server in a sandbox of its own.
//
// Three processes: guillotine-tool; the first one of the new process namespace, which makes the
// sandbox, waits, and dies with guillotine-tool; and the server. The kernel kills all of a process
// namespace with its first process.
#include "tool_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "sandbox_deny.h"
#include "tool_root.h"

// User ids that nobody has: one for each process that could start a server.
#define USER_BASE 0x70000000u

// How often orphans of a server are reaped.
#define REAP_MS 1000

#define OPEN_FILES 1024u
#define FILE_BYTES (1ull << 30) // largest file that a server may make

// Both ends of what a server and its starter have in common.
struct ends {
    int server_in[2]; // pipes: [0] is read
    int server_out[2];
    int trouble[2]; // struct error, if the server cannot be started
    int life[2];    // at its end when the starter is
};

struct identity {
    bool changes; // this process is root
    uint32_t user;
    uint32_t group;
};

static int refuse(struct error *err, const char *what)
{
    return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "the server's sandbox: %s", what);
}

// Root's servers run as the owner of what they may write, else as nobody else does.
static int choose_identity(const struct tool_grant_view *view, struct identity *identity,
                           struct error *err)
{
    const struct tool_grant *grant = view->grant;
    struct stat status;
    *identity = (struct identity){.changes = geteuid() == 0};
    if (!identity->changes)
        return 0;
    identity->user = identity->group = USER_BASE + (uint32_t)getpid();
    if (grant->write_count) {
        const char *path = view->paths[grant->read_count];
        if (stat(path, &status) < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
        identity->user = status.st_uid;
        identity->group = status.st_gid;
    }
    if (!identity->user || !identity->group)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "what the server may write is root's, and no server runs as root: change "
                         "the owner of %s",
                         view->paths[grant->read_count]);
    return 0;
}

static int write_file(const char *path, const char *text)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

// In a new user namespace: the same ids, and no others.
static int map_user(uint32_t uid, uint32_t gid, struct error *err)
{
    char map[48];
    snprintf(map, sizeof(map), "%u %u 1", uid, uid);
    if (write_file("/proc/self/uid_map", map) < 0)
        return refuse(err, "user ids");
    snprintf(map, sizeof(map), "%u %u 1", gid, gid);
    if (write_file("/proc/self/setgroups", "deny") < 0 || write_file("/proc/self/gid_map", map) < 0)
        return refuse(err, "group ids");
    return 0;
}

static int limit(const struct tool_grant *grant, struct error *err)
{
    const struct {
        int resource;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, OPEN_FILES},
        {RLIMIT_FSIZE, FILE_BYTES},
        {RLIMIT_MEMLOCK, 64 << 10},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_RTPRIO, 0},
        {RLIMIT_NPROC, grant->processes},
        {RLIMIT_DATA, grant->memory_bytes},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct rlimit old;
        if (getrlimit(limits[i].resource, &old) < 0)
            return refuse(err, "limits");
        rlim_t value = limits[i].value < old.rlim_max ? limits[i].value : old.rlim_max;
        const struct rlimit rlimit = {value, value};
        if (setrlimit(limits[i].resource, &rlimit) < 0)
            return refuse(err, "limits");
    }
    return 0;
}

static int drop_rights(const struct identity *identity, struct error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    for (unsigned long capability = 0; capability < 64; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            break; // the kernel's last one
    }
    if (identity->changes &&
        (syscall(SYS_setgroups, 0, NULL) < 0 ||
         syscall(SYS_setresgid, identity->group, identity->group, identity->group) < 0 ||
         syscall(SYS_setresuid, identity->user, identity->user, identity->user) < 0))
        return refuse(err, "user id");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &header, none) < 0)
        return refuse(err, "capabilities");
    // Not after its own execve, but of the first process, whose memory the server must not reach.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return refuse(err, "dumpable");
    return sandbox_deny(SANDBOX_DENY_WAYS_OUT, err);
}

static _Noreturn void report(const struct ends *ends, const struct error *err)
{
    ssize_t ignored = write(ends->trouble[1], err, sizeof(*err));
    (void)ignored;
    _exit(EXIT_STATUS_HOST_REFUSED);
}

// The server itself, in its sandbox.
static _Noreturn void become(const struct tool_grant_view *view, const struct ends *ends)
{
    const struct tool_grant *grant = view->grant;
    char *arguments[TOOL_MAX_ARGUMENTS + 1] = {NULL};
    static const char *const defaults[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp",
                                           "LANG=C.UTF-8"};
    char *environment[TOOL_MAX_VARIABLES + 4] = {NULL};
    struct error err;
    for (uint32_t i = 0; i < grant->argument_count; i++)
        arguments[i] = (char *)(uintptr_t)view->arguments[i];
    for (uint32_t i = 0; i < grant->variable_count; i++)
        environment[i] = (char *)(uintptr_t)view->variables[i];
    // Behind what the operator says: the first one of a name counts.
    for (uint32_t i = 0; i < 3; i++)
        environment[grant->variable_count + i] = (char *)(uintptr_t)defaults[i];
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(ends->server_in[0], 0) < 0 || dup2(ends->server_out[1], 1) < 0 ||
        dup2(null, 2) < 0 || dup2(ends->trouble[1], 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0 ||
        syscall(SYS_close_range, 4, ~0u, 0) < 0) {
        refuse(&err, "descriptors");
        report(ends, &err);
    }
    const struct ends left = {.trouble = {-1, 3}};
    setsid();
    signal(SIGPIPE, SIG_DFL);
    if (chdir(view->directory) < 0) {
        error_set(&err, EXIT_STATUS_BAD_FILE, errno, "directory %s", view->directory);
        report(&left, &err);
    }
    if (arguments[0]) // the grant has at least one
        execve(arguments[0], arguments, environment);
    error_set(&err, EXIT_STATUS_BAD_FILE, errno, "start %s", view->arguments[0]);
    report(&left, &err);
}

// The first process of the namespace: reaps what the server leaves, and ends with the server or the
// starter. Not by a signal of the starter's death: the kernel sends that with the starter's rights,
// which reach no process of another user.
static _Noreturn void wait_for(pid_t server, const struct ends *ends)
{
    if (dup2(ends->life[0], 0) < 0 || syscall(SYS_close_range, 1, ~0u, 0) < 0)
        _exit(EXIT_STATUS_INTERNAL);
    struct pollfd fds[2] = {
        {.fd = 0},
        {.fd = (int)syscall(SYS_pidfd_open, server, 0), .events = POLLIN},
    };
    if (fds[1].fd < 0)
        _exit(EXIT_STATUS_INTERNAL);
    for (;;) {
        poll(fds, 2, REAP_MS);
        if (fds[0].revents || fds[1].revents)
            _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}

static _Noreturn void first_process(const struct tool_grant_view *view, const struct ends *ends,
                                    const struct identity *identity, uint32_t uid, uint32_t gid)
{
    struct error err;
    close(ends->life[1]); // the starter alone keeps that
    if ((!identity->changes && map_user(uid, gid, &err) < 0) || tool_root_enter(view, &err) < 0 ||
        limit(view->grant, &err) < 0)
        report(ends, &err);
    if (sethostname("tool", 4) < 0) {
        refuse(&err, "host name");
        report(ends, &err);
    }
    if (drop_rights(identity, &err) < 0)
        report(ends, &err);
    pid_t server = fork();
    if (server < 0) {
        refuse(&err, "fork");
        report(ends, &err);
    }
    if (!server)
        become(view, ends);
    wait_for(server, ends);
}

static void close_ends(const struct ends *ends)
{
    for (int i = 0; i < 2; i++) {
        close(ends->server_in[i]);
        close(ends->server_out[i]);
        close(ends->trouble[i]);
        close(ends->life[i]);
    }
}

static int open_ends(struct ends *ends, struct error *err)
{
    *ends = (struct ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(ends->server_in, O_CLOEXEC) == 0 && pipe2(ends->server_out, O_CLOEXEC) == 0 &&
        pipe2(ends->trouble, O_CLOEXEC) == 0 && pipe2(ends->life, O_CLOEXEC) == 0)
        return 0;
    error_set(err, EXIT_STATUS_RESOURCES, errno, "pipes");
    close_ends(ends);
    return -1;
}

// Waits until the server is executed, or could not be.
static int hear(int fd, struct error *err)
{
    struct error trouble;
    ssize_t length;
    do
        length = read(fd, &trouble, sizeof(trouble));
    while (length < 0 && errno == EINTR);
    if (length == 0)
        return 0;
    if (length != sizeof(trouble))
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server's sandbox ended");
    trouble.text[sizeof(trouble.text) - 1] = '\0';
    *err = trouble;
    return -1;
}

int tool_server_start(const struct tool_grant_view *view, struct tool_server *server,
                      struct error *err)
{
    struct identity identity;
    struct ends ends;
    if (choose_identity(view, &identity, err) < 0 || open_ends(&ends, err) < 0)
        return -1;
    uint32_t uid = getuid();
    uint32_t gid = getgid();
    unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                          (view->grant->network ? 0 : CLONE_NEWNET) |
                          (identity.changes ? 0 : CLONE_NEWUSER) | SIGCHLD;
    // As fork does: there is one thread.
    long pid = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid < 0) {
        refuse(err, "the host denies namespaces");
        close_ends(&ends);
        return -1;
    }
    if (!pid)
        first_process(view, &ends, &identity, uid, gid);
    server->in = steal_fd(&ends.server_out[0]);
    server->out = steal_fd(&ends.server_in[1]);
    server->life = steal_fd(&ends.life[1]);
    close(ends.trouble[1]);
    ends.trouble[1] = -1;
    int result = hear(ends.trouble[0], err);
    close_ends(&ends);
    if (result == 0 &&
        (fcntl(server->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(server->out, F_SETFL, O_NONBLOCK) < 0))
        result = refuse(err, "pipes");
    return result;
}
