// SPDX-License-Identifier: Apache-2.0
// Fuzzes the mediation path: the input is the port's settings, what its memory contains, and then
// what driver, operator, backend and time do in turn.
#include <string.h>

#include "port_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE       0x8000000ull
#define BYTES      0x1000u
#define QUEUE      0x200u // of the memory, for each queue
#define STEPS      160u
#define IMAGE_UNIT 16u

static const struct limits_config limits[] = {
    {0},
    {.requests_per_s = 2, .request_burst = 3},
    {.bytes_per_s = 64, .byte_burst = 100},
    {.requests_total = 4},
    {.bytes_total = 100},
    {.reply_bytes_per_s = 32, .reply_byte_burst = 64},
    {.reply_bytes_total = 60},
    {.capacity_bits_per_s = 1000},
};

static struct world_settings settings_of(uint8_t kind, uint8_t bounds)
{
    struct world_settings settings = {
        .base = BASE,
        .bytes = BYTES,
        .queues = 1 + (kind & 1),
        .queue_size = (uint16_t)(2u << (kind >> 1) % 4),
        .features = kind >> 3 & 3,
        .buffers = WORLD_QUEUES * QUEUE,
        .in_flight = 1u << (kind >> 5 & 3),
        .max_request = bounds & 1 ? 200 : 40,
        .max_reply = bounds & 2 ? 6000 : 24,
        .closed_at_probation = kind & 128,
        .limits = &limits[bounds >> 2 & 7],
        .audit_bytes = bounds & 32 ? 4096 : 8192,
        .audit_per_s = bounds & 64 ? 10 : 0,
    };
    for (unsigned i = 0; i < WORLD_QUEUES; i++) {
        settings.at[i].descriptors = i * QUEUE;
        settings.at[i].available = i * QUEUE + 0x100;
        settings.at[i].used = i * QUEUE + 0x140;
    }
    return settings;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    struct world_input input = {data, size};
    uint8_t kind = world_byte(&input), bounds = world_byte(&input);
    size_t image = world_byte(&input) * IMAGE_UNIT;
    const struct world_settings settings = settings_of(kind, bounds);
    world_start(&world, &settings);
    if (image > input.size)
        image = input.size;
    memcpy(world.region, input.data, image);
    input.data += image;
    input.size -= image;
    for (unsigned step = 0; step < STEPS && input.size >= 4; step++) {
        if (!world_act(&world, input.data))
            world_serve(&world, 32);
        input.data += 4;
        input.size -= 4;
    }
    world_finish(&world, true);
    return 0;
}
