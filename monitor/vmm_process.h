// SPDX-License-Identifier: Apache-2.0
// Starts guillotine-vmm and hands it its descriptors and configuration.
#ifndef MONITOR_VMM_PROCESS_H
#define MONITOR_VMM_PROCESS_H

#include <sys/types.h>

#include "level.h"
#include "shared_ring.h"
#include "vm_file.h"

// One VMM process and the supervisor's ends of everything it shares.
struct vmm_process {
    pid_t pid;
    int pidfd;
    int channel;
    int wake_vmm;        // eventfd that wakes its poller
    int wake_supervisor; // eventfd that it wakes us with
    int audit_ring;
    int console_out;
    int console_in;
    int memory; // guest memory
    int level_supervisor_fd;
    int level_vmm_fd;
    struct level_page *level_own;       // written by the supervisor
    const struct level_page *level_vmm; // written by the VMM
};

// Opens /dev/kvm. The message says which group or module is missing. Returns -1 on failure.
int kvm_device_open(struct error *err);

// Starts the VMM with `kvm_fd`: it creates the VM while the caller goes on. Its signals are
// unblocked, it has its own process group, and no terminal.
int vmm_process_start(struct vmm_process *process, int kvm_fd, struct error *err);

// Makes rings, level pages and the guest memory's memfd.
int vmm_process_prepare(struct vmm_process *process, struct error *err);

// Opens image and weights, checks them and the host's resources, and sends the configuration.
int vmm_process_configure(const struct vmm_process *process, const struct vm_description *vm,
                          struct error *err);

// Kills the VMM if it still runs, reaps it, and closes and unmaps everything. Returns the wait
// status, or -1 if there was no process.
int vmm_process_end(struct vmm_process *process);

#endif
