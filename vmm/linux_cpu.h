// SPDX-License-Identifier: Apache-2.0
// The processor that a Linux guest sees.
#ifndef VMM_LINUX_CPU_H
#define VMM_LINUX_CPU_H

#include <stdbool.h>

#include "kvm.h"

// Gives a vCPU what KVM supports, as far as a table allows, with its own APIC id; `kvmclock` adds
// KVM's paravirtual clock and nothing else of KVM's leaves.
int linux_cpu_set_cpuid(const struct kvm_vm *vm, int vcpu_fd, unsigned index, bool kvmclock,
                        struct error *err);

// Lets KVM serve the MSRs of a table, and no others: accesses to them fault in the guest. Returns
// false if the host has no MSR filter.
bool linux_cpu_filter_msrs(const struct kvm_vm *vm, bool kvmclock);

// Registers as the 64-bit boot protocol, or PVH, wants them (enum linux_entry_mode).
int linux_cpu_set_entry(int vcpu_fd, unsigned mode, uint64_t instruction, uint64_t argument,
                        struct error *err);

#endif
