// SPDX-License-Identifier: Apache-2.0
// Checked access to guest memory: the only way from a guest-physical address to host bytes.
#ifndef MEMORY_GUEST_MEMORY_H
#define MEMORY_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gpa.h"

// What the host may do with a region on the guest's behalf.
enum guest_rights {
    GUEST_READ = 1,
    GUEST_WRITE = 2,
};

#define GUEST_MEMORY_MAX_REGIONS 8

struct guest_region {
    struct gpa base;
    uint64_t length;
    uint8_t *host; // owned by whoever mapped it; stays mapped as long as the table is used
    unsigned rights;
};

// The regions that port traffic may touch: for cells the I/O region, for Linux guests RAM minus
// sealed ranges. Built at launch, immutable afterwards, so that readers need no lock.
struct guest_memory {
    struct guest_region regions[GUEST_MEMORY_MAX_REGIONS];
    unsigned count;
};

// Adds a region; refuses overlap, wrap-around and more than GUEST_MEMORY_MAX_REGIONS.
int guest_memory_add(struct guest_memory *memory, struct gpa base, uint64_t length, void *host,
                     unsigned rights, struct error *err);

// True if `length` bytes (at least 1) at `address` lie in one region with all of `rights`.
bool guest_memory_allows(const struct guest_memory *memory, struct gpa address, uint64_t length,
                         unsigned rights);

// Copies out of or into guest memory. Returns false, having copied nothing, if the range is not
// allowed. The guest may change the bytes meanwhile: look only at the copy.
bool guest_memory_read(const struct guest_memory *memory, struct gpa address, void *target,
                       size_t length);
bool guest_memory_write(const struct guest_memory *memory, struct gpa address, const void *source,
                        size_t length);

// Host address of a range that stays shared with the guest for the VM's lifetime (ring headers).
// NULL if the range is not allowed or `address` is not aligned to `alignment`. Bytes behind it
// change at any time: access only with the atomic helpers of the caller.
void *guest_memory_shared(const struct guest_memory *memory, struct gpa address, uint64_t length,
                          uint64_t alignment, unsigned rights);

#endif
