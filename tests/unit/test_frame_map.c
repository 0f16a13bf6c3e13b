// SPDX-License-Identifier: Apache-2.0
// The frame map: what a cell's address space may never contain.
#include <criterion/criterion.h>
#include <string.h>

#include "frame_map.h"
#include "support.h"

#define PAGE GUEST_PAGE_SIZE

static int add(struct frame_map *map, uint64_t virtual_base, uint64_t physical_base,
               uint64_t length, unsigned rights)
{
    struct error err = {0};
    unsigned before = map->count;
    int result = frame_map_add(map, (struct gva){virtual_base}, (struct gpa){physical_base}, length,
                               rights, &err);
    if (result < 0) {
        cr_expect_eq(map->count, before);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    } else {
        cr_expect_eq(map->count, before + 1);
    }
    return result;
}

Test(frame_map, refuses_misaligned)
{
    struct frame_map map = {0};
    cr_expect_eq(add(&map, 1, 0, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0, 8, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0, 0, PAGE + 1, 0), -1);
    cr_expect_eq(add(&map, 0, 0, 0, 0), -1);
    cr_expect_eq(add(&map, 0x800, 0x800, 0x800, 0), -1);
}

Test(frame_map, refuses_non_canonical_and_wrapping)
{
    struct frame_map map = {0};
    const uint64_t end = 1ull << 47;
    cr_expect_eq(add(&map, end, 0, PAGE, 0), -1);
    cr_expect_eq(add(&map, end - PAGE, 0, 2 * PAGE, 0), -1);
    cr_expect_eq(add(&map, 0, 0, end + PAGE, 0), -1);
    cr_expect_eq(add(&map, 0xffff800000000000ull, 0, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0 - PAGE, 0, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0 - PAGE, 0, 2 * PAGE, 0), -1);
    cr_expect_eq(add(&map, PAGE, 0, 0 - PAGE, 0), -1);
    cr_expect_eq(add(&map, 0, 0 - PAGE, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0, 0 - PAGE, 2 * PAGE, 0), -1);
    cr_expect_eq(add(&map, end - PAGE, PAGE, PAGE, 0), 0);
}

// Bits above the 52 that an entry has for a frame would become its attributes.
Test(frame_map, refuses_frames_that_no_entry_can_name)
{
    struct frame_map map = {0};
    cr_expect_eq(add(&map, 0, 1ull << 52, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0x10000, 1ull << 63, PAGE, 0), -1);
    cr_expect_eq(add(&map, 0x20000, (1ull << 52) - PAGE, 2 * PAGE, 0), -1);
    cr_expect_eq(add(&map, 0x20000, (1ull << 52) - PAGE, PAGE, 0), 0);
}

Test(frame_map, refuses_writable_code)
{
    for (unsigned rights = 0; rights < 8; rights++) {
        struct frame_map map = {0};
        bool both = (rights & PAGE_WRITE) && (rights & PAGE_EXECUTE);
        cr_expect_eq(add(&map, 0x10000, 0x20000, PAGE, rights), both ? -1 : 0, "rights %u", rights);
    }
}

Test(frame_map, refuses_aliases_whatever_the_rights)
{
    for (unsigned a = 0; a < 8; a++)
        for (unsigned b = 0; b < 8; b++) {
            if ((a & 3) == 3 || (b & 3) == 3)
                continue;
            struct frame_map map = {0};
            cr_assert_eq(add(&map, 0x10000, 0x100000, 4 * PAGE, a), 0);
            cr_expect_eq(add(&map, 0x50000, 0x100000, PAGE, b), -1);
            cr_expect_eq(add(&map, 0x50000, 0x103000, PAGE, b), -1);
            cr_expect_eq(add(&map, 0x50000, 0x0ff000, 2 * PAGE, b), -1);
            cr_expect_eq(add(&map, 0x50000, 0x0ff000, 16 * PAGE, b), -1);
            cr_expect_eq(add(&map, 0x10000, 0x200000, PAGE, b), -1);
            cr_expect_eq(add(&map, 0x13000, 0x200000, PAGE, b), -1);
            cr_expect_eq(add(&map, 0x0f000, 0x200000, 2 * PAGE, b), -1);
            cr_expect_eq(add(&map, 0x0f000, 0x0ff000, PAGE, b), 0);
            cr_expect_eq(add(&map, 0x14000, 0x104000, PAGE, b), 0);
        }
}

Test(frame_map, has_a_capacity)
{
    struct {
        struct frame_map map;
        uint64_t canary;
    } box = {.canary = 0x1234};
    for (unsigned i = 0; i < FRAME_MAP_MAX; i++)
        cr_assert_eq(add(&box.map, i * PAGE, i * PAGE, PAGE, 0), 0);
    cr_expect_eq(add(&box.map, FRAME_MAP_MAX * PAGE, FRAME_MAP_MAX * PAGE, PAGE, 0), -1);
    cr_expect_eq(box.canary, 0x1234u);
}

// Random additions on a small space: the map accepts exactly what a page-by-page model accepts,
// and finds exactly what it accepted.
Test(frame_map, random_against_model)
{
    enum { PAGES = 48 };
    struct random random = random_start(12);
    for (int round = 0; round < 400; round++) {
        struct frame_map map = {0};
        int frame_of[PAGES];
        unsigned rights_of[PAGES];
        bool used[PAGES] = {false};
        memset(frame_of, -1, sizeof(frame_of));
        for (int step = 0; step < 60; step++) {
            unsigned page = random_below(&random, PAGES), frame = random_below(&random, PAGES);
            unsigned count = 1 + random_below(&random, 6), rights = random_below(&random, 8);
            bool good = (rights & 3) != 3 && page + count <= PAGES && frame + count <= PAGES;
            if (page + count > PAGES || frame + count > PAGES)
                continue;
            for (unsigned i = 0; i < count; i++)
                good = good && frame_of[page + i] < 0 && !used[frame + i];
            cr_assert_eq(add(&map, page * PAGE, frame * PAGE, count * PAGE, rights), good ? 0 : -1);
            for (unsigned i = 0; good && i < count; i++) {
                frame_of[page + i] = (int)(frame + i);
                rights_of[page + i] = rights;
                used[frame + i] = true;
            }
        }
        for (unsigned page = 0; page < PAGES + 2; page++) {
            struct gva address = {page * PAGE + random_below(&random, PAGE)};
            const struct frame_mapping *found = frame_map_find(&map, address);
            if (page >= PAGES || frame_of[page] < 0) {
                cr_assert_null(found);
                continue;
            }
            cr_assert_not_null(found);
            uint64_t offset = page * PAGE - found->virtual_base.value;
            cr_assert_eq(found->physical_base.value + offset, frame_of[page] * PAGE);
            cr_assert_eq(found->rights, rights_of[page]);
        }
    }
}
