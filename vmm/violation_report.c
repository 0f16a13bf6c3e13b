// SPDX-License-Identifier: Apache-2.0
// Says what an exit means: which rule the model broke, where, with which instruction.
#include <stdbool.h>
#include <string.h>

#include "cpu_tables.h"
#include "violation.h"
#include "vmm.h"

// Page-fault error code (SDM vol. 3A, 4.7).
#define FAULT_WRITE 2u
#define FAULT_FETCH 16u

// Longest x86 instruction.
#define INSTRUCTION_MAX 15u

// Copies code bytes at `address`, as many as lie in the image's immutable code. Returns how many.
static size_t read_code(const struct cell *cell, uint64_t address, uint8_t *bytes, size_t wanted)
{
    const struct frame_mapping *mapping = frame_map_find(&cell->map, (struct gva){address});
    if (!mapping || !(mapping->rights & PAGE_EXECUTE) ||
        !range_contains(cell->code.base.value, cell->code.length, mapping->physical_base.value,
                        mapping->length))
        return 0;
    uint64_t offset = address - mapping->virtual_base.value;
    uint64_t left = mapping->length - offset;
    size_t take = left < wanted ? (size_t)left : wanted;
    memcpy(bytes, cell->code.host + (mapping->physical_base.value - cell->code.base.value) + offset,
           take);
    return take;
}

struct opcode_row {
    uint16_t first; // opcode, 0x0fXX for the two-byte map
    uint16_t last;
    enum violation_kind kind;
};

// Opcodes whose #GP or #UD at CPL3 has a name of its own (SDM vol. 2, appendix A).
static const struct opcode_row opcode_rows[] = {
    {0x6c, 0x6f, VIOLATION_PRIVILEGED},     // ins, outs
    {0xcc, 0xce, VIOLATION_INTERRUPT},      // int3, int n, into
    {0xe4, 0xe7, VIOLATION_PRIVILEGED},     // in, out immediate
    {0xec, 0xef, VIOLATION_PRIVILEGED},     // in, out dx
    {0xf1, 0xf1, VIOLATION_INTERRUPT},      // int1
    {0xf4, 0xf4, VIOLATION_PRIVILEGED},     // hlt
    {0xfa, 0xfb, VIOLATION_PRIVILEGED},     // cli, sti
    {0x0f00, 0x0f01, VIOLATION_PRIVILEGED}, // lldt, ltr, lgdt, lidt, lmsw, invlpg, swapgs, xsetbv
    {0x0f05, 0x0f05, VIOLATION_SYSCALL},    // syscall
    {0x0f06, 0x0f09, VIOLATION_PRIVILEGED}, // clts, sysret, invd, wbinvd
    {0x0f20, 0x0f23, VIOLATION_PRIVILEGED}, // mov to and from control and debug registers
    {0x0f30, 0x0f33, VIOLATION_PRIVILEGED}, // wrmsr, rdtsc, rdmsr, rdpmc
    {0x0f34, 0x0f34, VIOLATION_SYSCALL},    // sysenter
    {0x0f35, 0x0f35, VIOLATION_PRIVILEGED}, // sysexit
    {0x0f78, 0x0f79, VIOLATION_PRIVILEGED}, // vmread, vmwrite
};

static bool is_prefix(uint8_t byte)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
                                       0x66, 0x67, 0xf0, 0xf2, 0xf3};
    return (byte & 0xf0) == 0x40 || memchr(prefixes, byte, sizeof(prefixes)) != NULL;
}

