// SPDX-License-Identifier: Apache-2.0
// Claims of CPUs: locks on entries of sysfs.
#include "core_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"

// Two that come at the same time may both be refused, never both be let in: each tries again.
#define TRIES    5
#define PAUSE_US 500

enum core_lock {
    LOCK_OF_ALL,         // a model alone: exclusive; everybody else: shared
    LOCK_OF_MODELS,      // held by models that share
    LOCK_OF_HYPERVISORS, // held by the mediation of models that do not
    CORE_LOCKS,
};

// Entries that sysfs has for every CPU, whatever kernel and processor.
static const char *const entries[CORE_LOCKS] = {
    [LOCK_OF_ALL] = "",
    [LOCK_OF_MODELS] = "/topology",
    [LOCK_OF_HYPERVISORS] = "/topology/core_id",
};

// What a use holds, and of which lock nobody may be a holder.
static const struct {
    int all;  // how it holds LOCK_OF_ALL
    int held; // -1: nothing else
    int free; // -1: nothing else
} rules[CORE_USES] = {
    [CORE_MODEL] = {LOCK_EX, -1, -1},
    [CORE_MODEL_SHARED] = {LOCK_SH, LOCK_OF_MODELS, LOCK_OF_HYPERVISORS},
    [CORE_HYPERVISOR] = {LOCK_SH, LOCK_OF_HYPERVISORS, LOCK_OF_MODELS},
    [CORE_HYPERVISOR_SHARED] = {LOCK_SH, -1, -1},
};

static int open_entry(const struct host_root *root, unsigned cpu, enum core_lock lock)
{
    char path[96];
    snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u%s", cpu, entries[lock]);
    return openat(root->fd, path, O_RDONLY | O_CLOEXEC);
}

// Returns the descriptor that holds the lock; -1 with errno, EWOULDBLOCK: others hold it.
static int take(const struct host_root *root, unsigned cpu, enum core_lock lock, int how)
{
    cleanup_fd int fd = open_entry(root, cpu, lock);
    if (fd < 0 || flock(fd, how | LOCK_NB) < 0)
        return -1;
    return steal_fd(&fd);
}

static bool make_room(struct core_claims *claims)
{
    if (claims->count + CORE_LOCKS <= claims->capacity)
        return true;
    unsigned capacity = claims->capacity ? claims->capacity * 2 : 16;
    int *fds = realloc(claims->fds, capacity * sizeof(*fds));
    if (!fds)
        return false;
    claims->fds = fds;
    claims->capacity = capacity;
    return true;
}

// The own locks first, then a look at the others': of two at the same time, one sees the other.
static bool claim_once(struct core_claims *claims, const struct host_root *root, unsigned cpu,
                       enum core_use use)
{
    cleanup_fd int all = take(root, cpu, LOCK_OF_ALL, rules[use].all);
    if (all < 0)
        return false;
    cleanup_fd int held = -1;
    if (rules[use].held >= 0) {
        held = take(root, cpu, (enum core_lock)rules[use].held, LOCK_SH);
        if (held < 0)
            return false;
        cleanup_fd int others = take(root, cpu, (enum core_lock)rules[use].free, LOCK_EX);
        if (others < 0)
            return false;
        claims->fds[claims->count++] = steal_fd(&held);
    }
    claims->fds[claims->count++] = steal_fd(&all);
    return true;
}

int core_claim(struct core_claims *claims, const struct host_root *root,
               const struct cpu_list *cpus, enum core_use use, unsigned *taken, struct error *err)
{
    unsigned before = claims->count;
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (!cpu_list_has(cpus, cpu))
            continue;
        bool claimed = false;
        if (!make_room(claims)) {
            core_claims_cut(claims, before);
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "claims of CPUs");
        }
        errno = EWOULDBLOCK;
        for (unsigned i = 0; i < TRIES && !claimed && errno == EWOULDBLOCK; i++) {
            if (i)
                usleep(PAUSE_US);
            claimed = claim_once(claims, root, cpu, use);
        }
        if (claimed)
            continue;
        int code = errno;
        *taken = cpu;
        core_claims_cut(claims, before);
        return code == EWOULDBLOCK
                   ? 1
                   : error_set(err, EXIT_STATUS_RESOURCES, code, "claim CPU %u", cpu);
    }
    return 0;
}

bool core_is_used(const struct host_root *root, const struct cpu_list *cpus)
{
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (!cpu_list_has(cpus, cpu))
            continue;
        cleanup_fd int all = take(root, cpu, LOCK_OF_ALL, LOCK_EX);
        if (all < 0)
            return true;
    }
    return false;
}

void core_claims_cut(struct core_claims *claims, unsigned count)
{
    int code = errno;
    while (claims->count > count) {
        int fd = claims->fds[--claims->count];
        flock(fd, LOCK_UN);
        close(fd);
    }
    errno = code;
}

void core_claims_release(struct core_claims *claims)
{
    core_claims_cut(claims, 0);
    free(claims->fds);
    *claims = (struct core_claims){0};
}
