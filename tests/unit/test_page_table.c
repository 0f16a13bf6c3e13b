// SPDX-License-Identifier: Apache-2.0
// Page tables against the frame map they were built from, entry by entry.
//
// The walker here is the test's own (SDM vol. 3A, 4.5): page_table_walk is compared with it too.
#include <criterion/criterion.h>
#include <string.h>

#include "page_table.h"
#include "support.h"

#define PAGE        GUEST_PAGE_SIZE
#define LARGE       GUEST_LARGE_PAGE_SIZE
#define TABLES_BASE 0x1000000ull

#define P  (1ull << 0)
#define RW (1ull << 1)
#define US (1ull << 2)
#define A  (1ull << 5)
#define D  (1ull << 6)
#define PS (1ull << 7)
#define NX (1ull << 63)

struct tables {
    struct page_table table;
    uint64_t frames;
};

static int build(struct tables *tables, const struct frame_map *map, uint64_t frames)
{
    struct error err;
    tables->frames = frames;
    tables->table = (struct page_table){
        .host = (uint64_t *)calloc(frames, PAGE),
        .base = {TABLES_BASE},
        .frames = frames,
    };
    return page_table_build(&tables->table, map, &err);
}

static void drop(struct tables *tables)
{
    free(tables->table.host);
}

struct translation {
    bool mapped;
    bool large;
    uint64_t physical;
    bool write, execute, user;
};

// As the processor does: rights are the conjunction of all levels.
static struct translation walk(const struct tables *tables, uint64_t address)
{
    struct translation t = {.write = true, .execute = true, .user = true};
    uint64_t frame = TABLES_BASE;
    for (int level = 3; level >= 0; level--) {
        cr_assert(frame >= TABLES_BASE && frame - TABLES_BASE < tables->table.used_frames * PAGE,
                  "table outside the table frames");
        uint64_t entry =
            tables->table.host[(frame - TABLES_BASE) / 8 + (address >> (12 + 9 * level) & 511)];
        if (!(entry & P)) {
            cr_assert_eq(entry, 0u, "an entry is present or zero");
            return (struct translation){0};
        }
        cr_assert(entry & A, "accessed is preset");
        t.write = t.write && (entry & RW);
        t.execute = t.execute && !(entry & NX);
        t.user = t.user && (entry & US);
        bool leaf = level == 0 || (entry & PS);
        // No reserved or cacheability bit, none of the ignored ones.
        uint64_t allowed = P | RW | US | A | NX | 0xffffffffff000ull;
        if (leaf)
            allowed |= D | (level ? PS : 0);
        cr_assert_eq(entry & ~allowed, 0u, "stray bits %#llx", (unsigned long long)entry);
        frame = entry & 0xffffffffff000ull;
        if (leaf) {
            uint64_t span = PAGE << (9 * level);
            cr_assert_leq(level, 1);
            cr_assert(entry & D, "dirty is preset");
            cr_assert_eq(frame & (span - 1), 0u, "reserved bits of a large entry");
            t.mapped = true;
            t.large = level == 1;
            t.physical = frame + (address & (span - 1));
            return t;
        }
    }
    return t;
}

static void check_address(const struct tables *tables, const struct frame_map *map,
                          uint64_t address)
{
    const struct frame_mapping *mapping = frame_map_find(map, (struct gva){address});
    struct translation t = walk(tables, address);
    struct gpa physical = {0};
    unsigned rights = 99;
    bool walked = page_table_walk(&tables->table, (struct gva){address}, &physical, &rights);
    cr_assert_eq(t.mapped, mapping != NULL, "%#llx", (unsigned long long)address);
    cr_assert_eq(walked, t.mapped);
    if (!mapping)
        return;
    cr_assert_eq(t.physical, mapping->physical_base.value + address - mapping->virtual_base.value);
    cr_assert_eq(t.write, (mapping->rights & PAGE_WRITE) != 0, "%#llx",
                 (unsigned long long)address);
    cr_assert_eq(t.execute, (mapping->rights & PAGE_EXECUTE) != 0);
    cr_assert_eq(t.user, (mapping->rights & PAGE_USER) != 0, "%#llx", (unsigned long long)address);
    cr_assert_eq(physical.value, t.physical);
    cr_assert_eq(rights, mapping->rights);
    // A large page never covers more than the mapping.
    if (t.large) {
        uint64_t start = address & ~(LARGE - 1);
        cr_assert(range_contains(mapping->virtual_base.value, mapping->length, start, LARGE));
    }
}