// The kind that the instruction at `address` stands for, or VIOLATION_NONE.
static enum violation_kind kind_of_instruction(const struct cell *cell, uint64_t address)
{
    uint8_t bytes[INSTRUCTION_MAX];
    size_t count = read_code(cell, address, bytes, sizeof(bytes));
    size_t at = 0;
    while (at < count && is_prefix(bytes[at]))
        at++;
    if (at == count)
        return VIOLATION_NONE;
    unsigned opcode = bytes[at];
    if (opcode == 0x0f && at + 1 < count)
        opcode = 0x0f00u | bytes[at + 1];
    for (size_t i = 0; i < sizeof(opcode_rows) / sizeof(opcode_rows[0]); i++) {
        if (opcode >= opcode_rows[i].first && opcode <= opcode_rows[i].last)
            return opcode_rows[i].kind;
    }
    return VIOLATION_NONE;
}

static bool between(uint64_t address, uint64_t base, uint64_t bytes)
{
    return range_contains(base, bytes, address, 1);
}

static enum violation_kind by_access(uint64_t error_code, enum violation_kind fetch,
                                     enum violation_kind write, enum violation_kind read)
{
    return error_code & FAULT_FETCH ? fetch : error_code & FAULT_WRITE ? write : read;
}

static enum violation_kind kind_of_unmapped(uint64_t address, uint64_t error_code)
{
    if (between(address, CELL_GVA_DOORBELL, CELL_MAX_PORTS * GUEST_PAGE_SIZE))
        return VIOLATION_DOORBELL_DENIED;
    if (between(address, CELL_GVA_STACK, CELL_MAX_VCPUS * CELL_GVA_STACK_STRIDE))
        return VIOLATION_STACK_GUARD;
    if (address >= CELL_GVA_SYSTEM) // the whole upper half too: supervisor space by convention
        return by_access(error_code, VIOLATION_EXEC_SUPERVISOR, VIOLATION_WRITE_SUPERVISOR,
                         VIOLATION_READ_SUPERVISOR);
    return VIOLATION_UNMAPPED;
}

static enum violation_kind kind_of_page_fault(const struct cell *cell, uint64_t address,
                                              uint64_t error_code)
{
    const struct frame_mapping *mapping = frame_map_find(&cell->map, (struct gva){address});
    if (!mapping)
        return kind_of_unmapped(address, error_code);
    if (!(mapping->rights & PAGE_USER))
        return by_access(error_code, VIOLATION_EXEC_SUPERVISOR, VIOLATION_WRITE_SUPERVISOR,
                         VIOLATION_READ_SUPERVISOR);
    if (error_code & FAULT_FETCH) {
        bool device =
            between(mapping->physical_base.value, CELL_GPA_DEVICE, CELL_GPA_RAM - CELL_GPA_DEVICE);
        return device ? VIOLATION_DOORBELL_MISUSE : VIOLATION_EXEC_DATA;
    }
    if (error_code & FAULT_WRITE) {
        if (mapping->rights & PAGE_EXECUTE)
            return VIOLATION_WRITE_CODE;
        if (between(address, CELL_GVA_WEIGHTS, VMM_MAX_WEIGHTS * CELL_GVA_WEIGHTS_STRIDE))
            return VIOLATION_WRITE_WEIGHTS;
        return VIOLATION_WRITE_READONLY;
    }
    return VIOLATION_UNMAPPED;
}

static enum violation_kind kind_of_vector(const struct vcpu *vcpu,
                                          const struct cpu_exception *exception, uint64_t address)
{
    const struct cell *cell = &vcpu->vmm->cell;
    enum violation_kind kind;
    switch (exception->vector) {
    case 14:
        // A processor that ignores EFER.SCE at CPL3 jumps to LSTAR, which is 0 (measured on
        // software KVM). rcx then holds the address after the syscall instruction.
        if (address == 0 && (exception->error_code & FAULT_FETCH) &&
            kind_of_instruction(cell, vcpu->run->s.regs.regs.rcx - 2) == VIOLATION_SYSCALL)
            return VIOLATION_SYSCALL;
        return kind_of_page_fault(cell, address, exception->error_code);
    case 1:
    case 3:
    case 4:
        return VIOLATION_INTERRUPT;
    case 0:
    case 16:
    case 19:
        return VIOLATION_ARITHMETIC;
    case 6:
        kind = kind_of_instruction(cell, exception->instruction);
        return kind == VIOLATION_NONE ? VIOLATION_INVALID_OPCODE : kind;
    case 11:
    case 12:
    case 13:
        kind = kind_of_instruction(cell, exception->instruction);
        return kind == VIOLATION_NONE ? VIOLATION_GENERAL_PROTECTION : kind;
    case 17:
        return VIOLATION_GENERAL_PROTECTION;
    default:
        return VIOLATION_EXCEPTION;
    }
}

