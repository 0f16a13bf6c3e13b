// SPDX-License-Identifier: Apache-2.0
// What host_cores.c and host_cpuset.c share. Nobody else includes this.
#ifndef MONITOR_HOST_CORES_INTERNAL_H
#define MONITOR_HOST_CORES_INTERNAL_H

#include "host_cores.h"
#include "topology.h"

#define HOST_RESERVATIONS_MAX 256u

// One turn of host_cores_settle.
struct settling {
    const struct host_root *root;
    struct host_cores_report *report;
    struct host_reservation reservations[HOST_RESERVATIONS_MAX]; // those that are alive
    unsigned count;
    struct cpu_list online;
    struct cpu_list model;  // of all of them
    struct cpu_list others; // online CPUs that no model has
    struct error err;       // of what is best effort
};

// Moves every task that can be moved off the model cores, and removes the cpusets of reservations
// that are no more.
void host_cpuset_settle(struct settling *s);

// Removes all cpusets of ours.
void host_cpuset_dissolve(struct settling *s);

// True if the cpuset of everybody else is there.
bool host_cpuset_is_left(const struct host_root *root);

// True for settings of cpusets that host_cpuset_settle changes.
bool host_cpuset_is_setting(const char *path);

#endif
