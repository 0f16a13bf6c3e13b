// SPDX-License-Identifier: Apache-2.0
// A cell's memory: image, stacks, heap, I/O region, weights, system pages, page tables.
#ifndef VMM_CELL_H
#define VMM_CELL_H

#include "cell_layout.h"
#include "elf_image.h"
#include "frame_map.h"
#include "guest_memory.h"
#include "kvm.h"
#include "page_table.h"
#include "port_abi.h"
#include "vmm_protocol.h"

// A part of the guest's backing memory.
struct cell_part {
    struct gpa base;
    uint64_t length;
    uint8_t *host;
};

struct cell {
    struct elf_image image;
    struct frame_map map;
    struct page_table tables;
    uint64_t stack_frames; // pages for exception stacks in front of the table frames
    struct cell_part system;
    struct cell_part writable_system; // exception stacks, then table frames
    struct cell_part io;
    struct cell_part code;
    struct cell_part ram;
    struct cell_part weights[VMM_MAX_WEIGHTS];
    unsigned weights_count;
    struct gpa end; // of all guest-physical memory
    unsigned vcpus;
    uint32_t arguments_bytes;
    uint32_t memory_flags; // enum vmm_memory
    uint8_t *reference;    // private copy of what must never change, see cell_verify
    uint64_t reference_bytes;
    struct guest_memory io_memory; // what ports may touch
    struct gpa events;             // struct cell_event per vCPU
    struct cell_queue {
        struct gpa descriptors;
        struct gpa available;
        struct gpa used;
    } queues[VMM_MAX_PORTS][VMM_MAX_QUEUES];
};

// Builds the cell from the configuration: sizes and maps the guest memory behind `memory_fd`,
// loads the image, maps weights, fills system pages and boot info, builds page tables. Descriptors
// stay with the caller. Refusals of the image have status EXIT_STATUS_BAD_FILE.
int cell_build(struct cell *cell, const struct vmm_config *config, const char *arguments,
               int image_fd, int memory_fd, const int *weights_fds, struct error *err);

// Where guest-physical memory lies in the memfd. Returns false for what is not in it: devices and
// weights.
bool cell_backing_offset(const struct cell *cell, struct gpa base, uint64_t length,
                         uint64_t *offset);

// Gives the cell's memory to KVM, one memslot for each part and each weights file.
int cell_add_slots(const struct cell *cell, struct kvm_vm *vm, struct error *err);

// Writes the instruction sets into the boot info and takes write access to system pages and code
// from this process, for good. Keeps a private copy for cell_verify.
int cell_freeze(struct cell *cell, uint64_t isa, struct error *err);

// True if page tables, system pages, code and read-only data are byte for byte what cell_freeze
// left. Nobody may run in the cell meanwhile.
bool cell_verify(const struct cell *cell);

#endif
