// SPDX-License-Identifier: Apache-2.0
// The host's processors as sysfs describes them.
#include "topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU_FOLDER "sys/devices/system/cpu"

// Caches of a CPU that sysfs may list, and their levels.
#define CACHES_MAX 16u

bool cpu_list_meets(const struct cpu_list *a, const struct cpu_list *b)
{
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++) {
        if (a->bits[i] & b->bits[i])
            return true;
    }
    return false;
}

void cpu_list_join(struct cpu_list *target, const struct cpu_list *other)
{
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        target->bits[i] |= other->bits[i];
}

void cpu_list_remove(struct cpu_list *target, const struct cpu_list *other)
{
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        target->bits[i] &= ~other->bits[i];
}

int topology_open(struct topology *topology, const struct host_root *root, struct error *err)
{
    *topology = (struct topology){.root = root};
    if (!host_read_cpus(root, CPU_FOLDER "/online", &topology->online) ||
        !cpu_list_count(&topology->online))
        return error_set(err, EXIT_STATUS_RESOURCES, errno,
                         "/" CPU_FOLDER "/online does not say which CPUs there are");
    // Older kernels, and those without the feature, have neither: nothing is isolated then.
    if (!host_read_cpus(root, CPU_FOLDER "/isolated", &topology->isolated))
        topology->isolated = (struct cpu_list){0};
    if (!host_read_cpus(root, CPU_FOLDER "/nohz_full", &topology->nohz_full))
        topology->nohz_full = (struct cpu_list){0};
    topology->cpus = calloc(CPU_LIST_MAX, sizeof(*topology->cpus));
    return topology->cpus ? 0 : error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "topology");
}

void topology_close(struct topology *topology)
{
    free(topology->cpus);
    *topology = (struct topology){0};
}

struct cpu_cache {
    uint64_t level;
    struct cpu_list shared;
};

static unsigned read_caches(const struct topology *topology, unsigned cpu, struct cpu_cache *caches)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CACHES_MAX; i++) {
        char path[128];
        struct cpu_cache *cache = &caches[count];
        snprintf(path, sizeof(path), CPU_FOLDER "/cpu%u/cache/index%u/level", cpu, i);
        if (!host_read_u64(topology->root, path, &cache->level))
            break;
        snprintf(path, sizeof(path), CPU_FOLDER "/cpu%u/cache/index%u/shared_cpu_list", cpu, i);
        count += host_read_cpus(topology->root, path, &cache->shared);
    }
    return count;
}

static void read_cache_sharing(const struct topology *topology, unsigned cpu,
                               struct topology_cpu *found)
{
    struct cpu_cache caches[CACHES_MAX];
    unsigned count = read_caches(topology, cpu, caches);
    uint64_t last = 0;
    for (unsigned i = 0; i < count; i++)
        last = caches[i].level > last ? caches[i].level : last;
    for (unsigned i = 0; i < count; i++) {
        // The only level there is has to count as private, or nothing would.
        bool is_private = caches[i].level < last || last == 1;
        cpu_list_join(is_private ? &found->private_with : &found->last_level, &caches[i].shared);
    }
}

static unsigned find_node(const struct topology *topology, unsigned cpu)
{
    // A CPU's folder has a link to the folder of its node.
    for (unsigned node = 0; node < CPU_LIST_MAX; node++) {
        char path[96];
        snprintf(path, sizeof(path), "sys/devices/system/node/node%u", node);
        if (!host_has(topology->root, path))
            continue;
        struct cpu_list cpus;
        snprintf(path, sizeof(path), "sys/devices/system/node/node%u/cpulist", node);
        if (host_read_cpus(topology->root, path, &cpus) && cpu_list_has(&cpus, cpu))
            return node;
        if (node > 64)
            break; // numbers have gaps, but not that wide
    }
    return 0;
}

static bool read_cpu_list(const struct topology *topology, unsigned cpu, const char *name,
                          struct cpu_list *list)
{
    char path[128];
    snprintf(path, sizeof(path), CPU_FOLDER "/cpu%u/%s", cpu, name);
    return host_read_cpus(topology->root, path, list) && cpu_list_count(list);
}

static uint64_t read_number(const struct topology *topology, unsigned cpu, const char *name,
                            uint64_t otherwise)
{
    char path[128];
    uint64_t value;
    snprintf(path, sizeof(path), CPU_FOLDER "/cpu%u/%s", cpu, name);
    return host_read_u64(topology->root, path, &value) ? value : otherwise;
}

static void read_cpu(const struct topology *topology, unsigned cpu, struct topology_cpu *found)
{
    // The kernel says -1 where it does not know: then all CPUs are of one package.
    found->package = (unsigned)read_number(topology, cpu, "topology/physical_package_id", 0);
    found->node = find_node(topology, cpu);
    // 1024 is what Linux calls the fastest.
    found->capacity = read_number(topology, cpu, "cpu_capacity", 1024);
    if (!read_cpu_list(topology, cpu, "topology/core_cpus_list", &found->siblings) &&
        !read_cpu_list(topology, cpu, "topology/thread_siblings_list", &found->siblings))
        found->siblings = (struct cpu_list){0};
    cpu_list_add(&found->siblings, cpu);
    found->private_with = found->siblings;
    read_cache_sharing(topology, cpu, found);
    if (!cpu_list_count(&found->last_level) &&
        !read_cpu_list(topology, cpu, "topology/package_cpus_list", &found->last_level) &&
        !read_cpu_list(topology, cpu, "topology/core_siblings_list", &found->last_level))
        found->last_level = topology->online;
    found->known = true;
}

const struct topology_cpu *topology_cpu(struct topology *topology, unsigned cpu)
{
    struct topology_cpu *found = &topology->cpus[cpu % CPU_LIST_MAX];
    if (!found->known)
        read_cpu(topology, cpu, found);
    return found;
}

struct cpu_list topology_domain(struct topology *topology, const struct cpu_list *cpus)
{
    // Sharing is not always the same seen from both sides (a hot-plugged sibling), but one step
    // further changes nothing on any real host.
    struct cpu_list domain = *cpus;
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (cpu_list_has(cpus, cpu) && cpu_list_has(&topology->online, cpu))
            cpu_list_join(&domain, &topology_cpu(topology, cpu)->private_with);
    }
    return domain;
}

bool topology_has_smt(struct topology *topology)
{
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (!cpu_list_has(&topology->online, cpu))
            continue;
        const struct cpu_list *siblings = &topology_cpu(topology, cpu)->siblings;
        for (unsigned other = 0; other < CPU_LIST_MAX; other++) {
            if (other != cpu && cpu_list_has(siblings, other) &&
                cpu_list_has(&topology->online, other))
                return true;
        }
    }
    return false;
}

unsigned topology_nodes(const struct host_root *root)
{
    struct cpu_list nodes;
    if (!host_read_cpus(root, "sys/devices/system/node/has_memory", &nodes))
        return 1;
    unsigned count = cpu_list_count(&nodes);
    return count ? count : 1;
}
