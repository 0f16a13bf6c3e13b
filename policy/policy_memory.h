// SPDX-License-Identifier: Apache-2.0
// The memory of policy engines: mapped once, taken piece by piece, given back as a whole. Engines
// can be made in it where no system call is allowed any more.
#ifndef POLICY_POLICY_MEMORY_H
#define POLICY_POLICY_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Room for the engines of all ports of a VM; pages that nobody touches cost nothing.
#define POLICY_MEMORY_BYTES (128ull << 20)

struct policy_memory {
    uint8_t *base; // NULL: not open
    uint64_t used;
};

int policy_memory_open(struct policy_memory *memory, struct error *err);
void policy_memory_close(struct policy_memory *memory);

// Takes zeroed memory, aligned to 16; NULL if there is no more. No system call.
void *policy_memory_take(struct policy_memory *memory, uint64_t bytes);

// Everything that was taken is free again.
void policy_memory_reset(struct policy_memory *memory);

#endif
