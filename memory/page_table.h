// SPDX-License-Identifier: Apache-2.0
// Builds 4-level page tables for a cell from its frame map (SDM vol. 3A, 4.5; APM vol. 2, 5.3).
#ifndef MEMORY_PAGE_TABLE_H
#define MEMORY_PAGE_TABLE_H

#include "frame_map.h"

// Memory for table frames: host view and guest-physical base of the same bytes, zeroed.
struct page_table {
    uint64_t *host;       // owned by the caller
    struct gpa base;      // of frame 0, which is the root (CR3)
    uint64_t frames;      // capacity
    uint64_t used_frames; // frame 0 included once page_table_build has run
};

// Upper bound of the table frames that page_table_build needs for `map`.
uint64_t page_table_frames_needed(const struct frame_map *map);

// Fills the tables with every mapping of `map`. Pages of 2 MiB are used where both addresses allow
// it. Accessed and dirty bits are set from the start: the bytes never change afterwards, which
// makes comparing them meaningful. Upper levels carry the union of rights; leaves decide.
int page_table_build(struct page_table *table, const struct frame_map *map, struct error *err);

// Walks the tables as the processor does. Returns true and the frame and rights if `address` is
// mapped. For tests and introspection.
bool page_table_walk(const struct page_table *table, struct gva address, struct gpa *physical,
                     unsigned *rights);

#endif
