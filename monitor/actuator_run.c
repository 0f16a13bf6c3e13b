// SPDX-License-Identifier: Apache-2.0
// One run of guillotine-actuator. What it says is read like the words of a stranger: it talks to
// devices that may be hostile.
#include "actuator_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "paths.h"
#include "spawn.h"

#define PROGRAM "guillotine-actuator"
// Two lines for each attempt, and some.
#define LINES_MAX (ACTUATOR_MAX * 11u * 2u + 64u)
// Beyond the bound of the configuration: start, killing of what a command left, the last line.
#define MARGIN_MS 5000u

static int make_pipe(int *read_end, int *write_end, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe of " PROGRAM);
    *read_end = ends[0];
    *write_end = ends[1];
    // Only our end: the program's writes may wait.
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0
               ? error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe of " PROGRAM)
               : 0;
}

static int bound_ms(const struct actuator_request *request, uint64_t *bound, struct error *err)
{
    cleanup_free struct actuator_config *config = calloc(1, sizeof(*config));
    if (!config)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "actuators");
    if (actuator_config_open(request->config ? request->config : "", request->state_dir, config,
                             err))
        return -1;
    *bound = 2 * actuator_config_bound_ms(config, request->action) + MARGIN_MS;
    actuator_config_free(config);
    return 0;
}

int actuator_start(struct actuator_run *run, const struct actuator_request *request,
                   struct error *err)
{
    const char *arguments[16] = {PROGRAM, "--state-dir", request->state_dir};
    unsigned count = 3;
    char path[PATH_MAX];
    uint64_t bound;
    cleanup_fd int output = -1;
    cleanup_fd int remote = -1;
    *run = (struct actuator_run){.request = *request, .pidfd = -1, .output = -1};
    if (bound_ms(request, &bound, err) || paths_sibling(PROGRAM, path, err) ||
        make_pipe(&output, &remote, err))
        return -1;
    if (request->config && *request->config) {
        arguments[count++] = "--config";
        arguments[count++] = request->config;
    }
    if (request->only) {
        arguments[count++] = "--actuator";
        arguments[count++] = request->only;
    }
    if (request->allow_host_cut)
        arguments[count++] = "--allow-host-cut";
    arguments[count++] = actuator_action_name(request->action);
    const struct spawn_request spawn = {
        .path = path,
        .name = PROGRAM,
        .arguments = arguments,
        .output_fd = remote,
        .wait = 1,
        .keep_stderr = 1,
    };
    pid_t pid = spawn_program(&spawn, &run->pidfd, err);
    if (pid < 0) {
        run->pidfd = -1;
        return -1;
    }
    run->pid = pid;
    run->output = steal_fd(&output);
    run->deadline_ns = clock_now_ns(request->clock) + bound * NS_PER_MS;
    run->request.config = run->request.state_dir = run->request.only = NULL;
    return 0;
}

void actuator_watch(const struct actuator_run *run, struct pollfd fds[ACTUATOR_RUN_FDS])
{
    fds[0] = (struct pollfd){.fd = run->pid > 0 ? run->pidfd : -1, .events = POLLIN};
    fds[1] =
        (struct pollfd){.fd = run->pid > 0 && !run->silent ? run->output : -1, .events = POLLIN};
}

uint64_t actuator_deadline_ns(const struct actuator_run *run)
{
    return run->pid > 0 && !run->over ? run->deadline_ns : UINT64_MAX;
}

static void tell(struct actuator_run *run, const struct actuator_event *event)
{
    if (run->request.on_event)
        run->request.on_event(run->request.context, event);
}

static int take_line(struct actuator_run *run, size_t length, struct error *err)
{
    struct actuator_event event;
    if (run->summarized || ++run->lines > LINES_MAX)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, PROGRAM " says too much");
    if (actuator_event_parse(run->line, length, &event, err))
        return -1;
    if (event.action != run->request.action)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, PROGRAM " speaks of another action");
    if (event.kind == ACTUATOR_EVENT_SUMMARY) {
        run->summarized = true;
        run->summary = event;
        return 0; // told at the end, when the exit status is known too
    }
    tell(run, &event);
    return 0;
}

