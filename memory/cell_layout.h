// SPDX-License-Identifier: Apache-2.0
// Where things lie in a cell: guest-physical for the VMM, guest-virtual for the model.
//
// Nothing here is ABI: guests learn addresses from the boot info page.
#ifndef MEMORY_CELL_LAYOUT_H
#define MEMORY_CELL_LAYOUT_H

#include "cell_abi.h"
#include "gpa.h"

// Guest-physical regions. Two memslots, since each costs a launch some 50 us, and one per weights
// file. Doorbell and control pages have no memslot: that is what makes a store there exit.
//
//   read-only slot: system region (GDT, IDT, stub, TSS, boot info, arguments), then code (text and
//                   read-only data of the image)
//   writable slot:  RAM (image data, stacks, heap), the I/O region, exception stacks, page tables
//   read-only:      weights files, behind the largest possible page tables
#define CELL_GPA_SYSTEM 0x00100000ull
#define CELL_GPA_CODE   (CELL_GPA_SYSTEM + CELL_SYSTEM_BYTES)
#define CELL_GPA_DEVICE 0xe0000000ull // no slot: control pages, then one doorbell page per port
#define CELL_GPA_RAM    0x100000000ull

#define CELL_CODE_MAX_BYTES   (CELL_GPA_DEVICE - CELL_GPA_CODE)
#define CELL_TABLES_MAX_BYTES (64ull << 20)
#define CELL_IO_MAX_BYTES     (128ull << 20)

// Pages of the system region.
#define CELL_SYSTEM_GDT        0x0000ull
#define CELL_SYSTEM_IDT        0x1000ull
#define CELL_SYSTEM_STUB       0x2000ull
#define CELL_SYSTEM_TSS        0x3000ull
#define CELL_SYSTEM_INFO       0x4000ull
#define CELL_SYSTEM_INFO_BYTES 0x3000ull
#define CELL_SYSTEM_ARGUMENTS  0x7000ull
#define CELL_ARGUMENTS_MAX     0x10000ull
#define CELL_SYSTEM_BYTES      (CELL_SYSTEM_ARGUMENTS + CELL_ARGUMENTS_MAX)

// Guest-virtual areas above the image.
#define CELL_GVA_WEIGHTS        0x500000000000ull
#define CELL_GVA_WEIGHTS_STRIDE 0x008000000000ull
#define CELL_GVA_HEAP           0x600000000000ull
#define CELL_GVA_INFO           0x700000000000ull
#define CELL_GVA_IO             0x700010000000ull
#define CELL_GVA_CONTROL        0x700020000000ull
#define CELL_GVA_DOORBELL       0x700030000000ull
#define CELL_GVA_STACK          0x700040000000ull
#define CELL_GVA_STACK_STRIDE   0x000001000000ull
#define CELL_GVA_SYSTEM         0x7f0000000000ull // supervisor only
#define CELL_GVA_SYSTEM_STACK   0x7f0000100000ull // supervisor only, a guard page between any two

// Control pages, in this order at CELL_GPA_DEVICE and CELL_GVA_CONTROL.
enum cell_control_page {
    CELL_CONTROL_PARK,
    CELL_CONTROL_UNPARK,
    CELL_CONTROL_EXIT,
    CELL_CONTROL_PAGES,
};

// Each vCPU's stack lies in its stride: a guard page, the stack, the thread area, a guard.
#define CELL_STACK_BYTES  (512ull << 10)
#define CELL_THREAD_BYTES GUEST_PAGE_SIZE

static inline struct gva cell_stack_base(unsigned vcpu)
{
    return (struct gva){CELL_GVA_STACK + vcpu * CELL_GVA_STACK_STRIDE + GUEST_PAGE_SIZE};
}

static inline struct gva cell_thread_area(unsigned vcpu)
{
    return gva_add(cell_stack_base(vcpu), CELL_STACK_BYTES);
}

// Bytes of stack and thread area of one vCPU in RAM.
#define CELL_VCPU_RAM_BYTES (CELL_STACK_BYTES + CELL_THREAD_BYTES)

static inline struct gva cell_system_stack(unsigned vcpu)
{
    return (struct gva){CELL_GVA_SYSTEM_STACK + vcpu * 2 * GUEST_PAGE_SIZE};
}

static inline struct gpa cell_control_page_gpa(enum cell_control_page page)
{
    return (struct gpa){CELL_GPA_DEVICE + (uint64_t)page * GUEST_PAGE_SIZE};
}

static inline struct gpa cell_doorbell_gpa(unsigned port)
{
    return (struct gpa){CELL_GPA_DEVICE + (CELL_CONTROL_PAGES + (uint64_t)port) * GUEST_PAGE_SIZE};
}

static inline struct gva cell_doorbell_gva(unsigned port)
{
    return (struct gva){CELL_GVA_DOORBELL + (uint64_t)port * GUEST_PAGE_SIZE};
}

#endif