// Every page of every mapping, and the pages around it.
static void check_all(const struct tables *tables, const struct frame_map *map)
{
    for (unsigned i = 0; i < map->count; i++) {
        const struct frame_mapping *mapping = &map->mappings[i];
        uint64_t base = mapping->virtual_base.value;
        for (uint64_t done = 0; done < mapping->length; done += PAGE)
            check_address(tables, map, base + done + (done * 7 & (PAGE - 1)));
        static const uint64_t distances[] = {1, PAGE, LARGE, 512 * LARGE, 512 * 512 * LARGE};
        for (size_t k = 0; k < COUNT(distances); k++) {
            if (base >= distances[k])
                check_address(tables, map, base - distances[k]);
            uint64_t end = base + mapping->length - 1 + distances[k];
            if (end < 1ull << 47)
                check_address(tables, map, end);
        }
    }
}

// Follows every entry: the number of present leaves is that of the map, so nothing else is mapped.
static void count_leaves(const struct tables *tables, uint64_t frame, int level, uint64_t *bytes,
                         bool *user_below)
{
    *user_below = false;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t entry = tables->table.host[(frame - TABLES_BASE) / 8 + i];
        if (!(entry & P))
            continue;
        bool user = entry & US;
        if (level == 0 || (entry & PS)) {
            *bytes += PAGE << (9 * level);
        } else {
            bool below;
            count_leaves(tables, entry & 0xffffffffff000ull, level - 1, bytes, &below);
            cr_assert_eq(user, below, "user bit of a subtree without user pages, or the reverse");
        }
        *user_below = *user_below || user;
    }
}

static void check_nothing_else(const struct tables *tables, const struct frame_map *map)
{
    uint64_t bytes = 0, expected = 0;
    bool user;
    for (unsigned i = 0; i < map->count; i++)
        expected += map->mappings[i].length;
    count_leaves(tables, TABLES_BASE, 3, &bytes, &user);
    cr_assert_eq(bytes, expected);
}

static void check_map(const struct frame_map *map)
{
    struct tables tables;
    uint64_t needed = page_table_frames_needed(map);
    cr_assert_eq(build(&tables, map, needed), 0, "%llu frames were not enough",
                 (unsigned long long)needed);
    cr_assert_leq(tables.table.used_frames, needed);
    check_all(&tables, map);
    check_nothing_else(&tables, map);
    drop(&tables);
}

static void add(struct frame_map *map, uint64_t virtual_base, uint64_t physical_base,
                uint64_t length, unsigned rights)
{
    struct error err;
    cr_assert_eq(frame_map_add(map, (struct gva){virtual_base}, (struct gpa){physical_base}, length,
                               rights, &err),
                 0, "%s", err.text);
}

Test(page_table, empty)
{
    struct frame_map map = {0};
    struct tables tables;
    cr_assert_eq(build(&tables, &map, page_table_frames_needed(&map)), 0);
    cr_expect_eq(tables.table.used_frames, 1u);
    cr_expect_not(walk(&tables, 0).mapped);
    drop(&tables);
}

Test(page_table, no_frames)
{
    struct frame_map map = {0};
    struct page_table table = {0};
    struct error err;
    cr_expect_eq(page_table_build(&table, &map, &err), -1);
}

