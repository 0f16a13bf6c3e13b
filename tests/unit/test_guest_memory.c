// SPDX-License-Identifier: Apache-2.0
// Checked access to guest memory against a model that knows every byte.
#include <criterion/criterion.h>
#include <string.h>

#include "guest_memory.h"
#include "support.h"

static struct gpa at(uint64_t value)
{
    return (struct gpa){value};
}

Test(guest_memory, refuses_bad_regions)
{
    struct guest_memory memory = {0};
    struct error err;
    static uint8_t host[64];
    cr_expect_eq(guest_memory_add(&memory, at(0), 0, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(UINT64_MAX), 1, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(UINT64_MAX - 7), 8, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(8), UINT64_MAX, host, GUEST_READ, &err), -1);
    cr_expect_eq(memory.count, 0u);
    cr_assert_eq(guest_memory_add(&memory, at(100), 50, host, GUEST_READ, &err), 0);
    // Every way to overlap.
    cr_expect_eq(guest_memory_add(&memory, at(100), 50, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(149), 1, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(99), 2, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(0), 1000, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(110), 1, host, GUEST_READ, &err), -1);
    cr_expect_eq(guest_memory_add(&memory, at(0), UINT64_MAX, host, GUEST_READ, &err), -1);
    // Neighbours do not.
    cr_expect_eq(guest_memory_add(&memory, at(150), 1, host, GUEST_READ, &err), 0);
    cr_expect_eq(guest_memory_add(&memory, at(99), 1, host, GUEST_READ, &err), 0);
    cr_expect_eq(memory.count, 3u);
    for (unsigned i = 3; i < GUEST_MEMORY_MAX_REGIONS; i++)
        cr_expect_eq(guest_memory_add(&memory, at(1000 + i), 1, host, GUEST_READ, &err), 0);
    cr_expect_eq(guest_memory_add(&memory, at(2000), 1, host, GUEST_READ, &err), -1);
}

// Three regions: two that touch, with different rights, and one that stands alone.
#define SPACE 256u

struct world {
    struct guest_memory memory;
    uint8_t *host[3];
    uint8_t *of[SPACE];     // host byte of every address, or NULL
    unsigned region[SPACE]; // number of the region
    unsigned rights[SPACE];
};

static void build(struct world *world)
{
    static const struct {
        unsigned base, length, rights;
    } regions[3] = {
        {16, 48, GUEST_READ | GUEST_WRITE}, {64, 32, GUEST_READ}, {128, 40, GUEST_WRITE}};
    struct error err;
    *world = (struct world){0};
    for (unsigned i = 0; i < 3; i++) {
        // From malloc, each on its own: the sanitizer sees a byte too far.
        world->host[i] = (uint8_t *)malloc(regions[i].length);
        memset(world->host[i], 0, regions[i].length);
        cr_assert_eq(guest_memory_add(&world->memory, at(regions[i].base), regions[i].length,
                                      world->host[i], regions[i].rights, &err),
                     0);
        for (unsigned k = 0; k < regions[i].length; k++) {
            world->of[regions[i].base + k] = world->host[i] + k;
            world->region[regions[i].base + k] = i;
            world->rights[regions[i].base + k] = regions[i].rights;
        }
    }
}

static bool model_allows(const struct world *world, uint64_t address, uint64_t length,
                         unsigned rights)
{
    if (!length || address >= SPACE || length > SPACE - address)
        return false;
    for (uint64_t i = address; i < address + length; i++) {
        if (!world->of[i] || (world->rights[i] & rights) != rights ||
            world->region[i] != world->region[address])
            return false;
    }
    return true;
}

Test(guest_memory, every_range_against_the_model)
{
    struct world world;
    build(&world);
    for (unsigned address = 0; address < SPACE; address++)
        for (unsigned length = 0; length < 80; length++)
            for (unsigned rights = 0; rights < 4; rights++) {
                bool expected = model_allows(&world, address, length, rights);
                cr_assert_eq(guest_memory_allows(&world.memory, at(address), length, rights),
                             expected, "%u+%u rights %u", address, length, rights);
                for (unsigned alignment = 1; alignment <= 16; alignment *= 2) {
                    void *shared =
                        guest_memory_shared(&world.memory, at(address), length, alignment, rights);
                    if (expected && address % alignment == 0)
                        cr_assert_eq(shared, (void *)world.of[address]);
                    else
                        cr_assert_null(shared);
                }
            }
}

Test(guest_memory, copies_against_the_model)
{
    struct world world;
    struct random random = random_start(11);
    uint8_t expected[SPACE] = {0};
    build(&world);
    for (int round = 0; round < 200000; round++) {
        uint8_t data[96];
        unsigned address = random_below(&random, SPACE);
        unsigned length = random_below(&random, sizeof(data));
        if (random_chance(&random, 50)) {
            random_fill(&random, data, length);
            bool done = guest_memory_write(&world.memory, at(address), data, length);
            cr_assert_eq(done, model_allows(&world, address, length, GUEST_WRITE));
            if (done)
                memcpy(expected + address, data, length);
        } else {
            memset(data, 0xee, sizeof(data));
            bool done = guest_memory_read(&world.memory, at(address), data, length);
            cr_assert_eq(done, model_allows(&world, address, length, GUEST_READ));
            for (unsigned i = 0; i < sizeof(data); i++)
                cr_assert_eq(data[i], done && i < length ? expected[address + i] : 0xee);
        }
    }
    // Refused writes changed nothing.
    for (unsigned i = 0; i < SPACE; i++)
        cr_assert(!world.of[i] || *world.of[i] == expected[i]);
}

Test(guest_memory, huge_addresses_and_lengths)
{
    static const uint64_t edges[] = {
        0, 1, 15, 16, 63, 64, 1ull << 32, 1ull << 63, UINT64_MAX - 15, UINT64_MAX - 1, UINT64_MAX};
    struct world world;
    build(&world);
    for (size_t i = 0; i < COUNT(edges); i++)
        for (size_t k = 0; k < COUNT(edges); k++)
            cr_expect_eq(guest_memory_allows(&world.memory, at(edges[i]), edges[k], GUEST_READ),
                         model_allows(&world, edges[i], edges[k], GUEST_READ), "%#llx+%#llx",
                         (unsigned long long)edges[i], (unsigned long long)edges[k]);
}
