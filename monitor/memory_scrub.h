// SPDX-License-Identifier: Apache-2.0
// Overwrites shared memory that nobody uses any more, and looks that it worked.
#ifndef MONITOR_MEMORY_SCRUB_H
#define MONITOR_MEMORY_SCRUB_H

#include <stdint.h>

#include "error.h"

// Writes zeros over everything that was ever touched in a memfd, reads it back, and gives the
// memory back to the host. Works whatever became of the processes that had it mapped; none may
// still write. Adds the overwritten bytes to *bytes. Returns 0 only if every page was seen to be
// zero or a hole; else -1.
int memory_scrub(int fd, uint64_t *bytes, struct error *err);

// Finds the next run of touched memory at or after *start. Returns 1 with [*start, *end), 0 if
// there is none up to `size`, or -1.
int memory_next_data(int fd, uint64_t size, uint64_t *start, uint64_t *end, struct error *err);

// Looks that every byte is zero. Returns 0 or -1.
int memory_check_zero(int fd, uint64_t size, struct error *err);

#endif
