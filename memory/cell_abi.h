// SPDX-License-Identifier: Apache-2.0
// What a cell finds when it starts: the boot info page and the pages that reach the host.
#ifndef CELL_ABI_H
#define CELL_ABI_H

#include <stddef.h>
#include <stdint.h>

#define CELL_ABI_FORMAT "guillotine-cell/1"

#define CELL_MAX_VCPUS   16
#define CELL_MAX_WEIGHTS 16
#define CELL_MAX_PORTS   16

// Instruction sets that the model may use (bits of cell_boot_info.isa).
#define CELL_ISA_SSE3       (1ull << 0)
#define CELL_ISA_SSSE3      (1ull << 1)
#define CELL_ISA_SSE41      (1ull << 2)
#define CELL_ISA_SSE42      (1ull << 3)
#define CELL_ISA_POPCNT     (1ull << 4)
#define CELL_ISA_AVX        (1ull << 5)
#define CELL_ISA_F16C       (1ull << 6)
#define CELL_ISA_FMA        (1ull << 7)
#define CELL_ISA_AVX2       (1ull << 8)
#define CELL_ISA_AVX512F    (1ull << 9)
#define CELL_ISA_AVX512BW   (1ull << 10)
#define CELL_ISA_AVX512VL   (1ull << 11)
#define CELL_ISA_AVX512VNNI (1ull << 12)
#define CELL_ISA_AVX512BF16 (1ull << 13)
#define CELL_ISA_AVXVNNI    (1ull << 14)

// One weights file, mapped read-only and never executable.
struct cell_weights {
    uint64_t address; // guest-virtual
    uint64_t bytes;   // of the file; the rest of the last page reads as zero
};

// Per vCPU, in the I/O region: a copy of the fabric's event count. Park with the value last seen.
struct cell_event {
    uint32_t count;
    uint32_t pad[15];
};
_Static_assert(sizeof(struct cell_event) == 64, "a cache line each");

// Read-only for the model. Registers at entry: rdi = address of this page, rsi = vCPU index,
// rsp = top of the vCPU's stack (16-byte aligned), FS base = the vCPU's zeroed thread area.
struct cell_boot_info {
    char format[24];
    uint32_t size;
    uint32_t vcpus;
    uint64_t isa;
    uint64_t heap; // guest-virtual, zeroed, read-write
    uint64_t heap_bytes;
    uint64_t io; // the I/O region: guest-virtual and guest-physical base
    uint64_t io_physical;
    uint64_t io_bytes;
    uint64_t events;       // guest-virtual: struct cell_event[vcpus]
    uint64_t park_page;    // store the last event count seen: sleeps while it is current
    uint64_t unpark_page;  // store a vCPU index: raises its event count
    uint64_t exit_page;    // store the exit status: ends the cell
    uint64_t stack_bytes;  // of each vCPU's stack
    uint64_t thread_bytes; // of each vCPU's thread area
    uint64_t reserved;
    uint32_t port_count;
    uint32_t weights_count;
    uint32_t argument_count;
    uint32_t arguments_bytes;
    uint64_t arguments; // guest-virtual: argument_count terminated strings, one after the other
    struct cell_weights weights[CELL_MAX_WEIGHTS];
    // struct port_table_entry ports[port_count] follow (port_abi.h).
};
_Static_assert(sizeof(struct cell_boot_info) == 160 + 16 * CELL_MAX_WEIGHTS, "ABI");
_Static_assert(offsetof(struct cell_boot_info, isa) == 32, "ABI");
_Static_assert(offsetof(struct cell_boot_info, arguments) == 152, "ABI");

#endif
