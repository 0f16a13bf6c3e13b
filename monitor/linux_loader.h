// SPDX-License-Identifier: Apache-2.0
// Parts of guillotine-loader: kernels into memory, and what a kernel is told when it starts.
//
// Files are hostile: every offset and length is checked against the file and against the memory.
#ifndef MONITOR_LINUX_LOADER_H
#define MONITOR_LINUX_LOADER_H

#include <stdbool.h>

#include "error.h"
#include "linux_layout.h"

// The part of the guest's memory that lies below LINUX_LOW_END.
struct linux_memory {
    uint8_t *host;
    uint64_t bytes;
    int fd; // the file behind it, or -1
};

struct linux_file {
    int fd;
    uint64_t bytes;
};

// What a kernel takes.
struct linux_kernel {
    uint64_t base;
    uint64_t end;                // behind all that it needs to start
    uint64_t initrd_max;         // last address that an initrd may have
    uint64_t command_line_max;   // characters
    uint8_t setup_header[0x100]; // of a bzImage: from file offset 0x1f1 on
    uint32_t setup_header_bytes;
};

// True if `length` bytes at `address` are in memory that a kernel may have.
bool linux_memory_has(const struct linux_memory *memory, uint64_t address, uint64_t length);

// Reads [offset, offset + length) of a file. Fails if the file is shorter.
int linux_file_read(const struct linux_file *file, uint64_t offset, void *target, uint64_t length,
                    struct error *err);

// The same into memory, at an address that the caller has checked. Twice as fast as linux_file_read
// where the memory has a file: nobody has to fault its pages in.
int linux_file_load(const struct linux_memory *memory, const struct linux_file *file,
                    uint64_t offset, uint64_t address, uint64_t length, struct error *err);

// Whether the file is a bzImage, by its magic numbers.
bool linux_is_bzimage(const struct linux_file *file);

// Loads a bzImage (Documentation/arch/x86/boot.rst) or a vmlinux with a PVH entry
// (Documentation/arch/x86/pvh.rst); fills mode and instruction of *entry, and of a vmlinux its
// ranges.
int linux_bzimage_load(const struct linux_memory *memory, const struct linux_file *file,
                       struct linux_kernel *kernel, struct linux_entry *entry, struct error *err);
int linux_elf_load(const struct linux_memory *memory, const struct linux_file *file,
                   struct linux_kernel *kernel, struct linux_entry *entry, struct error *err);

// Writes the ACPI tables at LINUX_GPA_ACPI. Returns the address of the RSDP, or 0 with *err.
uint64_t linux_acpi_write(const struct linux_memory *memory, unsigned vcpus, unsigned devices,
                          struct error *err);

// Where an initrd is, and the rest of what a kernel is told.
struct linux_boot {
    const struct linux_load *load;
    const char *command_line;
    uint64_t initrd;
    uint64_t initrd_bytes;
    uint64_t rsdp;
};

// Writes the zero page, page tables and GDT, or the PVH start info; fills entry->argument.
int linux_boot_data_write(const struct linux_memory *memory, const struct linux_kernel *kernel,
                          const struct linux_boot *boot, struct linux_entry *entry,
                          struct error *err);

// All of it.
int linux_load_all(const struct linux_memory *memory, const struct linux_load *load,
                   const char *command_line, const struct linux_file *kernel,
                   const struct linux_file *initrd, struct linux_entry *entry, struct error *err);

#endif
