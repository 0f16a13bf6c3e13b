// SPDX-License-Identifier: Apache-2.0
// Descriptor tables, exception stubs and the initial register state of a cell's vCPUs.
#include "cpu_tables.h"

#include <string.h>

// Selectors (SDM vol. 3A, 3.4.2).
#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_USER_DATA   0x1b // GDT entry 3, RPL 3
#define SELECTOR_USER_CODE   0x23 // GDT entry 4, RPL 3
#define SELECTOR_TSS_FIRST   0x30

#define TSS_STRIDE 128
#define TSS_LIMIT  0x67

#define VECTORS    256
#define STUB_BYTES 8

#define EFER_NXE (1ull << 11)

// PE, MP, ET, NE, WP, AM, PG: write protection holds for supervisor accesses too.
#define CR0_VALUE 0x80050033ull

// Gate descriptor of the IDT (SDM vol. 3A, 6.14.1).
struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t stack_table; // IST
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 6.14.1");

static void put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void write_gdt(uint8_t *gdt, unsigned vcpus)
{
    // Accessed bits are preset: the page is read-only, the processor cannot set them.
    static const uint64_t entries[] = {
        0,
        0x00af9b000000ffffull, // kernel code, 64-bit, DPL 0
        0x00cf93000000ffffull, // kernel data
        0x00cff3000000ffffull, // user data, DPL 3
        0x00affb000000ffffull, // user code, 64-bit, DPL 3
    };
    for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        put64(gdt + 8 * i, entries[i]);
    for (unsigned i = 0; i < vcpus; i++) {
        uint64_t base = CELL_GVA_SYSTEM + CELL_SYSTEM_TSS + i * TSS_STRIDE;
        uint8_t *entry = gdt + SELECTOR_TSS_FIRST + 16 * i;
        // Present, DPL 0, busy 64-bit TSS (type 11): busy preset for the same reason.
        put64(entry,
              TSS_LIMIT | (base & 0xffffff) << 16 | 0x8bull << 40 | (base >> 24 & 0xff) << 56);
        put64(entry + 8, base >> 32);
    }
}

static void write_idt_and_stub(uint8_t *idt, uint8_t *stub)
{
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        uint64_t target = CELL_GVA_SYSTEM + CELL_SYSTEM_STUB + vector * STUB_BYTES;
        struct gate gate = {
            .offset_low = (uint16_t)target,
            .selector = SELECTOR_KERNEL_CODE,
            .stack_table = 1,
            .type = 0x8e, // present, DPL 0: `int n` at CPL3 is a #GP; interrupt gate
            .offset_middle = (uint16_t)(target >> 16),
            .offset_high = (uint32_t)(target >> 32),
        };
        memcpy(idt + vector * sizeof(gate), &gate, sizeof(gate));
        // push imm32 vector; hlt; jmp to the hlt. General registers only: KVM may emulate this.
        const uint8_t code[STUB_BYTES] = {0x68, (uint8_t)vector, 0, 0, 0, 0xf4, 0xeb, 0xfd};
        memcpy(stub + vector * STUB_BYTES, code, sizeof(code));
    }
}

static void write_tss(uint8_t *tss, unsigned vcpu)
{
    uint64_t top = cell_system_stack(vcpu).value + GUEST_PAGE_SIZE;
    put64(tss + 4, top);  // RSP0, not used: every gate has an IST
    put64(tss + 36, top); // IST1 (SDM vol. 3A, 7.7)
    // An I/O map base beyond the limit: no port is permitted at CPL3.
    uint16_t map_base = TSS_LIMIT + 1;
    memcpy(tss + 102, &map_base, sizeof(map_base));
}

void cpu_tables_write(uint8_t *system, unsigned vcpus)
{
    write_gdt(system + CELL_SYSTEM_GDT, vcpus);
    write_idt_and_stub(system + CELL_SYSTEM_IDT, system + CELL_SYSTEM_STUB);
    for (unsigned i = 0; i < vcpus; i++)
        write_tss(system + CELL_SYSTEM_TSS + i * TSS_STRIDE, i);
}

static struct kvm_segment user_data(uint64_t base)
{
    return (struct kvm_segment){
        .base = base,
        .limit = 0xffffffff,
        .selector = SELECTOR_USER_DATA,
        .type = 3, // read/write, accessed
        .present = 1,
        .dpl = 3,
        .db = 1,
        .s = 1,
        .g = 1,
    };
}

void cpu_state_init(struct kvm_sregs *sregs, struct gpa page_tables, unsigned vcpu,
                    uint64_t cr4_optional)
{
    sregs->cs = (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = SELECTOR_USER_CODE,
        .type = 11, // execute/read, accessed
        .present = 1,
        .dpl = 3,
        .s = 1,
        .l = 1,
        .g = 1,
    };
    sregs->ss = sregs->ds = sregs->es = sregs->gs = user_data(0);
    sregs->fs = user_data(cell_thread_area(vcpu).value);
    sregs->tr = (struct kvm_segment){
        .base = CELL_GVA_SYSTEM + CELL_SYSTEM_TSS + vcpu * TSS_STRIDE,
        .limit = TSS_LIMIT,
        .selector = (uint16_t)(SELECTOR_TSS_FIRST + 16 * vcpu),
        .type = 11, // busy 64-bit TSS
        .present = 1,
    };
    sregs->ldt = (struct kvm_segment){.unusable = 1};
    sregs->gdt = (struct kvm_dtable){
        .base = CELL_GVA_SYSTEM + CELL_SYSTEM_GDT,
        .limit = SELECTOR_TSS_FIRST + 16 * CELL_MAX_VCPUS - 1,
    };
    sregs->idt = (struct kvm_dtable){
        .base = CELL_GVA_SYSTEM + CELL_SYSTEM_IDT,
        .limit = VECTORS * sizeof(struct gate) - 1,
    };
    sregs->cr0 = CR0_VALUE;
    sregs->cr2 = 0;
    sregs->cr3 = page_tables.value;
    sregs->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | cr4_optional;
    sregs->cr8 = 0;
    // No SCE: `syscall` is an invalid opcode.
    sregs->efer = EFER_LME | EFER_LMA | EFER_NXE;
}

static bool vector_has_error_code(uint64_t vector)
{
    // #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX (SDM vol. 3A, table 6-1; APM vol. 2, 8.2).
    const uint64_t with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 |
                               1u << 17 | 1u << 21 | 1u << 29 | 1u << 30;
    return vector < 32 && (with_code >> vector & 1);
}

bool cpu_exception_read(const uint8_t *stack_page, struct gva stack_base, uint64_t rsp,
                        struct cpu_exception *exception)
{
    // Vector, perhaps an error code, and the processor's frame of five words.
    uint64_t words[7] = {0};
    uint64_t top = stack_base.value + GUEST_PAGE_SIZE;
    uint64_t take = top - rsp;
    if (rsp > top || (take != 6 * sizeof(uint64_t) && take != 7 * sizeof(uint64_t)))
        return false;
    memcpy(words, stack_page + (rsp - stack_base.value), take);
    exception->vector = words[0] & 0xff;
    const uint64_t *frame = words + 1;
    exception->error_code = 0;
    bool has_code = vector_has_error_code(exception->vector);
    if (has_code != (take == sizeof(words)))
        return false;
    if (has_code)
        exception->error_code = *frame++;
    exception->instruction = frame[0];
    exception->code_segment = frame[1];
    exception->flags = frame[2];
    exception->stack = frame[3];
    return true;
}
