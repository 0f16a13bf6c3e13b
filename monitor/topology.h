// SPDX-License-Identifier: Apache-2.0
// The host's processors as Linux describes them in sysfs: which CPUs share a physical core, a
// private cache, a last-level cache, a NUMA node.
#ifndef MONITOR_TOPOLOGY_H
#define MONITOR_TOPOLOGY_H

#include "host_root.h"

struct topology_cpu {
    bool known;
    unsigned package;
    unsigned node;                // NUMA node
    struct cpu_list siblings;     // CPUs of the same physical core, itself too
    struct cpu_list private_with; // CPUs that share the core or a cache that is not the last level
    struct cpu_list last_level;   // CPUs that share its last-level cache
    uint64_t capacity;            // relative speed, 1024: the fastest (hybrid processors)
};

// CPUs are read when they are asked for: a large host has thousands of files about them.
struct topology {
    const struct host_root *root;
    struct cpu_list online;
    struct cpu_list isolated; // isolcpus= or an isolated cpuset partition
    struct cpu_list nohz_full;
    struct topology_cpu *cpus; // CPU_LIST_MAX of them, owned
};

// Reads what concerns all CPUs. Returns -1 if sysfs does not say which are online.
int topology_open(struct topology *topology, const struct host_root *root, struct error *err);

void topology_close(struct topology *topology);

// What is known about a CPU, which must be online. Where sysfs says nothing about caches, CPUs of a
// package are taken to share the last level, and nothing else. Never NULL.
const struct topology_cpu *topology_cpu(struct topology *topology, unsigned cpu);

// The CPUs that share a physical core or a private cache with any of `cpus`, those included.
struct cpu_list topology_domain(struct topology *topology, const struct cpu_list *cpus);

// The number of online CPUs whose core has another online CPU (SMT).
bool topology_has_smt(struct topology *topology);

// NUMA nodes with memory.
unsigned topology_nodes(const struct host_root *root);

// True if the lists have a CPU in common.
bool cpu_list_meets(const struct cpu_list *a, const struct cpu_list *b);
// target |= other, target &= ~other.
void cpu_list_join(struct cpu_list *target, const struct cpu_list *other);
void cpu_list_remove(struct cpu_list *target, const struct cpu_list *other);

#endif
