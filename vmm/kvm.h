// SPDX-License-Identifier: Apache-2.0
// Thin, checked wrappers around the KVM API (Documentation/virt/kvm/api.rst). The only files that
// include <linux/kvm.h> are in this folder.
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpuid_profile.h"
#include "error.h"
#include "gpa.h"

// ioctl(2) with the kernel's own types: C libraries disagree on the second one.
static inline int kvm_ioctl(int fd, unsigned long request, const void *argument)
{
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

struct kvm_vm {
    int kvm_fd;                   // borrowed
    int fd;                       // owned
    unsigned slots;               // memslots in use
    size_t run_size;              // of a vCPU's shared page
    unsigned gpa_bits;            // physical address width
    int msr_filtered;             // 1 if guest MSR accesses are denied by KVM
    struct cpuid_profile profile; // given to every vCPU
};

// Checks the API version and creates a VM. Errors have status EXIT_STATUS_NO_KVM.
// `vm` is zeroed, with fd -1; fd is set last, once the VM exists.
int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, struct error *err);

// Denies all MSR accesses, asks for bus-lock and notify exits, reads the CPUID profile.
void kvm_vm_configure(struct kvm_vm *vm);

void kvm_vm_destroy(struct kvm_vm *vm);

// Adds a memslot over host memory that outlives the VM. `readonly` also makes KVM refuse writes.
int kvm_add_slot(struct kvm_vm *vm, struct gpa base, uint64_t length, void *host, int readonly,
                 struct error *err);

// Signals `event_fd` on every aligned 4-byte store to `address`, without leaving the kernel.
int kvm_add_doorbell(struct kvm_vm *vm, struct gpa address, int event_fd, struct error *err);

// Creates a vCPU with the VM's CPUID profile. *run is its shared page, mapped until exit.
// Returns the descriptor or -1.
int kvm_vcpu_create(struct kvm_vm *vm, unsigned index, struct kvm_run **run, struct error *err);

#endif
