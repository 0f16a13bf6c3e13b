// SPDX-License-Identifier: Apache-2.0
// Starts guillotine-vmm and hands it its descriptors and configuration.
#ifndef MONITOR_VMM_PROCESS_H
#define MONITOR_VMM_PROCESS_H

#include <sys/types.h>

#include "level.h"
#include "linux_launch.h"
#include "memory_file.h"
#include "placement.h"
#include "sealed_weights.h"
#include "shared_ring.h"
#include "vm_file.h"

// One VMM process and the supervisor's ends of everything it shares.
struct vmm_process {
    pid_t pid;
    int pidfd;
    int channel;
    struct vmm_config config;      // as it will be sent
    struct placement placement;    // where it runs
    int wake_vmm[VMM_MAX_POLLERS]; // eventfds that wake its pollers
    int wake_supervisor;           // eventfd that it wakes us with
    int audit_rings[VMM_MAX_POLLERS];
    int ports[VMM_MAX_PORTS][VMM_PORT_FDS];       // as enum vmm_port_fd says, -1: none
    int memory;                                   // guest memory
    enum memory_pages memory_pages;               // what it is made of
    bool memory_bound;                            // to the model's NUMA node
    int policy;                                   // memfd of policy documents, compiled
    uint8_t *policy_area;                         // mapped; NULL: no document
    unsigned policy_half;                         // of it that is in force
    int forensics;                                // what the VMM leaves (forensic_area.h)
    const char *state_dir;                        // with keys of sealed weights; NULL: none
    struct sealed_memory sealed[VMM_MAX_WEIGHTS]; // decrypted weights
    int inputs[1 + VMM_MAX_WEIGHTS];              // image and weights, until sent; -1: none
    uint64_t input_bytes[1 + VMM_MAX_WEIGHTS];
    int initrd; // of a Linux guest; -1: none
    struct linux_loader loader;
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

// Makes the configuration of the description, and rings, level pages, memory shared with backends
// and the guest memory's memfd.
int vmm_process_prepare(struct vmm_process *process, const struct vm_description *vm,
                        struct error *err);

// Bytes of memory that a cell gets whose weights have this size together.
uint64_t vmm_process_memory_bytes(const struct vm_description *vm, uint64_t weights_bytes);

// Opens image and weights, and checks what they are.
int vmm_process_open_inputs(struct vmm_process *process, const struct vm_description *vm,
                            struct error *err);

// Decrypts sealed weights (process->state_dir), checks the host's resources, and sends the
// configuration with image and weights.
int vmm_process_configure(struct vmm_process *process, const struct vm_description *vm,
                          struct error *err);

// Lets the VMM enter the model, once it has built the VM. Must be the first message after the
// configuration.
int vmm_process_go(struct vmm_process *process, struct error *err);

// Wakes the poller that serves a port.
void vmm_process_wake(const struct vmm_process *process, unsigned port);

// Kills the VMM if it still runs, and reaps it; what is shared with it stays. Returns the wait
// status, or -1 if there was no process.
int vmm_process_kill(struct vmm_process *process);

// The same, and closes and unmaps everything.
void vmm_process_end(struct vmm_process *process);

#endif
