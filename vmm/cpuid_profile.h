// SPDX-License-Identifier: Apache-2.0
// The fixed CPUID profile of cells: what the processor has, as far as a table allows.
#ifndef VMM_CPUID_PROFILE_H
#define VMM_CPUID_PROFILE_H

#include <linux/kvm.h>
#include <stdint.h>

#define CPUID_PROFILE_MAX 16

struct cpuid_profile {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[CPUID_PROFILE_MAX]; // head.nent of them
};

// Reads the host's leaves and masks them with the table. Everything that is not in the table (model
// name, topology, paravirtual leaves, virtualization, counters, timers) reads as zero.
//
// KVM_GET_SUPPORTED_CPUID is not asked: it executes some fifty CPUID instructions, and what decides
// whether an instruction set can be used is the processor and XCR0, which KVM checks when it is
// set.
void cpuid_profile_read(struct cpuid_profile *profile);

// The leaf of a profile, or NULL.
const struct kvm_cpuid_entry2 *cpuid_profile_leaf(const struct cpuid_profile *profile,
                                                  uint32_t function, uint32_t index);

// CR4 bits that the profile offers and a cell wants, beyond the required ones (cpu_tables.h).
uint64_t cpuid_profile_cr4(const struct cpuid_profile *profile);

// XCR0 that cells get: x87, SSE, AVX and AVX-512 state, as far as profile and host enable them. 0
// without XSAVE.
uint64_t cpuid_profile_xcr0(const struct cpuid_profile *profile);

// Instruction sets (CELL_ISA_*) that the model may use if its XCR0 is `xcr0`.
uint64_t cpuid_profile_isa(const struct cpuid_profile *profile, uint64_t xcr0);

#endif
