// SPDX-License-Identifier: Apache-2.0
// The second vCPU: changes what the fabric reads, all the time.
#include "race.h"

static void toggle(struct race_toggle *toggle, unsigned which)
{
    unsigned width = atomic_load_explicit(&toggle->width, memory_order_relaxed);
    uint32_t offset = atomic_load_explicit(&toggle->offset, memory_order_relaxed);
    uint64_t value = atomic_load_explicit(&toggle->values[which & 1], memory_order_relaxed);
    if (!width)
        return;
    race_store(world->io, offset % IO_BYTES & ~(uint64_t)(width - 1), width, value);
}

// A word of the payload and the cookie of some request: whatever is there, the request stays one.
static void change_request(uint64_t base, uint64_t random)
{
    uint64_t request = base + BUFFERS_AT + random % RACE_SLOTS * SLOT_BYTES;
    uint64_t word = random >> 8 & 15;
    race_store(world->io, request + sizeof(struct port_request_header) + word * 8, 8, random);
    race_store(world->io, request + offsetof(struct port_request_header, cookie), 8, ~random);
}

// Anything anywhere, half of it in the queue itself.
static void change_anything(uint64_t base, uint64_t random)
{
    uint64_t area = random & 1 ? PORT_BYTES : TABLES_AT + RACE_SLOTS * TABLE_BYTES;
    unsigned width = 1u << (random >> 1 & 3);
    uint64_t offset = (random >> 3) % area & ~(uint64_t)(width - 1);
    race_store(world->io, base + offset, width, random >> 32 | random << 32);
}

void *race_mutate(void *argument)
{
    uint64_t random = world->seed ^ 0x6d757461;
    (void)argument;
    for (uint64_t round = 0; !atomic_load_explicit(&world->stop_mutator, memory_order_relaxed);
         round++) {
        uint64_t value = race_random(&random);
        unsigned port = atomic_load_explicit(&world->focus, memory_order_relaxed);
        if (round % 4 == 0 || port >= world->port_count)
            port = (unsigned)(value % world->port_count);
        struct race_plan *plan = &world->plans[port];
        unsigned count = atomic_load_explicit(&plan->count, memory_order_acquire);
        for (unsigned i = 0; i < count && i < RACE_TOGGLES; i++)
            toggle(&plan->toggles[i], (unsigned)(value >> (20 + i)));
        uint64_t base = (uint64_t)port * PORT_BYTES;
        change_request(base, value);
        if (value % 2048 == 0)
            change_anything(base, race_random(&random));
        if (world->mutates_links && round % 64 == 0)
            race_link_mutate(&random);
        // Not a locked addition: nobody else counts it, and stores come thick.
        atomic_store_explicit(&tallies.mutations, tally_of(&tallies.mutations) + 1,
                              memory_order_relaxed);
    }
    return NULL;
}
