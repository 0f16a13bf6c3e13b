// SPDX-License-Identifier: Apache-2.0
// The machine of a Linux guest: what its loader writes into memory and what its VMM provides.
//
// guillotine-loader fills the guest's memory file and says where to enter; the VMM parses nothing
// of a kernel.
#ifndef BASE_LINUX_LAYOUT_H
#define BASE_LINUX_LAYOUT_H

#include <stdint.h>

// Guest-physical memory. RAM is [0, LINUX_LOW_END), and from LINUX_HIGH_BASE on what is more. The
// memory file has the first at offset 0 and the second right behind it.
#define LINUX_LOW_END   0xc0000000ull
#define LINUX_HIGH_BASE 0x100000000ull

// Page tables and descriptor tables for the entry, the zero page or PVH start info, the command
// line; all in RAM that the kernel may use once it has its own.
#define LINUX_GPA_GDT          0x1000ull
#define LINUX_GPA_START_INFO   0x2000ull // PVH
#define LINUX_GPA_ZERO_PAGE    0x3000ull
#define LINUX_GPA_PAGE_TABLES  0x4000ull // PML4, PDPT, four page directories: the first 4 GiB
#define LINUX_GPA_COMMAND_LINE 0x10000ull
#define LINUX_COMMAND_LINE_MAX 0x1000ull // with its terminating zero
#define LINUX_GPA_SETUP_DATA   0x11000ull
#define LINUX_GPA_LOW_RESERVED 0x9fc00ull // up to 1 MiB nothing is the kernel's to use
#define LINUX_GPA_KERNEL_MIN   0x100000ull
#define LINUX_GPA_ACPI         0xe0000ull
#define LINUX_GPA_ACPI_END     0x100000ull // backed by RAM, reserved in the memory map

// virtio-mmio devices: a page of registers each, interrupt LINUX_FIRST_INTERRUPT plus index (a pin
// of the IOAPIC: edge, active high).
#define LINUX_GPA_DEVICES     0xd0000000ull
#define LINUX_DEVICE_BYTES    0x1000ull
#define LINUX_MAX_DEVICES     16u
#define LINUX_FIRST_INTERRUPT 5u

// What hardware-reduced ACPI needs (ACPI 6.4, 4.8.3.7 and 4.8.3.6): byte registers in memory.
#define LINUX_GPA_POWER      0xcffff000ull
#define LINUX_POWER_RESET    0x0u // write LINUX_RESET_VALUE: reboot
#define LINUX_POWER_SLEEP    0x4u // sleep control: SLP_EN and SLP_TYP
#define LINUX_POWER_STATUS   0x8u // sleep status
#define LINUX_RESET_VALUE    0x01u
#define LINUX_SLEEP_TYPE_S5  5u
#define LINUX_SLEEP_S5_VALUE (1u << 5 | LINUX_SLEEP_TYPE_S5 << 2)

#define LINUX_GPA_IOAPIC 0xfec00000ull
#define LINUX_GPA_LAPIC  0xfee00000ull

enum linux_entry_mode {
    LINUX_ENTRY_LONG = 1, // 64-bit boot protocol: long mode, paging, RSI = zero page
    LINUX_ENTRY_PVH = 2,  // 32-bit protected mode, no paging, EBX = start info
};

// What the loader answers.
struct linux_entry {
    char format[16]; // LINUX_LOADER_FORMAT, terminated
    uint32_t mode;   // enum linux_entry_mode
    uint32_t range_count;
    uint64_t instruction; // guest-physical (as virtual, in long mode)
    uint64_t argument;    // RSI or EBX
    // Of a vmlinux: its text and read-only data as linked; of a bzImage nobody knows before it
    // runs.
    struct linux_range {
        uint64_t base; // guest-physical, whole pages
        uint64_t length;
        uint32_t text; // 1: text, 0: read-only data
        uint32_t pad;
    } ranges[4];
    uint32_t status; // 0, or enum exit_status with a text
    char text[236];  // of an error; terminated
};

// What it is told: this, then the command line; with descriptors for memory, kernel and perhaps
// initrd.
struct linux_load {
    char format[16];
    uint64_t memory_bytes; // of RAM: whole 2 MiB
    uint32_t vcpus;
    uint32_t devices; // that are described in ACPI, from the first place on
    uint32_t has_initrd;
    uint32_t command_line_bytes; // with its terminating zero
    uint8_t random_seed[32];     // handed to the kernel (setup_data SETUP_RNG_SEED); all zero: none
};

#define LINUX_LOADER_FORMAT "guillotine-ld/1"

enum linux_loader_fd {
    LINUX_LOADER_FD_CHANNEL = 3, // SOCK_SEQPACKET: struct linux_load with descriptors, then answer
};

enum linux_load_fd {
    LINUX_LOAD_FD_MEMORY, // empty memory file: the loader sizes it
    LINUX_LOAD_FD_KERNEL,
    LINUX_LOAD_FD_INITRD,
};

#endif
