// SPDX-License-Identifier: Apache-2.0
// Which host CPUs run vCPUs and which run the hypervisor's threads.
#ifndef MONITOR_PLACEMENT_H
#define MONITOR_PLACEMENT_H

#include "vm_file.h"

// Fills model_cpus and hypervisor_cpu of the configuration from the description, or chooses: the
// last usable CPU for the hypervisor, the first ones for vCPUs. With too few CPUs nothing is
// pinned, which --require basic and strict refuse. Given cores must exist, be usable, be enough
// and not overlap.
int placement_choose(const struct vm_description *vm, struct vmm_config *config, struct error *err);

// Moves the calling thread, and the VMM's control thread, off the model cores, if there are any.
// Best effort.
void placement_leave_model_cores(const struct vm_description *vm, int control_thread);

#endif
