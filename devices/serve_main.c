// SPDX-License-Identifier: Apache-2.0
// guillotine-serve: the process of a serve port.
//
// It holds the sockets that clients on the host connect to, which somebody else opened. What
// strangers send is parsed here, where nothing can be opened or connected to.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backend_process.h"
#include "sandbox.h"
#include "serve_core.h"
#include "serve_filters.h"
#include "serve_http.h"
#include "serve_port.h"
#include "serve_rules.h"

// Address space: replies of SERVE_REPLY_MAX for a queue of calls, connections, what is mapped at
// the start.
#define MEMORY_MAX (2ull << 30)

// How often deadlines and levels are looked at while there are calls.
#define TICK_NS (50 * NS_PER_MS)

static struct backend_process process;
static struct policy_memory policy_memory;
static struct serve *core;
static struct serve_http http;
static int timer_fd = -1;
static bool ticks;

// Ticks while there are calls, and only then.
static void set_timer(bool wanted)
{
    const struct itimerspec time = {
        .it_interval = {.tv_nsec = wanted ? TICK_NS : 0},
        .it_value = {.tv_nsec = wanted ? TICK_NS : 0},
    };
    if (wanted != ticks && timerfd_settime(timer_fd, 0, &time, NULL) == 0)
        ticks = wanted;
}

static void drain_timer(void)
{
    uint64_t count;
    ssize_t ignored = read(timer_fd, &count, sizeof(count));
    (void)ignored;
}

// Every pass: what clients did, deadlines, the level. An isolated VM's clients are told so; once
// the supervisor has acted, which it does after it has raised its page, this process is of no use.
static void poll_clients(void *state)
{
    struct epoll_event event;
    (void)state;
    serve_tick(core);
    bool called = epoll_wait(process.wake_fd, &event, 1, 0) > 0;
    if (called)
        drain_timer();
    if (called || serve_http_has_news(&http))
        serve_http_run(&http);
    set_timer(serve_open_calls(core) != 0 || serve_http_has_clients(&http));
    if (!serve_is_isolated(core))
        return;
    serve_http_farewell(&http);
    if (atomic_load(&process.fabric.level_supervisor->level) >= LEVEL_SEVERED)
        _exit(EXIT_STATUS_OK);
}

// Nobody needs what was produced sooner than the next pass.
static void flush(void *state)
{
    (void)state;
}

static bool prepare_sleep(void *state, uint64_t *wake_ns)
{
    uint64_t soon_ns = clock_now_ns(&clock_host) + NS_PER_S;
    (void)state;
    if (soon_ns < *wake_ns)
        *wake_ns = soon_ns;         // requests that wait are answered in time, if with nothing
    return serve_has_waiting(core); // a client has just called
}

// Requests that waited are gone; calls are ended by the level that shut the gate.
static void forget(void *state)
{
    (void)state;
}

static const struct port_backend serve_backend = {
    .kind = PORT_KIND_SERVE,
    .name = "serve",
    .operations = serve_operations,
    .operation_count = SERVE_OPERATIONS,
    .submit = serve_take,
    .resume = serve_take_again,
    .poll = poll_clients,
    .flush = flush,
    .prepare_sleep = prepare_sleep,
    .forget = forget,
};

static int watch(int fd, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(process.wake_fd, EPOLL_CTL_ADD, fd, &event) < 0
               ? error_set(err, EXIT_STATUS_RESOURCES, errno, "serve: epoll")
               : 0;
}

static struct policy_engine *make_engine(const struct backend_process *own, struct error *err)
{
    if (policy_memory_open(&policy_memory, err) < 0)
        return NULL;
    return policy_engine_create(&own->policy, own->config.port.name, &clock_host, &policy_memory,
                                err);
}

static int open_core(const struct backend_process *own, struct error *err)
{
    const struct vmm_port_config *port = &own->config.port;
    struct serve_settings_core settings = {
        .grant = own->settings,
        .levels = {own->fabric.level_supervisor, own->fabric.level_own,
                   port->closed_at_probation ? LEVEL_STANDARD : LEVEL_PROBATION},
        .clock = &clock_host,
        .max_prompt_bytes = port->max_reply_bytes,
        .ask_again_ms = port->timeout_ms / 2,
    };
    if (own->policy.table) {
        settings.engine = make_engine(own, err);
        if (!settings.engine)
            return -1;
    }
    core = serve_open(&settings, err);
    return core ? 0 : -1;
}

static bool is_sound(const struct serve_grant *grant, const struct backend_config *config)
{
    return memchr(grant->model, 0, sizeof(grant->model)) &&
           memchr(grant->token, 0, sizeof(grant->token)) && grant->listeners &&
           grant->listeners <= SERVE_LISTENERS_MAX && config->extra_fds == grant->listeners &&
           grant->queue && grant->queue <= SERVE_QUEUE_MAX && grant->connections &&
           grant->connections <= SERVE_CLIENTS_MAX;
}

static void *make_state(struct backend_process *own, struct error *err)
{
    const struct serve_grant *grant = own->settings;
    if (own->settings_length != sizeof(*grant) || !is_sound(grant, &own->config)) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "serve: settings of another version");
        return NULL;
    }
    own->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (own->wake_fd < 0 || timer_fd < 0) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "serve: epoll");
        return NULL;
    }
    if (open_core(own, err) < 0 ||
        serve_http_open(&http, core, grant, &own->fds[BACKEND_FDS], err) < 0 ||
        watch(timer_fd, err) < 0 || watch(serve_http_epoll_fd(&http), err) < 0)
        return NULL;
    return core;
}

static int install(struct error *err)
{
    return sandbox_install(serve_filter, sizeof(serve_filter) / sizeof(serve_filter[0]), err);
}

static int serve(struct error *err)
{
    static const struct backend_kind kinds[] = {{&serve_backend, make_state}};
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    if (sandbox_enter(&missing, err) < 0 || backend_process_receive(&process, kinds, 1, err) < 0 ||
        backend_process_build(&process, err) < 0)
        return -1;
    if (setrlimit(RLIMIT_AS, &memory) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "serve: bound memory");
    if (backend_process_lock_down(&process, install, err) < 0 ||
        backend_process_report_ready(err) < 0)
        return -1;
    backend_process_run(&process);
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "serve: stopped"); // nobody stops it
}

int main(int argc, char **argv)
{
    struct error err = {0};
    (void)argv;
    if (argc > 1 || fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0) {
        fputs("guillotine-serve: `guillotine run` starts this for ports of kind serve\n", stderr);
        return EXIT_STATUS_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); // a client that has gone is seen by its socket
    serve(&err);
    backend_process_report_failure(&err);
    return (int)err.status;
}
