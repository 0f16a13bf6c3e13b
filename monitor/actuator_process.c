// SPDX-License-Identifier: Apache-2.0
// Runs a program with a time-out.
#include "actuator_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

// Rounds of killing what a killed process left behind: each ends one generation at least.
#define SWEEP_ROUNDS 200

#define STATUS_NOT_STARTED 127

struct stream {
    int fd;
    size_t bytes;  // read in all
    bool complete; // the first line
    size_t length;
    char *line;
};

int actuator_process_prepare(struct error *err)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "become the parent of orphans");
    return 0;
}

// In the child, which has one thread: only system calls from here on.
__attribute__((noreturn)) static void child(const char *const *arguments, char *const *environment,
                                            int out, int err)
{
    sigset_t none;
    sigemptyset(&none);
    // A session is a process group too, and has no terminal to ask a person for a password.
    // It does not outlive this program, should that be killed.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setsid() < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(err, STDERR_FILENO) < 0)
        _exit(STATUS_NOT_STARTED);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || syscall(SYS_close_range, 3, ~0u, 0) < 0)
        _exit(STATUS_NOT_STARTED);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(arguments[0], (char *const *)(uintptr_t)arguments, environment);
    _exit(STATUS_NOT_STARTED);
}

static pid_t start(const char *const *arguments, struct stream streams[2], struct error *err)
{
    char path[1024];
    char *environment[] = {path, NULL};
    const char *given = getenv("PATH");
    int pipes[2][2] = {{-1, -1}, {-1, -1}};
    snprintf(path, sizeof(path), "PATH=%s", given ? given : "/usr/sbin:/usr/bin:/sbin:/bin");
    for (unsigned i = 0; i < 2; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "start %s", arguments[0]);
        streams[i].fd = pipes[i][0];
        fcntl(pipes[i][0], F_SETFL, O_NONBLOCK);
    }
    pid_t pid = fork();
    int code = errno;
    if (pid == 0)
        child(arguments, environment, pipes[0][1], pipes[1][1]);
    close(pipes[0][1]);
    close(pipes[1][1]);
    return pid < 0 ? error_set(err, EXIT_STATUS_RESOURCES, code, "start %s", arguments[0]) : pid;
}

// Takes what is there. Returns false once the stream has ended.
static bool drain(struct stream *stream)
{
    char buffer[4096];
    ssize_t n;
    while ((n = read(stream->fd, buffer, sizeof(buffer))) > 0) {
        stream->bytes += (size_t)n;
        for (ssize_t i = 0; i < n && !stream->complete; i++) {
            stream->complete = buffer[i] == '\n' || stream->length + 1 == ACTUATOR_FIRST_LINE_SIZE;
            if (!stream->complete)
                stream->line[stream->length++] = buffer[i] ? buffer[i] : '?';
        }
        if (stream->bytes > ACTUATOR_OUTPUT_MAX_BYTES)
            return true;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

// Waits for the end of the process, not of its output: others may keep that open.
static int wait_for_end(int pidfd, struct stream streams[2], const struct clock *clock,
                        uint64_t deadline_ns, struct error *err)
{
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN},
                           {.fd = streams[0].fd, .events = POLLIN},
                           {.fd = streams[1].fd, .events = POLLIN}};
    for (;;) {
        uint64_t now = clock_now_ns(clock);
        if (now >= deadline_ns)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "it did not end in time and was killed");
        uint64_t left_ms = (deadline_ns - now) / NS_PER_MS + 1;
        int n = poll(fds, 3, left_ms > 60000 ? 60000 : (int)left_ms);
        if (n < 0 && errno != EINTR)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "poll");
        for (unsigned i = 0; n > 0 && i < 2; i++) {
            if (fds[i + 1].revents && !drain(&streams[i]))
                fds[i + 1].fd = -1;
        }
        if (streams[0].bytes + streams[1].bytes > ACTUATOR_OUTPUT_MAX_BYTES)
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "it printed more than %u bytes and was killed",
                             ACTUATOR_OUTPUT_MAX_BYTES);
        if (n > 0 && fds[0].revents)
            return 0;
    }
}

// The parent of a process, from its line in /proc; -1 if there is none.
static pid_t parent_of(pid_t pid)
{
    char path[64];
    char text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    // The command's name may hold anything; what follows its last bracket is " S PARENT ...".
    const char *end = strrchr(text, ')');
    return end && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : -1;
}

// Kills every child of this process, among them the orphans of the program.
static void kill_children(void)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && parent_of(pid) == getpid())
            kill(pid, SIGKILL); // a child of ours that is not reaped: the number is its own
    }
    if (folder)
        closedir(folder);
}

// Ends everything that is left. Descendants become children when their parents die, so this goes
// on until there is none. Returns -1 if that does not happen.
static int sweep(pid_t pid, int *status, struct error *err)
{
    *status = 0;
    kill(-pid, SIGKILL); // nobody has been reaped: the group is still that of the program
    for (unsigned round = 0; round < SWEEP_ROUNDS; round++) {
        int one;
        pid_t reaped;
        kill_children();
        while ((reaped = waitpid(-1, &one, WNOHANG)) > 0) {
            if (reaped == pid)
                *status = one;
        }
        if (reaped < 0 && errno == ECHILD)
            return 0;
        poll(NULL, 0, 5);
    }
    return error_set(err, EXIT_STATUS_FAILURE, 0, "what it started cannot be killed");
}

int actuator_process_run(const char *const *arguments, const struct clock *clock,
                         uint64_t deadline_ns, struct actuator_output *output, struct error *err)
{
    struct stream streams[2] = {{.fd = -1, .line = output->out}, {.fd = -1, .line = output->err}};
    *output = (struct actuator_output){0};
    pid_t pid = start(arguments, streams, err);
    cleanup_fd int out = streams[0].fd;
    cleanup_fd int messages = streams[1].fd;
    if (pid < 0)
        return -1;
    cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int result = pidfd < 0 ? error_set(err, EXIT_STATUS_INTERNAL, errno, "pidfd_open")
                           : wait_for_end(pidfd, streams, clock, deadline_ns, err);
    int status;
    if (sweep(pid, &status, err) < 0 || result < 0)
        return error_wrap(err, "%s", arguments[0]);
    drain(&streams[0]);
    drain(&streams[1]);
    if (WIFSIGNALED(status))
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s was killed by signal %d", arguments[0],
                         WTERMSIG(status));
    if (WEXITSTATUS(status) == STATUS_NOT_STARTED)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s could not be executed (status 127)",
                         arguments[0]);
    return WEXITSTATUS(status);
}
