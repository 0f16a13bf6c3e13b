// SPDX-License-Identifier: Apache-2.0
// Who uses which CPU of the host: no two models share one unless both agree, and none shares one
// with the mediation of a VM that has not agreed.
//
// Claims are locks (flock) on entries of sysfs that every user can open, so that they hold between
// users and state directories and end with the processes that hold them, however those end. What
// they do not reach: a container that mounts a sysfs of its own. Nobody is forced to ask; a process
// that wants to disturb has easier ways.
#ifndef MONITOR_CORE_CLAIM_H
#define MONITOR_CORE_CLAIM_H

#include "host_root.h"

// Nothing goes together with CORE_MODEL, and CORE_MODEL_SHARED not with CORE_HYPERVISOR.
enum core_use {
    CORE_MODEL,             // one model, and nothing else of any VM
    CORE_MODEL_SHARED,      // a model that agrees to share
    CORE_HYPERVISOR,        // mediation of a VM whose model has cores of its own
    CORE_HYPERVISOR_SHARED, // mediation of one that agrees to share
    CORE_USES,
};

// Claims of one VM. Owns the descriptors that hold the locks.
struct core_claims {
    int *fds;
    unsigned count;
    unsigned capacity;
};

// Claims all of `cpus`, or none of them. Returns 0; 1 with *taken set if a CPU is in use in a way
// that does not go together with `use`; -1 if locks do not work here.
int core_claim(struct core_claims *claims, const struct host_root *root,
               const struct cpu_list *cpus, enum core_use use, unsigned *taken, struct error *err);

// True if any VM uses one of `cpus`.
bool core_is_used(const struct host_root *root, const struct cpu_list *cpus);

// Gives up everything but the first `count` locks (claims->count as it was).
void core_claims_cut(struct core_claims *claims, unsigned count);

// Gives everything up, also for processes that inherited the descriptors.
void core_claims_release(struct core_claims *claims);

#endif