Test(page_table, alignment_mixes)
{
    static const struct {
        uint64_t virtual_base, physical_base, length;
    } cases[] = {
        {LARGE, LARGE, LARGE},                            // one large page
        {LARGE, LARGE + PAGE, LARGE},                     // same shape, frames misaligned
        {LARGE + PAGE, LARGE + PAGE, 3 * LARGE},          // small, large, small
        {LARGE - PAGE, 9 * LARGE - PAGE, 2 * PAGE},       // over the border of a table
        {LARGE - PAGE, LARGE, 2 * LARGE},                 // never aligned together
        {512 * LARGE - PAGE, 0, 2 * PAGE},                // over a border of the next level
        {512ull * 512 * LARGE - LARGE, LARGE, 2 * LARGE}, // and the next
        {0, 0, PAGE},
        {(1ull << 47) - LARGE - PAGE, LARGE - PAGE, LARGE + PAGE}, // the end of the lower half
        {5 * LARGE, 7 * LARGE, 513 * LARGE}, // more than a table of large pages
        {5 * LARGE + PAGE, 7 * LARGE + PAGE, 514 * LARGE},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (unsigned rights = 0; rights < 8; rights++) {
            if ((rights & 3) == 3)
                continue;
            struct frame_map map = {0};
            add(&map, cases[i].virtual_base, cases[i].physical_base, cases[i].length, rights);
            check_map(&map);
        }
}

Test(page_table, uses_large_pages)
{
    struct frame_map map = {0};
    struct tables tables;
    add(&map, LARGE - PAGE, LARGE - PAGE, 2 * LARGE + 2 * PAGE, PAGE_USER);
    cr_assert_eq(build(&tables, &map, page_table_frames_needed(&map)), 0);
    cr_expect_not(walk(&tables, LARGE - PAGE).large);
    cr_expect(walk(&tables, LARGE).large);
    cr_expect(walk(&tables, 2 * LARGE).large);
    cr_expect_not(walk(&tables, 3 * LARGE).large);
    drop(&tables);
}

// A supervisor mapping next to a user one in the same table stays closed.
Test(page_table, supervisor_beside_user)
{
    struct frame_map map = {0};
    add(&map, 0x7f0000000000, 0x100000, 4 * PAGE, PAGE_EXECUTE);
    add(&map, 0x7f0000000000 + 5 * PAGE, 0x200000, PAGE, PAGE_USER | PAGE_WRITE);
    add(&map, 0x7e0000000000, 0x300000, PAGE, PAGE_WRITE);
    check_map(&map);
}

static uint64_t random_virtual(struct random *random)
{
    static const uint64_t spots[] = {
        0, LARGE, 512 * LARGE, 512ull * 512 * LARGE, (1ull << 47) - 16 * LARGE, 0x500000000000};
    uint64_t address = spots[random_below(random, COUNT(spots))];
    address += random_below(random, 8) * LARGE;
    if (random_chance(random, 60))
        address += random_below(random, 512) * PAGE;
    return address;
}

Test(page_table, random_maps, .timeout = 50)
{
    struct random random = random_start(13);
    for (int round = 0; round < 250; round++) {
        struct frame_map map = {0};
        unsigned mappings = 1 + random_below(&random, 12);
        for (unsigned i = 0; i < mappings; i++) {
            struct error err;
            uint64_t virtual_base = random_virtual(&random);
            uint64_t physical = (1 + random_below(&random, 64)) * LARGE;
            if (random_chance(&random, 40))
                physical += random_below(&random, 512) * PAGE;
            else
                physical += virtual_base & (LARGE - 1);
            uint64_t length = random_chance(&random, 50) ? (1 + random_below(&random, 1024)) * PAGE
                                                         : (1 + random_below(&random, 4)) * LARGE;
            // Overlaps are refused: what is left is the map.
            frame_map_add(&map, (struct gva){virtual_base}, (struct gpa){physical}, length,
                          random_below(&random, 8), &err);
        }
        check_map(&map);
    }
}

// Too few frames: an error, and nothing beyond the capacity is touched.
Test(page_table, frames_used_up)
{
    struct frame_map map = {0};
    add(&map, LARGE - PAGE, LARGE, 2 * LARGE, PAGE_USER);
    add(&map, 1ull << 46, 64 * LARGE, PAGE, PAGE_USER);
    struct tables tables;
    cr_assert_eq(build(&tables, &map, page_table_frames_needed(&map)), 0);
    uint64_t exact = tables.table.used_frames;
    drop(&tables);
    for (uint64_t frames = 1; frames < exact; frames++) {
        cr_expect_eq(build(&tables, &map, frames), -1, "%llu of %llu frames",
                     (unsigned long long)frames, (unsigned long long)exact);
        drop(&tables);
    }
    cr_expect_eq(build(&tables, &map, exact), 0);
    drop(&tables);
}

// The processor faults on addresses outside the lower half; the walker must not fold them back.
Test(page_table, walk_of_non_canonical)
{
    struct frame_map map = {0};
    struct tables tables;
    struct gpa physical;
    unsigned rights;
    add(&map, 0x10000, 0x10000, PAGE, PAGE_USER);
    cr_assert_eq(build(&tables, &map, page_table_frames_needed(&map)), 0);
    cr_expect_not(
        page_table_walk(&tables.table, (struct gva){0x10000 + (1ull << 48)}, &physical, &rights));
    drop(&tables);
}
