// SPDX-License-Identifier: Apache-2.0
// Which host CPUs run vCPUs and which run the hypervisor's threads.
#ifndef MONITOR_PLACEMENT_H
#define MONITOR_PLACEMENT_H

#include "core_claim.h"
#include "topology.h"
#include "vm_file.h"

enum placement_state {
    PLACEMENT_ISOLATED, // model cores of its own: no physical core or private cache in common
    PLACEMENT_SHARED,   // as agreed: other VMs may run on the same cores
    PLACEMENT_UNPINNED, // too few cores: threads run anywhere, no other VM does
};

// Where one VM runs. Owns the claims of its CPUs.
struct placement {
    enum placement_state state;
    struct cpu_list model;      // CPUs that vCPUs may run on
    struct cpu_list reserved;   // those, and what shares a core or private cache with them
    struct cpu_list hypervisor; // CPUs that mediation runs on
    unsigned node;              // NUMA node of the model, 0 where there is one
    const char *weakness;       // why a VM is not isolated although it should be, or NULL
    struct core_claims claims;
};

// Fills model_cpus, poller_count and hypervisor_cpus of the configuration from the description, or
// chooses: one CPU of each physical core, on one NUMA node, those first that the host keeps free
// (isolcpus), then fast ones, the one of CPU 0 last; mediation on the same node, behind another
// last-level cache if there is one. Cores that another VM has claimed are not chosen, and refused
// if they are given. Given cores must exist, be usable, be enough, and be disjoint down to the
// private caches unless the VM is `shared`. With too few CPUs nothing is pinned, which --require
// basic and strict refuse. Claims are held until placement_release.
int placement_choose(const struct host_root *root, const struct vm_description *vm,
                     struct vmm_config *config, struct placement *placement, struct error *err);

// Gives the claims back. Nothing of the VM runs any more.
void placement_release(struct placement *placement);

// "isolated", "shared" or "unpinned".
const char *placement_state_name(enum placement_state state);

// Moves a thread off the model cores of a configuration, if there are any. 0: the calling thread.
// Best effort.
void placement_leave_model_cores(const struct vmm_config *config, int thread);

#endif
