// SPDX-License-Identifier: Apache-2.0
// Host views of guest memory.
#ifndef VMM_BACKING_H
#define VMM_BACKING_H

#include <stdint.h>

#include "error.h"

// Asks of memory that the guest gets what the configuration wants (enum vmm_memory).
int backing_apply(void *host, uint64_t length, uint32_t flags, struct error *err);

// Maps `length` bytes of a memory file, rounded up to large pages. Returns NULL and sets *err on
// failure.
void *backing_map(int memory_fd, uint64_t offset, uint64_t length, uint32_t flags,
                  struct error *err);

#endif
