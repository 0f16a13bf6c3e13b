// SPDX-License-Identifier: Apache-2.0
// Which frames are mapped where and with which rights: refuses aliases and writable code.
#ifndef MEMORY_FRAME_MAP_H
#define MEMORY_FRAME_MAP_H

#include <stdint.h>

#include "error.h"
#include "gpa.h"

// Rights of a mapping in the model's address space. PAGE_USER absent: supervisor only.
enum page_rights {
    PAGE_WRITE = 1,
    PAGE_EXECUTE = 2,
    PAGE_USER = 4,
};

#define FRAME_MAP_MAX 128

// One mapping of consecutive pages to consecutive frames.
struct frame_mapping {
    struct gva virtual_base;
    struct gpa physical_base;
    uint64_t length; // a multiple of GUEST_PAGE_SIZE
    unsigned rights; // enum page_rights
};

struct frame_map {
    struct frame_mapping mappings[FRAME_MAP_MAX];
    unsigned count;
};

// Records a mapping. Refuses: misaligned or wrapping ranges, non-canonical addresses, writable and
// executable at once, a page that is mapped already, a frame that is mapped already (whatever the
// rights: one frame, one address, one set of rights), more than FRAME_MAP_MAX mappings.
int frame_map_add(struct frame_map *map, struct gva virtual_base, struct gpa physical_base,
                  uint64_t length, unsigned rights, struct error *err);

// The mapping that covers `address`, or NULL.
const struct frame_mapping *frame_map_find(const struct frame_map *map, struct gva address);

#endif
