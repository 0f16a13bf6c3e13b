// SPDX-License-Identifier: Apache-2.0
// Finds which vector instructions the model can really use, by running them in the cell.
//
// KVM's supported CPUID is the first source. Some hosts leave vector extensions out of it although
// they execute at CPL3 (measured on software KVM): there, and only there, code of a probe page is
// run on vCPU 0 before the model's entry.
#ifndef VMM_ISA_PROBE_H
#define VMM_ISA_PROBE_H

#include "cell.h"

// Copies the probe code to its page (GUEST_PAGE_SIZE bytes, zeroed).
void isa_probe_write(uint8_t *page);

// Instruction sets (CELL_ISA_*) that the vCPU's CPUID profile promises, given that XCR0 enables
// what `xcr0` says.
uint64_t isa_from_profile(const struct kvm_vm *vm, uint64_t xcr0);

// Instruction sets of the host processor that its operating system has enabled.
uint64_t isa_of_host(void);

// Runs each probe whose sets are in `candidates` on `vcpu_fd`, whose state is afterwards
// undefined: set all registers before the model's entry. Returns the sets that executed.
uint64_t isa_probe_run(int vcpu_fd, struct kvm_run *run, const struct kvm_sregs *initial,
                       uint64_t candidates);

#endif
