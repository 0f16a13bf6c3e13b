// SPDX-License-Identifier: Apache-2.0
// Range arithmetic against brute force, and at the edges of 64 bits against 128-bit arithmetic.
#include <criterion/criterion.h>

#include "gpa.h"
#include "support.h"

__extension__ typedef unsigned __int128 wide;

static bool contains_wide(uint64_t base, uint64_t size, uint64_t address, uint64_t length)
{
    return address >= base && (wide)address + length <= (wide)base + size;
}

static bool overlaps_wide(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size && b_size && a < (wide)b + b_size && b < (wide)a + a_size;
}

Test(gpa, contains_brute_force)
{
    for (unsigned base = 0; base < 10; base++)
        for (unsigned size = 0; size < 10; size++)
            for (unsigned address = 0; address < 22; address++)
                for (unsigned length = 0; length < 22; length++) {
                    bool expected = address >= base && address <= base + size;
                    for (unsigned byte = address; byte < address + length; byte++)
                        expected = expected && byte >= base && byte < base + size;
                    cr_assert_eq(range_contains(base, size, address, length), expected,
                                 "%u+%u in %u+%u", address, length, base, size);
                }
}

Test(gpa, overlaps_brute_force)
{
    for (unsigned a = 0; a < 12; a++)
        for (unsigned a_size = 0; a_size < 8; a_size++)
            for (unsigned b = 0; b < 12; b++)
                for (unsigned b_size = 0; b_size < 8; b_size++) {
                    bool expected = false;
                    for (unsigned byte = a; byte < a + a_size; byte++)
                        expected = expected || (byte >= b && byte < b + b_size);
                    cr_assert_eq(range_overlaps(a, a_size, b, b_size), expected, "%u+%u with %u+%u",
                                 a, a_size, b, b_size);
                }
}

static const uint64_t edges[] = {
    0,
    1,
    2,
    4095,
    4096,
    4097,
    1ull << 31,
    1ull << 32,
    (1ull << 47) - 1,
    1ull << 47,
    INT64_MAX,
    1ull << 63,
    UINT64_MAX - 4096,
    UINT64_MAX - 4095,
    UINT64_MAX - 1,
    UINT64_MAX,
};

Test(gpa, edges_of_64_bits)
{
    for (size_t i = 0; i < COUNT(edges); i++)
        for (size_t j = 0; j < COUNT(edges); j++) {
            // The container does not wrap (a region never does); the query may.
            if ((wide)edges[i] + edges[j] > UINT64_MAX)
                continue;
            for (size_t k = 0; k < COUNT(edges); k++)
                for (size_t l = 0; l < COUNT(edges); l++) {
                    cr_assert_eq(range_contains(edges[i], edges[j], edges[k], edges[l]),
                                 contains_wide(edges[i], edges[j], edges[k], edges[l]));
                    if ((wide)edges[k] + edges[l] <= UINT64_MAX)
                        cr_assert_eq(range_overlaps(edges[i], edges[j], edges[k], edges[l]),
                                     overlaps_wide(edges[i], edges[j], edges[k], edges[l]));
                }
        }
}

Test(gpa, random_edges)
{
    struct random random = random_start(10);
    for (int i = 0; i < 2000000; i++) {
        uint64_t v[4];
        for (unsigned k = 0; k < 4; k++)
            v[k] = edges[random_below(&random, COUNT(edges))] + random_below(&random, 5) - 2;
        if ((wide)v[0] + v[1] > UINT64_MAX)
            continue;
        cr_assert_eq(range_contains(v[0], v[1], v[2], v[3]), contains_wide(v[0], v[1], v[2], v[3]));
        if ((wide)v[2] + v[3] <= UINT64_MAX)
            cr_assert_eq(range_overlaps(v[0], v[1], v[2], v[3]),
                         overlaps_wide(v[0], v[1], v[2], v[3]));
    }
}

Test(gpa, align_up)
{
    uint64_t aligned;
    cr_expect(align_up(0, 4096, &aligned) && aligned == 0);
    cr_expect(align_up(1, 4096, &aligned) && aligned == 4096);
    cr_expect(align_up(4096, 4096, &aligned) && aligned == 4096);
    cr_expect(align_up(UINT64_MAX - 4095, 4096, &aligned) && aligned == UINT64_MAX - 4095);
    cr_expect_not(align_up(UINT64_MAX - 4094, 4096, &aligned));
    cr_expect_not(align_up(UINT64_MAX, 2, &aligned));
    cr_expect(align_up(UINT64_MAX, 1, &aligned) && aligned == UINT64_MAX);
}
