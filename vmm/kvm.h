// SPDX-License-Identifier: Apache-2.0
// Thin, checked wrappers around the KVM API (Documentation/virt/kvm/api.rst). The only files that
// include <linux/kvm.h> are in this folder.
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gpa.h"

struct kvm_vm {
    int kvm_fd;         // borrowed
    int fd;             // owned
    unsigned slots;     // memslots in use
    size_t run_size;    // of a vCPU's shared page
    unsigned gpa_bits;  // physical address width
    int msr_filtered;   // 1 if guest MSR accesses are denied by KVM
    struct kvm_cpuid2 *cpuid; // profile given to every vCPU, owned
};

// Checks the API version and creates a VM. Errors have status EXIT_STATUS_NO_KVM.
int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, struct error *err);

// Denies all MSR accesses, asks for bus-lock and notify exits, computes the CPUID profile.
int kvm_vm_configure(struct kvm_vm *vm, struct error *err);

void kvm_vm_destroy(struct kvm_vm *vm);

// Adds a memslot over host memory that outlives the VM. `readonly` also makes KVM refuse writes.
int kvm_add_slot(struct kvm_vm *vm, struct gpa base, uint64_t length, void *host, int readonly,
                 struct error *err);

// Signals `event_fd` on every aligned 4-byte store to `address`, without leaving the kernel.
int kvm_add_doorbell(struct kvm_vm *vm, struct gpa address, int event_fd, struct error *err);

// Creates a vCPU with the VM's CPUID profile. *run is its shared page, mapped until exit.
// Returns the descriptor or -1.
int kvm_vcpu_create(struct kvm_vm *vm, unsigned index, struct kvm_run **run, struct error *err);

// The leaf of the VM's CPUID profile, or NULL.
const struct kvm_cpuid_entry2 *kvm_cpuid_leaf(const struct kvm_vm *vm, uint32_t function,
                                              uint32_t index);

#endif
