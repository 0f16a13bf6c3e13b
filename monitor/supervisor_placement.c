// SPDX-License-Identifier: Apache-2.0
// Everything else off the model cores: guillotine-keeper, started by a supervisor that may.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"
#include "fd_message.h"
#include "host_root.h"
#include "paths.h"
#include "spawn.h"
#include "supervisor_internal.h"

// Cells that end at once do not rearrange the host: most of the shortest runs are over by then.
#define SETTLE_NS (250 * NS_PER_MS)

// For a host with thousands of tasks and interrupts.
#define KEEPER_MS 20000

// For the VMM to build a VM whose weights are copied.
#define PLACED_NS (600 * NS_PER_S)
#define LOOK_US   500

void keeper_init(struct supervisor *s)
{
    s->keeper.pid = -1;
    s->keeper.pidfd = s->keeper.channel = -1;
    s->keeper.start_ns = UINT64_MAX;
}

static bool is_wanted(const struct supervisor *s)
{
    return s->process.placement.state == PLACEMENT_ISOLATED && geteuid() == 0;
}

static int start_keeper(struct supervisor *s, struct error *err)
{
    char path[PATH_MAX];
    char uuid[UUID_TEXT_SIZE];
    char model[900];
    char hypervisor[900];
    char vmm[16];
    cleanup_fd int remote = -1;
    uuid_format(&s->state.uuid, uuid);
    cpu_list_format(&s->process.placement.model, model, sizeof(model));
    cpu_list_format(&s->process.placement.hypervisor, hypervisor, sizeof(hypervisor));
    snprintf(vmm, sizeof(vmm), "%d", s->process.pid);
    const char *const arguments[] = {"guillotine-keeper", uuid, model, hypervisor, vmm, NULL};
    if (paths_sibling("guillotine-keeper", path, err) < 0 ||
        spawn_channel(&s->keeper.channel, &remote, err) < 0)
        return -1;
    const struct spawn_request request = {
        .path = path,
        .arguments = arguments,
        .fds = {remote},
        .fd_count = 1,
        .wait = 1,
    };
    s->keeper.start_ns = UINT64_MAX;
    s->keeper.pid = spawn_program(&request, &s->keeper.pidfd, err);
    return s->keeper.pid < 0 ? -1 : 0;
}

// What the keeper says. It is ours; it reads nothing that a model wrote.
static void take_report(struct supervisor *s)
{
    struct keeper_report report;
    struct error err;
    size_t fd_count = 0;
    ssize_t length =
        fd_message_receive(s->keeper.channel, &report, sizeof(report), NULL, &fd_count, &err);
    if (length == (ssize_t)sizeof(report) &&
        !memcmp(report.format, KEEPER_FORMAT, sizeof(KEEPER_FORMAT))) {
        report.reason[sizeof(report.reason) - 1] = '\0';
        s->keeper.report = report;
        s->keeper.reported = true;
    } else if (length >= 0 || err.code != EAGAIN) {
        s->keeper.failed = true;
    }
}

// The CPUs that a thread of that name has to be on, and how many threads of it there are.
struct placed {
    const struct supervisor *s;
    unsigned vcpus;
    unsigned pollers;
    unsigned watchdogs;
};

static bool look_at_thread(struct placed *placed, const char *name, pid_t thread)
{
    const struct placement *p = &placed->s->process.placement;
    cpu_set_t set;
    bool is_vcpu = !strcmp(name, "vcpu");
    bool is_poller = !strcmp(name, "poller");
    bool is_watchdog = !strcmp(name, "watchdog");
    if (!is_vcpu && !is_poller && !is_watchdog)
        return true;
    if (sched_getaffinity(thread, sizeof(set), &set) < 0)
        return false;
    const struct cpu_list *own = is_vcpu ? &p->model : &p->hypervisor;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set) && !cpu_list_has(own, cpu))
            return false;
    }
    placed->vcpus += is_vcpu;
    placed->pollers += is_poller;
    placed->watchdogs += is_watchdog;
    return true;
}

