// SPDX-License-Identifier: Apache-2.0
// The clock backend: what a model can see of the time, whatever it does.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "clock_port.h"
#include "support.h"

#define RESOLUTION (10 * NS_PER_MS)
#define START      12345678901ull
#define WALL_START 1700000000123456789ull

static uint64_t now_ns;
static struct clock_port port;

static uint64_t read_now(const struct clock *clock)
{
    (void)clock;
    return now_ns;
}

static uint64_t read_wall(const struct clock *clock)
{
    (void)clock;
    return WALL_START + (now_ns - START);
}

static const struct clock test_clock = {.now_ns = read_now, .wall_ns = read_wall};

static int init(uint64_t resolution_ns, uint64_t jitter_ns, bool quantises)
{
    struct vmm_clock_options options = {
        .resolution_ns = resolution_ns, .jitter_ns = jitter_ns, .quantises_replies = quantises};
    struct error err;
    memset(options.seed, 7, sizeof(options.seed));
    now_ns = START;
    return clock_port_init(&port, &options, &test_clock, &err);
}

static struct clock_reading answer;

static struct port_request asking(uint32_t operation)
{
    return (struct port_request){
        .operation = operation, .reply = (uint8_t *)&answer, .reply_capacity = sizeof(answer)};
}

static uint64_t ask(uint32_t operation)
{
    struct port_request request = asking(operation);
    cr_assert_eq(clock_backend.submit(&port, &request), PORT_DONE);
    cr_assert_eq(request.status, 0u);
    cr_assert_eq(request.reply_length, sizeof(answer));
    cr_assert_eq(answer.resolution_ns, port.resolution_ns);
    return answer.nanoseconds;
}

Test(clock_port, offers_what_the_abi_says)
{
    cr_assert_eq(clock_backend.operation_count, 2u);
    cr_expect_eq(clock_backend.kind, PORT_KIND_CLOCK);
    for (unsigned i = 0; i < 2; i++) {
        cr_expect_eq(clock_backend.operations[i].number, i + 1);
        cr_expect_eq(clock_backend.operations[i].max_request_bytes, 0u);
        cr_expect_eq(clock_backend.operations[i].max_reply_bytes, sizeof(struct clock_reading));
    }
}

Test(clock_port, options_out_of_range)
{
    cr_expect_eq(init(NS_PER_MS, 0, false), 0);
    cr_expect_eq(init(3600 * NS_PER_S, 3600 * NS_PER_S, false), 0);
    cr_expect_eq(init(0, 0, false), -1);
    cr_expect_eq(init(NS_PER_MS - 1, 0, false), -1, "a sub-millisecond clock");
    cr_expect_eq(init(3600 * NS_PER_S + 1, 0, false), -1);
    cr_expect_eq(init(RESOLUTION, RESOLUTION + 1, false), -1);
    cr_expect_eq(init(UINT64_MAX, 0, false), -1);
}

Test(clock_port, edges_without_jitter)
{
    cr_assert_eq(init(RESOLUTION, 0, false), 0);
    static const struct {
        uint64_t since, value;
    } cases[] = {{0, 0},
                 {1, 0},
                 {RESOLUTION - 1, 0},
                 {RESOLUTION, RESOLUTION},
                 {RESOLUTION * 2 - 1, RESOLUTION},
                 {RESOLUTION * 1000000000 - 1, RESOLUTION * 999999999},
                 {RESOLUTION * 1000000000, RESOLUTION * 1000000000}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        now_ns = START + cases[i].since;
        cr_expect_eq(ask(CLOCK_PORT_MONOTONIC), cases[i].value, "case %zu", i);
        cr_expect_eq(ask(CLOCK_PORT_NOW), WALL_START - WALL_START % RESOLUTION + cases[i].value,
                     "case %zu", i);
    }
}

static uint64_t any(uint64_t below)
{
    return ((uint64_t)rand() << 31 ^ (uint64_t)rand()) % below;
}

