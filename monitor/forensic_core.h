// SPDX-License-Identifier: Apache-2.0
// Writes a dead VM's memory and registers as an ELF64 core file that gdb opens.
//
// What the VMM said about it (forensic_area.h) only gives addresses to bytes: all touched guest
// memory is in the file, once, whatever the VMM said.
#ifndef MONITOR_FORENSIC_CORE_H
#define MONITOR_FORENSIC_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "forensic_area.h"

// All of the guest memory's memfd appears from this address on, in the order of its offsets.
#define FORENSIC_CORE_BACKING 0xffff900000000000ull

// Name and type of the note with what NT_PRSTATUS has no place for: JSON text.
#define FORENSIC_CORE_NOTE      "guillotine"
#define FORENSIC_CORE_NOTE_TYPE 0x6701u

struct forensic_core_source {
    int memory_fd;                    // nobody writes any more
    const struct forensic_area *area; // a private copy
    unsigned vcpus;                   // of the VM, at most FORENSIC_MAX_VCPUS
    const char *vm;                   // its id: [a-z0-9-]
    unsigned level;
    uint64_t wall_ns; // Unix time of the image
};

// Takes the file's next bytes. Returns 0 or -1.
typedef int (*forensic_core_sink)(void *context, const void *data, size_t length,
                                  struct error *err);

// Writes the file from its first byte to its last. Returns 0 or -1.
int forensic_core_write(const struct forensic_core_source *source, forensic_core_sink sink,
                        void *context, struct error *err);

// Most bytes that the file has beyond the memory itself.
uint64_t forensic_core_overhead(void);

#endif
