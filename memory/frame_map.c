// SPDX-License-Identifier: Apache-2.0
// Which frames are mapped where and with which rights.
#include "frame_map.h"

#include <stddef.h>

// First address above the lower canonical half with 4-level paging (SDM vol. 3A, 4.5).
#define LOWER_HALF_END (1ull << 47)

// Largest physical address that a page-table entry can name (SDM vol. 3A, 4.1.4).
#define PHYSICAL_END (1ull << 52)

static int check(const struct frame_map *map, const struct frame_mapping *new, struct error *err)
{
    unsigned long long at = (unsigned long long)new->virtual_base.value;
    if (!new->length || ((new->length | new->virtual_base.value | new->physical_base.value) &
                         (GUEST_PAGE_SIZE - 1)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "mapping at 0x%llx is not page-aligned", at);
    if (!range_contains(0, LOWER_HALF_END, new->virtual_base.value, new->length) ||
        !range_contains(0, PHYSICAL_END, new->physical_base.value, new->length))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "mapping at 0x%llx is out of range", at);
    if ((new->rights &(PAGE_WRITE | PAGE_EXECUTE)) == (PAGE_WRITE | PAGE_EXECUTE))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "mapping at 0x%llx is writable and executable", at);
    for (unsigned i = 0; i < map->count; i++) {
        const struct frame_mapping *old = &map->mappings[i];
        if (range_overlaps(old->virtual_base.value, old->length, new->virtual_base.value,
                           new->length))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "mapping at 0x%llx overlaps the one at 0x%llx", at,
                             (unsigned long long)old->virtual_base.value);
        if (range_overlaps(old->physical_base.value, old->length, new->physical_base.value,
                           new->length))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "mapping at 0x%llx aliases frames of the one at 0x%llx", at,
                             (unsigned long long)old->virtual_base.value);
    }
    if (map->count == FRAME_MAP_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "more than %d mappings", FRAME_MAP_MAX);
    return 0;
}

int frame_map_add(struct frame_map *map, struct gva virtual_base, struct gpa physical_base,
                  uint64_t length, unsigned rights, struct error *err)
{
    struct frame_mapping new = {virtual_base, physical_base, length, rights};
    if (check(map, &new, err) < 0)
        return -1;
    map->mappings[map->count++] = new;
    return 0;
}

const struct frame_mapping *frame_map_find(const struct frame_map *map, struct gva address)
{
    for (unsigned i = 0; i < map->count; i++) {
        const struct frame_mapping *mapping = &map->mappings[i];
        if (range_contains(mapping->virtual_base.value, mapping->length, address.value, 1))
            return mapping;
    }
    return NULL;
}