// Whatever the settings and whenever it is asked: whole ticks, rounded down by less than two, never
// back, and both operations change at the same instants.
Test(clock_port, readings_are_ticks, .timeout = 60)
{
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t resolution = (1 + any(round % 2 ? 3600000 : 20)) * NS_PER_MS;
        uint64_t jitter = round % 3 ? any(resolution / NS_PER_MS + 1) * NS_PER_MS : 0;
        cr_assert_eq(init(resolution, jitter, false), 0);
        for (unsigned i = 0; i < sizeof(port.jitter_key); i++)
            port.jitter_key[i] = (uint8_t)rand();
        uint64_t last = 0, last_wall = 0;
        for (unsigned i = 0; i < 200; i++) {
            now_ns += any(i % 4 ? resolution / 8 : resolution * 3);
            uint64_t value = ask(CLOCK_PORT_MONOTONIC);
            uint64_t wall = ask(CLOCK_PORT_NOW);
            cr_assert_eq(value % resolution, 0);
            cr_assert_eq(wall % resolution, 0);
            cr_assert_geq(value, last, "went back");
            cr_assert_leq(value, now_ns - START, "ahead of the time");
            cr_assert_lt(now_ns - START - value, resolution + (jitter ? resolution : 0));
            cr_assert_leq(wall, read_wall(NULL));
            cr_assert(i == 0 || wall - last_wall == value - last, "two phases");
            last = value;
            last_wall = wall;
        }
    }
}

// Finds when a tick comes, to the nanosecond, as a model with a perfect stopwatch would.
static uint64_t edge_of(uint64_t tick)
{
    uint64_t low = START + (tick - 1) * RESOLUTION, high = START + (tick + 1) * RESOLUTION;
    while (low < high) {
        now_ns = low + (high - low) / 2;
        if (ask(CLOCK_PORT_MONOTONIC) >= tick * RESOLUTION)
            high = now_ns;
        else
            low = now_ns + 1;
    }
    return low;
}

// The jitter is in its bounds, uses them, is the same whenever it is asked, and another with
// another seed.
Test(clock_port, edges_with_jitter, .timeout = 60)
{
    const uint64_t jitter = 4 * NS_PER_MS;
    uint64_t smallest = UINT64_MAX, largest = 0, differs = 0;
    cr_assert_eq(init(RESOLUTION, jitter, false), 0);
    struct clock_port other = port;
    other.jitter_key[0] ^= 1;
    for (uint64_t tick = 1; tick < 2000; tick++) {
        uint64_t delay = edge_of(tick) - START - tick * RESOLUTION;
        cr_assert_leq(delay, jitter);
        cr_assert_eq(edge_of(tick) - START - tick * RESOLUTION, delay);
        smallest = delay < smallest ? delay : smallest;
        largest = delay > largest ? delay : largest;
        struct clock_port kept = port;
        port = other;
        differs += edge_of(tick) - START - tick * RESOLUTION != delay;
        port = kept;
    }
    cr_expect_lt(smallest, jitter / 50);
    cr_expect_gt(largest, jitter - jitter / 50);
    cr_expect_gt(differs, 1900u);
}

// A jitter of the whole resolution: ticks may come together, none is lost or early.
Test(clock_port, the_largest_jitter, .timeout = 60)
{
    uint64_t before = START;
    cr_assert_eq(init(RESOLUTION, RESOLUTION, false), 0);
    for (uint64_t tick = 1; tick < 500; tick++) {
        uint64_t edge = edge_of(tick);
        cr_assert_geq(edge, START + tick * RESOLUTION);
        cr_assert_leq(edge, START + (tick + 1) * RESOLUTION);
        cr_assert_geq(edge, before);
        before = edge;
    }
}

static bool prepare_sleep(uint64_t *wake_ns)
{
    *wake_ns = UINT64_MAX;
    return clock_backend.prepare_sleep(&port, wake_ns);
}

