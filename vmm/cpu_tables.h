// SPDX-License-Identifier: Apache-2.0
// Descriptor tables, exception stubs and the initial register state of a cell's vCPUs.
#ifndef VMM_CPU_TABLES_H
#define VMM_CPU_TABLES_H

#include "cell.h"

// Fills GDT, IDT, stub and TSS pages of the (zeroed) system region for `vcpus` vCPUs.
void cpu_tables_write(uint8_t *system, unsigned vcpus);

// Registers of a vCPU that is about to enter the model at CPL3 (SDM vol. 3A, 5.2.1, 8.2.4).
// `cr4_optional` are CR4 bits to set beyond the required ones.
void cpu_state_init(struct kvm_sregs *sregs, struct gpa page_tables, unsigned vcpu,
                    uint64_t cr4_optional);

// The frame that the stub leaves on a vCPU's exception stack. `stack_top` is the end of that stack
// in host memory.
struct cpu_exception {
    uint64_t vector;
    uint64_t error_code; // 0 where the vector has none
    uint64_t instruction;
    uint64_t flags;
    uint64_t stack;
    uint64_t code_segment;
};

// Reads the frame after the stub halted with `rsp`, a guest-virtual address. Returns false if the
// stack pointer is not where a stub leaves it.
bool cpu_exception_read(const uint8_t *stack_page, struct gva stack_base, uint64_t rsp,
                        struct cpu_exception *exception);

// CR4 bits that a cell must have, and those that it has where the processor offers them.
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define CR4_PAE        (1ull << 5)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_TSD        (1ull << 2)
#define CR4_UMIP       (1ull << 11)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)

#endif
