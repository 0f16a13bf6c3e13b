// SPDX-License-Identifier: Apache-2.0
// Builds 4-level page tables for a cell from its frame map.
#include "page_table.h"

#include <stddef.h>

#define ENTRY_PRESENT  (1ull << 0)
#define ENTRY_WRITE    (1ull << 1)
#define ENTRY_USER     (1ull << 2)
#define ENTRY_ACCESSED (1ull << 5)
#define ENTRY_DIRTY    (1ull << 6)
#define ENTRY_LARGE    (1ull << 7)
#define ENTRY_NX       (1ull << 63)
#define ENTRY_ADDRESS  0x000ffffffffff000ull

#define TABLE_ENTRIES 512

// Bytes that one entry of a level covers: level 0 is the page table, level 3 the root.
static uint64_t level_span(unsigned level)
{
    return GUEST_PAGE_SIZE << (9 * level);
}

static unsigned level_index(struct gva address, unsigned level)
{
    return (unsigned)(address.value >> (12 + 9 * level)) & (TABLE_ENTRIES - 1);
}

uint64_t page_table_frames_needed(const struct frame_map *map)
{
    uint64_t frames = 1;
    for (unsigned i = 0; i < map->count; i++) {
        uint64_t length = map->mappings[i].length;
        // A range touches at most its size divided by the span, plus two tables, a level.
        for (unsigned level = 1; level <= 3; level++)
            frames += length / level_span(level) + 2;
    }
    return frames;
}

static uint64_t *table_at(const struct page_table *table, uint64_t entry)
{
    uint64_t frame = ((entry & ENTRY_ADDRESS) - table->base.value) / GUEST_PAGE_SIZE;
    return table->host + frame * TABLE_ENTRIES;
}

// Returns the table below `entry`, made on first use, or NULL if the frames are used up.
static uint64_t *descend(struct page_table *table, uint64_t *entry, unsigned rights)
{
    if (!*entry) {
        if (table->used_frames == table->frames)
            return NULL;
        uint64_t frame = table->used_frames++;
        *entry = (table->base.value + frame * GUEST_PAGE_SIZE) | ENTRY_PRESENT | ENTRY_WRITE |
                 ENTRY_ACCESSED;
    }
    // Without PAGE_USER on any leaf below, the whole subtree stays closed to CPL3.
    if (rights & PAGE_USER)
        *entry |= ENTRY_USER;
    return table_at(table, *entry);
}

static uint64_t leaf_entry(struct gpa physical, unsigned rights, unsigned level)
{
    return physical.value | ENTRY_PRESENT | ENTRY_ACCESSED | ENTRY_DIRTY |
           (rights & PAGE_WRITE ? ENTRY_WRITE : 0) | (rights & PAGE_USER ? ENTRY_USER : 0) |
           (rights & PAGE_EXECUTE ? 0 : ENTRY_NX) | (level ? ENTRY_LARGE : 0);
}

static int map_range(struct page_table *table, const struct frame_mapping *mapping,
                     struct error *err)
{
    for (uint64_t done = 0; done < mapping->length;) {
        struct gva virtual_address = gva_add(mapping->virtual_base, done);
        struct gpa physical = gpa_add(mapping->physical_base, done);
        bool large = !((virtual_address.value | physical.value) & (GUEST_LARGE_PAGE_SIZE - 1)) &&
                     mapping->length - done >= GUEST_LARGE_PAGE_SIZE;
        unsigned leaf_level = large ? 1 : 0;
        uint64_t *entries = table->host;
        for (unsigned level = 3; level > leaf_level; level--) {
            entries =
                descend(table, &entries[level_index(virtual_address, level)], mapping->rights);
            if (!entries)
                return error_set(err, EXIT_STATUS_INTERNAL, 0, "page table frames used up");
        }
        // Fill the leaf table in one go: walking from the root for every page would dominate
        // the launch of a large cell.
        unsigned index = level_index(virtual_address, leaf_level);
        uint64_t span = level_span(leaf_level);
        do {
            entries[index++] = leaf_entry(physical, mapping->rights, leaf_level);
            physical.value += span;
            done += span;
        } while (index < TABLE_ENTRIES && mapping->length - done >= span &&
                 (large || done % GUEST_LARGE_PAGE_SIZE));
    }
    return 0;
}

int page_table_build(struct page_table *table, const struct frame_map *map, struct error *err)
{
    if (!table->frames)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "no page table frames");
    table->used_frames = 1;
    for (unsigned i = 0; i < map->count; i++) {
        if (map_range(table, &map->mappings[i], err) < 0)
            return -1;
    }
    return 0;
}

bool page_table_walk(const struct page_table *table, struct gva address, struct gpa *physical,
                     unsigned *rights)
{
    const uint64_t *entries = table->host;
    bool user = true;
    if (address.value >> 47 != 0 && address.value >> 47 != 0x1ffff)
        return false; // not canonical
    for (unsigned level = 3;; level--) {
        uint64_t entry = entries[level_index(address, level)];
        if (!(entry & ENTRY_PRESENT))
            return false;
        user = user && (entry & ENTRY_USER);
        if (level == 0 || (entry & ENTRY_LARGE)) {
            uint64_t span = level_span(level);
            physical->value = (entry & ENTRY_ADDRESS) + (address.value & (span - 1));
            *rights = (entry & ENTRY_WRITE ? PAGE_WRITE : 0u) |
                      (entry & ENTRY_NX ? 0u : PAGE_EXECUTE) | (user ? PAGE_USER : 0u);
            return true;
        }
        entries = table_at(table, entry);
    }
}