// A quantised reply comes at the tick after its request and at no other time; the poller sleeps
// until then and not longer.
Test(clock_port, quantised_replies, .timeout = 60)
{
    srand(2);
    for (unsigned jitter = 0; jitter < 2; jitter++) {
        cr_assert_eq(init(RESOLUTION, jitter ? 7 * NS_PER_MS : 0, true), 0);
        for (unsigned i = 0; i < 3000; i++) {
            uint64_t wake_ns, again_ns;
            struct port_request request = asking(i % 2 ? CLOCK_PORT_NOW : CLOCK_PORT_MONOTONIC);
            now_ns += any(3 * RESOLUTION);
            cr_assert_eq(clock_backend.submit(&port, &request), PORT_PENDING);
            cr_assert_not(prepare_sleep(&wake_ns));
            cr_assert_gt(wake_ns, now_ns);
            cr_assert_leq(wake_ns - now_ns, 2 * RESOLUTION);
            // Nothing before that, however often it is resumed.
            for (unsigned k = 0; k < 5; k++) {
                now_ns += any(wake_ns - now_ns);
                cr_assert_eq(clock_backend.resume(&port, &request), PORT_PENDING);
                cr_assert_not(prepare_sleep(&again_ns));
                cr_assert_eq(again_ns, wake_ns);
            }
            now_ns = wake_ns - 1;
            cr_assert_eq(clock_backend.resume(&port, &request), PORT_PENDING);
            now_ns = wake_ns;
            cr_assert(prepare_sleep(&again_ns), "slept over");
            cr_assert_eq(clock_backend.resume(&port, &request), PORT_DONE);
            cr_assert_eq(request.status, 0u);
            uint64_t value = answer.nanoseconds;
            if (i % 2)
                value -= WALL_START - WALL_START % RESOLUTION;
            cr_assert_leq(value, now_ns - START);
            cr_assert_leq(now_ns - START - value, jitter ? 7 * NS_PER_MS : 0);
        }
    }
}

// Requests of different times wait for the same tick; one that came behind it waits for the next.
Test(clock_port, quantised_replies_of_many)
{
    uint64_t wake_ns;
    struct port_request first = asking(CLOCK_PORT_MONOTONIC), second = first, third = first;
    cr_assert_eq(init(RESOLUTION, 0, true), 0);
    cr_assert_eq(clock_backend.submit(&port, &first), PORT_PENDING);
    now_ns += RESOLUTION - 1;
    cr_assert_eq(clock_backend.submit(&port, &second), PORT_PENDING);
    now_ns += 1;
    cr_assert_eq(clock_backend.submit(&port, &third), PORT_PENDING);
    cr_assert_eq(clock_backend.resume(&port, &first), PORT_DONE);
    cr_assert_eq(clock_backend.resume(&port, &second), PORT_DONE);
    cr_assert_eq(clock_backend.resume(&port, &third), PORT_PENDING);
    cr_assert_not(prepare_sleep(&wake_ns));
    cr_assert_eq(wake_ns, START + 2 * RESOLUTION);
    clock_backend.forget(&port);
}

Test(clock_port, requests_that_make_no_sense)
{
    for (unsigned quantises = 0; quantises < 2; quantises++) {
        cr_assert_eq(init(RESOLUTION, 0, quantises), 0);
        struct port_request request = asking(3);
        cr_expect_eq(clock_backend.submit(&port, &request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
        request = asking(CLOCK_PORT_NOW);
        request.argument = 1;
        cr_expect_eq(clock_backend.submit(&port, &request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    }
    cr_assert_eq(init(RESOLUTION, 0, false), 0);
    for (uint32_t capacity = 0; capacity < sizeof(answer); capacity++) {
        struct port_request request = asking(CLOCK_PORT_NOW);
        request.reply_capacity = capacity;
        cr_expect_eq(clock_backend.submit(&port, &request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_TOO_LARGE);
        cr_expect_eq(request.reply_length, 0u);
    }
}