// Takes all complete lines that are there. Returns 1 at the end of the output, 0, or -1.
static int take_output(struct actuator_run *run, struct error *err)
{
    for (;;) {
        ssize_t n = read(run->output, run->line + run->used, sizeof(run->line) - run->used);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR
                       ? 0
                       : error_set(err, EXIT_STATUS_INTERNAL, errno, "read from " PROGRAM);
        if (n == 0)
            return 1;
        run->used += (size_t)n;
        char *end;
        while ((end = memchr(run->line, '\n', run->used))) {
            size_t length = (size_t)(end - run->line);
            if (take_line(run, length, err))
                return -1;
            run->used -= length + 1;
            memmove(run->line, end + 1, run->used);
        }
        if (run->used == sizeof(run->line))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, PROGRAM " sends a line without an end");
    }
}

// Ends the run; `problem` is what went wrong with the program itself, or NULL.
static bool finish(struct actuator_run *run, bool success, const char *problem)
{
    if (!run->summarized || problem) {
        run->summary = (struct actuator_event){
            .kind = ACTUATOR_EVENT_SUMMARY,
            .action = run->request.action,
            .attempt = run->summary.attempt,
        };
        snprintf(run->summary.detail, sizeof(run->summary.detail), "%s",
                 problem ? problem : PROGRAM " ended without a result");
    }
    run->confirmed = success && run->summarized && !problem && run->summary.confirmed;
    run->summary.confirmed = run->confirmed;
    run->over = true;
    tell(run, &run->summary);
    return true;
}

bool actuator_serve(struct actuator_run *run)
{
    struct error err = {0};
    siginfo_t end = {0};
    if (run->pid <= 0 || run->over)
        return false;
    int ended = waitid(P_PID, (id_t)run->pid, &end, WEXITED | WNOHANG | WNOWAIT);
    // After its end everything it said is in the pipe.
    bool gone = ended == 0 && end.si_pid == run->pid;
    int taken = run->silent ? 1 : take_output(run, &err);
    run->silent = taken > 0;
    if (taken < 0) {
        kill(-run->pid, SIGKILL);
        return finish(run, false, err.text);
    }
    if (gone)
        return finish(run, end.si_code == CLD_EXITED && end.si_status == 0, NULL);
    if (clock_now_ns(run->request.clock) < run->deadline_ns)
        return false;
    kill(-run->pid, SIGKILL);
    return finish(run, false, PROGRAM " did not end in time and was killed");
}

static void release(struct actuator_run *run)
{
    if (run->pid > 0 && run->pidfd >= 0)
        close(run->pidfd);
    if (run->pid > 0 && run->output >= 0)
        close(run->output);
    run->pid = 0;
    run->pidfd = run->output = -1;
}

void actuator_end(struct actuator_run *run)
{
    if (run->pid > 0) {
        kill(-run->pid, SIGKILL); // not reaped: pid and group are still its own
        kill(run->pid, SIGKILL);
        while (waitpid(run->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    release(run);
}

void actuator_detach(struct actuator_run *run)
{
    release(run);
}

int actuator_run_to_end(const struct actuator_request *request, struct error *err)
{
    struct actuator_run run;
    struct pollfd fds[ACTUATOR_RUN_FDS];
    if (actuator_start(&run, request, err))
        return -1;
    while (!actuator_serve(&run)) {
        actuator_watch(&run, fds);
        // Short, since the clock may be any clock.
        poll(fds, ACTUATOR_RUN_FDS, 1000);
    }
    actuator_end(&run);
    return run.confirmed ? 0
                         : error_set(err, EXIT_STATUS_FAILURE, 0, "%s is not confirmed: %s",
                                     actuator_action_name(request->action), run.summary.detail);
}