// True once the VMM has started and pinned all its threads: it then waits to be let go.
static bool is_placed(const struct supervisor *s)
{
    struct placed placed = {.s = s};
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", s->process.pid);
    DIR *folder = opendir(path);
    bool pinned = folder != NULL;
    for (struct dirent *entry = folder ? readdir(folder) : NULL; entry && pinned;
         entry = readdir(folder)) {
        char name[32] = "";
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread <= 0)
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", s->process.pid, thread);
        FILE *file = fopen(path, "re");
        if (file) {
            if (fscanf(file, "%31s", name) != 1)
                name[0] = '\0';
            fclose(file);
        }
        pinned = look_at_thread(&placed, name, thread);
    }
    if (folder)
        closedir(folder);
    return pinned && placed.vcpus == s->process.config.vcpus &&
           placed.pollers == s->process.config.poller_count && placed.watchdogs == 1;
}

int keeper_require(struct supervisor *s, struct error *err)
{
    if (s->vm.require != VMM_REQUIRE_STRICT && !s->vm.placement_exclusive)
        return 0;
    if (!is_wanted(s))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "placement: keeping other tasks off the model cores needs root, and "
                         "cores of the VM's own");
    uint64_t deadline = clock_now_ns(&clock_host) + PLACED_NS;
    struct pollfd vmm = {.fd = s->process.pidfd, .events = POLLIN};
    while (!is_placed(s)) {
        // Its own words say why; the loop reads them.
        if (poll(&vmm, 1, 0) > 0)
            return 0;
        if (clock_now_ns(&clock_host) >= deadline)
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "the VMM does not place its threads");
        usleep(LOOK_US);
    }
    if (start_keeper(s, err) < 0)
        return -1;
    struct pollfd keeper = {.fd = s->keeper.channel, .events = POLLIN};
    if (poll(&keeper, 1, KEEPER_MS) > 0)
        take_report(s);
    if (s->keeper.reported && s->keeper.report.others_kept_off)
        return 0;
    return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                     "placement: other tasks cannot be kept off the model cores: %s",
                     s->keeper.reported && s->keeper.report.reason[0] ? s->keeper.report.reason
                                                                      : "no answer");
}

void keeper_take_ready(struct supervisor *s)
{
    if (is_wanted(s) && s->keeper.pid < 0)
        s->keeper.start_ns = clock_now_ns(&clock_host) + SETTLE_NS;
}

uint64_t keeper_deadline_ns(const struct supervisor *s)
{
    return s->keeper.start_ns;
}

void keeper_watch(const struct supervisor *s, struct pollfd *fds)
{
    bool waits = s->keeper.channel >= 0 && !s->keeper.reported && !s->keeper.failed;
    fds[WATCH_KEEPER] = (struct pollfd){.fd = waits ? s->keeper.channel : -1, .events = POLLIN};
}

void keeper_serve(struct supervisor *s, const struct pollfd *fds)
{
    struct error err;
    if (fds[WATCH_KEEPER].revents)
        take_report(s);
    if (clock_now_ns(&clock_host) < s->keeper.start_ns)
        return;
    if (start_keeper(s, &err) < 0) {
        s->keeper.start_ns = UINT64_MAX;
        s->keeper.failed = true;
        fprintf(stderr, "guillotine: note: other tasks stay on the model cores: %s\n", err.text);
    }
}

void keeper_dismiss(struct supervisor *s)
{
    s->keeper.start_ns = UINT64_MAX;
    if (s->keeper.channel >= 0)
        close(s->keeper.channel);
    s->keeper.channel = -1;
}

void keeper_wait(struct supervisor *s)
{
    keeper_dismiss(s);
    if (s->keeper.pid < 0)
        return;
    struct pollfd end = {.fd = s->keeper.pidfd, .events = POLLIN};
    if (poll(&end, 1, KEEPER_MS) > 0)
        waitpid(s->keeper.pid, NULL, 0);
    else
        fprintf(stderr,
                "guillotine: ALARM: guillotine-keeper (process %d) does not put the host back; "
                "`guillotine host tune --revert` does\n",
                s->keeper.pid);
    close(s->keeper.pidfd);
    s->keeper.pid = s->keeper.pidfd = -1;
}
