// SPDX-License-Identifier: Apache-2.0
// Seeds of ports in the VMM, which cannot ask the kernel for random bytes once it is locked down.
#ifndef MONITOR_PORT_SEEDS_H
#define MONITOR_PORT_SEEDS_H

#include "vm_file.h"

// Puts the seed of every clock and entropy port into a configuration that is about to be sent: that
// of the VM file (`settings`, by port), else one of getrandom. The caller wipes the configuration.
// Returns 0, or -1 with *err set.
int port_seeds_fill(struct vmm_config *config, const struct vm_settings *settings,
                    struct error *err);

// Wipes the seeds of the VM file: they have been sent.
void port_seeds_forget(struct vm_description *vm);

#endif
