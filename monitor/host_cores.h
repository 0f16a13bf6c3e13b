// SPDX-License-Identifier: Apache-2.0
// Keeps everything else off the cores of models: cpusets, interrupts, unbound kernel work.
//
// Who reserves cores says so in a file below run/guillotine/host/cores; the reservation of a VM is
// alive as long as somebody holds the lock of its file, that of `host tune` until it is reverted.
// host_cores_settle makes the host as the reservations that are alive want it: whoever calls it
// also clears up behind those that died. Needs the rights to write to cgroups and /proc/irq.
#ifndef MONITOR_HOST_CORES_H
#define MONITOR_HOST_CORES_H

#include <sys/types.h>

#include "host_root.h"

// The reservation that no process has to keep alive.
#define HOST_CORES_TUNE "tune"

struct host_reservation {
    char id[64]; // a VM's UUID, or HOST_CORES_TUNE
    struct cpu_list model;
    struct cpu_list hypervisor;
};

enum host_cpuset {
    HOST_CPUSET_NONE, // no cpuset controller, or not permitted
    HOST_CPUSET_V1,   // everybody else is moved to a cpuset of the other CPUs
    HOST_CPUSET_V2,   // an isolated partition takes the CPUs from everybody else
};

// What is true once the host has settled.
struct host_cores_report {
    enum host_cpuset cpuset;
    bool others_kept_off;     // no other task can run on the model cores, but those below
    unsigned tasks_left;      // threads of the kernel that are bound to a model core
    unsigned interrupts_left; // interrupts that cannot be moved
    unsigned settings_failed; // that could not be put back
};

// Which cgroup hierarchy has cpusets here.
enum host_cpuset host_cpuset_kind(const struct host_root *root);

// Reserves cores; *lock keeps the reservation alive until it is closed. Returns -1 with
// EXIT_STATUS_HOST_REFUSED if this is not permitted here.
int host_cores_reserve(const struct host_root *root, const struct host_reservation *reservation,
                       int *lock, struct error *err);

// True if a reservation is left whose holder died, or what one changed: host_cores_settle would put
// something back.
bool host_cores_are_stale(const struct host_root *root);

// Takes a reservation back; host_cores_settle then does the rest.
void host_cores_unreserve(const struct host_root *root, const char *id);

// Puts the threads of a VMM into the cpusets of its reservation: those named "vcpu" to the model
// cores, all others to the hypervisor cores. They keep their affinities. Returns -1 if not one
// could be moved.
int host_cores_adopt(const struct host_root *root, const struct host_reservation *reservation,
                     pid_t vmm, struct error *err);

// True if a keeper is about to put back the cores of a VM that has ended: whoever is started now
// would find too few.
bool host_cores_are_settling(const struct host_root *root);

// The model cores that `host tune` has reserved; none if it has not.
struct cpu_list host_cores_tuned(const struct host_root *root);

// Lets a VMM that has just been started use the tuned cores, which are kept from everybody.
void host_cores_lend(const struct host_root *root, pid_t vmm);

// Takes the lock that everybody holds who changes the host. Closing it gives it back. -1: not
// permitted here.
int host_cores_lock(const struct host_root *root, struct error *err);

// Makes the host as the reservations want it. Takes the lock.
int host_cores_settle(const struct host_root *root, struct host_cores_report *report,
                      struct error *err);

#endif