// A vCPU that halted: was it the stub, and what did it catch?
static void describe_halt(const struct vcpu *vcpu, struct vmm_end *end)
{
    const struct cell *cell = &vcpu->vmm->cell;
    const struct kvm_sync_regs *regs = &vcpu->run->s.regs;
    const uint8_t *stack = cell->writable_system.host + vcpu->index * GUEST_PAGE_SIZE;
    struct cpu_exception exception;

    if (!between(regs->regs.rip, CELL_GVA_SYSTEM + CELL_SYSTEM_STUB, GUEST_PAGE_SIZE) ||
        !cpu_exception_read(stack, cell_system_stack(vcpu->index), regs->regs.rsp, &exception)) {
        end->violation = VIOLATION_STATE;
        return;
    }
    end->vector = (uint32_t)exception.vector;
    end->error_code = exception.error_code;
    end->instruction = exception.instruction;
    end->address = exception.vector == 14 ? regs->sregs.cr2 : 0;
    end->violation = kind_of_vector(vcpu, &exception, regs->sregs.cr2);
    if (end->violation == VIOLATION_SYSCALL && exception.vector == 14)
        end->instruction = regs->regs.rcx - 2; // the one that jumped to LSTAR, see above
}

// An access that reached no memory slot, or a store to a read-only one.
static enum violation_kind kind_of_mmio(const struct cell *cell, uint64_t address)
{
    if (between(address, CELL_GPA_DEVICE, CELL_GPA_RAM - CELL_GPA_DEVICE))
        return VIOLATION_DOORBELL_MISUSE;
    if (between(address, cell->code.base.value, cell->code.length))
        return VIOLATION_WRITE_CODE;
    if (between(address, cell->system.base.value, cell->system.length))
        return VIOLATION_WRITE_SUPERVISOR;
    for (unsigned i = 0; i < cell->weights_count; i++) {
        if (between(address, cell->weights[i].base.value, cell->weights[i].length))
            return VIOLATION_WRITE_WEIGHTS;
    }
    return VIOLATION_UNMAPPED;
}

void violation_describe(const struct vcpu *vcpu, struct vmm_end *end)
{
    const struct kvm_run *run = vcpu->run;
    switch (run->exit_reason) {
    case KVM_EXIT_HLT:
        describe_halt(vcpu, end);
        break;
    case KVM_EXIT_MMIO:
        end->address = run->mmio.phys_addr;
        end->violation = vcpu->vmm->config.guest == VMM_GUEST_LINUX
                             ? VIOLATION_UNMAPPED
                             : kind_of_mmio(&vcpu->vmm->cell, run->mmio.phys_addr);
        break;
    case KVM_EXIT_IO:
        end->violation = VIOLATION_PRIVILEGED;
        break;
    case KVM_EXIT_SHUTDOWN:
        end->violation = VIOLATION_SHUTDOWN;
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        end->violation = VIOLATION_EMULATION;
        end->error_code = run->internal.suberror;
        break;
    case KVM_EXIT_X86_BUS_LOCK:
#ifdef KVM_EXIT_NOTIFY
    case KVM_EXIT_NOTIFY:
#endif
        end->violation = VIOLATION_BUS_LOCK;
        break;
    default:
        end->violation = VIOLATION_UNKNOWN_EXIT;
        break;
    }
}
