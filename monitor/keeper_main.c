// SPDX-License-Identifier: Apache-2.0
// guillotine-keeper: keeps everything else off the model cores of one VM while it runs.
//
// A process of its own, so that the host is put back also if the supervisor is killed. If both are,
// the next keeper does it, or `guillotine host tune --revert`.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "core_cookie.h"
#include "fd_message.h"
#include "host_cache.h"
#include "host_cores.h"
#include "keeper_protocol.h"
#include "topology.h"

static int read_arguments(char **argv, struct host_reservation *reservation, pid_t *vmm,
                          struct error *err)
{
    uint64_t number;
    snprintf(reservation->id, sizeof(reservation->id), "%s", argv[1]);
    if (cpu_list_parse(argv[2], &reservation->model, err) < 0 ||
        cpu_list_parse(argv[3], &reservation->hypervisor, err) < 0 ||
        number_parse(argv[4], 1, INT32_MAX, &number, err) < 0)
        return -1;
    *vmm = (pid_t)number;
    return 0;
}

static bool has_smt(const struct host_root *root)
{
    struct topology topology;
    if (topology_open(&topology, root, NULL) < 0)
        return false;
    bool smt = topology_has_smt(&topology);
    topology_close(&topology);
    return smt;
}

// The threads first: moving everybody else off the cores must not move them.
static int keep(const struct host_root *root, const struct host_reservation *reservation, pid_t vmm,
                int *lock, struct keeper_report *report, struct error *err)
{
    struct host_cores_report cores = {0};
    if (host_cores_reserve(root, reservation, lock, err) < 0)
        return -1;
    int result = host_cores_adopt(root, reservation, vmm, err);
    if (host_cores_settle(root, &cores, result < 0 ? NULL : err) < 0)
        result = -1;
    report->cpuset = cores.cpuset;
    report->others_kept_off = result == 0 && cores.others_kept_off;
    report->tasks_left = cores.tasks_left;
    report->interrupts_left = cores.interrupts_left;
    report->cache_ways = host_cache_assign(root, reservation, vmm);
    report->cookies = has_smt(root) && core_cookie_give(vmm);
    return result;
}

static void put_back(const struct host_root *root, const struct host_reservation *reservation,
                     int *lock)
{
    struct host_cores_report cores;
    struct error err;
    host_cache_release(root, reservation->id);
    host_cores_unreserve(root, reservation->id);
    if (*lock >= 0)
        close(*lock);
    *lock = -1;
    host_cores_settle(root, &cores, &err);
}

// Whatever comes, or the end of the channel: the supervisor says nothing.
static void wait_for_end(void)
{
    char byte;
    while (read(KEEPER_CHANNEL_FD, &byte, sizeof(byte)) < 0 && errno == EINTR)
        continue;
}

int main(int argc, char **argv)
{
    struct host_reservation reservation = {0};
    struct keeper_report report = {.format = KEEPER_FORMAT};
    struct host_root root = HOST_ROOT_NONE;
    struct error err = {0};
    sigset_t signals;
    pid_t vmm = 0;
    int lock = -1;

    if (argc != 5 || fcntl(KEEPER_CHANNEL_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-keeper is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    // Only the end of its supervisor ends it.
    sigfillset(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    prctl(PR_SET_DUMPABLE, 0);
    if (read_arguments(argv, &reservation, &vmm, &err) < 0 || host_root_open(&root, NULL, &err) < 0)
        return EXIT_STATUS_USAGE;
    if (keep(&root, &reservation, vmm, &lock, &report, &err) < 0)
        snprintf(report.reason, sizeof(report.reason), "%.*s", (int)sizeof(report.reason) - 1,
                 err.text);
    fd_message_send(KEEPER_CHANNEL_FD, &report, sizeof(report), NULL, 0, NULL);
    wait_for_end();
    put_back(&root, &reservation, &lock);
    host_root_close(&root);
    return EXIT_STATUS_OK;
}
