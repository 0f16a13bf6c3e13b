// SPDX-License-Identifier: Apache-2.0
// Which host CPUs run vCPUs and which run the hypervisor's threads.
#ifndef MONITOR_PLACEMENT_H
#define MONITOR_PLACEMENT_H

#include "vm_file.h"

// Fills model_cpus, poller_count and hypervisor_cpus of the configuration from the description, or
// chooses: the last usable CPU for the hypervisor, the first ones for vCPUs. Each hypervisor core
// that is given gets a poller, as long as there are ports for it. With too few CPUs nothing is
// pinned, which --require basic and strict refuse. Given cores must exist, be usable, be enough
// and not overlap.
int placement_choose(const struct vm_description *vm, struct vmm_config *config, struct error *err);

// Moves a thread off the model cores of a configuration, if there are any. 0: the calling thread.
// Best effort.
void placement_leave_model_cores(const struct vmm_config *config, int thread);

#endif
