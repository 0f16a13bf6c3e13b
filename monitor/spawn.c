// SPDX-License-Identifier: Apache-2.0
// Starts a program without waiting until it has been loaded.
//
// posix_spawn blocks its caller until the child has executed the program, since it shares memory
// with it. Here the child shares memory too (copying it would cost more), but runs on a stack of
// its own and touches nothing that the caller uses: the caller reads the VM file meanwhile.
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHILD_STACK_BYTES 16384

// System calls that leave errno alone: it belongs to the caller, which is running.
static long raw(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((no_sanitize("address", "undefined"))) static int child(void *argument)
{
    const struct spawn_request *request = argument;
    const uint64_t no_signals = 0;
    const char *const name_only[] = {request->name, NULL};
    const char *const *arguments = request->arguments ? request->arguments : name_only;
    const char *const environment[] = {NULL};

    raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&no_signals, 0, sizeof(no_signals));
    raw(SYS_setpgid, 0, 0, 0, 0);
    long null = raw(SYS_open, (long)"/dev/null", O_RDWR, 0, 0);
    if (null < 0)
        raw(SYS_exit, 127, 0, 0, 0);
    raw(SYS_dup2, null, 0, 0, 0);
    raw(SYS_dup2, request->output_fd ? request->output_fd : null, 1, 0, 0);
    if (!request->keep_stderr)
        raw(SYS_dup2, null, 2, 0, 0);
    for (unsigned i = 0; i < request->fd_count; i++)
        raw(SYS_dup2, request->fds[i], 3 + (long)i, 0, 0);
    // Whatever the caller of this program left open does not reach the child: the model might one
    // day own it.
    if (raw(SYS_close_range, 3 + (long)request->fd_count, ~0u, 0, 0) < 0)
        raw(SYS_exit, 127, 0, 0, 0);
    raw(SYS_execve, (long)request->path, (long)arguments, (long)environment, 0);
    raw(SYS_exit, 127, 0, 0, 0);
    return 127;
}

pid_t spawn_program(const struct spawn_request *request, int *pidfd, struct error *err)
{
    // Static: the child may still read all this after this function has returned. One place for
    // each program that nobody waits for, one for all others.
    static struct {
        struct spawn_request copy;
        char path[4096];
        _Alignas(16) char stack[CHILD_STACK_BYTES];
    } places[3], *place;
    place = &places[request->wait ? 0 : request->second ? 2 : 1];
    size_t size = strlen(request->path) + 1;
    if (size > sizeof(place->path))
        return error_set(err, EXIT_STATUS_INTERNAL, ENAMETOOLONG, "start %s", request->path);
    memcpy(place->path, request->path, size);
    place->copy = *request;
    place->copy.path = place->path;
    int flags = CLONE_VM | CLONE_PIDFD | SIGCHLD | (request->wait ? CLONE_VFORK : 0);
    pid_t pid = clone(child, place->stack + sizeof(place->stack), flags, &place->copy, pidfd);
    if (pid < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "start %s", request->path);
    if (request->wait)
        return pid;
    // Schedulers like to leave a new task where its parent runs, until the parent sleeps: half a
    // millisecond here (measured). Its final place is the program's own affair.
    cpu_set_t others;
    memset(&others, 0xff, sizeof(others));
    int here = sched_getcpu();
    if (here >= 0) {
        CPU_CLR((unsigned)here, &others);
        sched_setaffinity(pid, sizeof(others), &others); // fails with one CPU: then it stays
    }
    return pid;
}

int spawn_channel(int *own, int *remote, struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "socketpair");
    *own = pair[0];
    // Above all numbers that the program gets its descriptors by.
    *remote = fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
    close(pair[1]);
    if (*remote < 0 || fcntl(*own, F_SETFL, O_NONBLOCK) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "channel");
    return 0;
}
