// SPDX-License-Identifier: Apache-2.0
// The memfd that a VM's memory is: of huge pages where there are some, on the model's NUMA node.
#ifndef MONITOR_MEMORY_FILE_H
#define MONITOR_MEMORY_FILE_H

#include "host_root.h"
#include "vm_file.h"

// What the memory of a VM came to be.
enum memory_pages {
    MEMORY_SMALL,       // 4 KiB
    MEMORY_TRANSPARENT, // 2 MiB where the kernel finds some; it was asked to
    MEMORY_RESERVED,    // 2 MiB of hugetlbfs
};

const char *memory_pages_name(enum memory_pages pages);

// Makes an empty memfd for a VM with `bytes` of memory, to which the VMM adds some for ports and
// page tables. Returns the descriptor; -1 with EXIT_STATUS_RESOURCES if reserved pages were asked
// for and there are too few.
int memory_file_make(const struct host_root *root, enum vm_huge_pages wanted, uint64_t bytes,
                     enum memory_pages *pages, struct error *err);

// Binds the memory to a NUMA node before any of it is touched. False if the kernel refuses.
bool memory_file_bind(int fd, uint64_t bytes, unsigned node);

#endif
