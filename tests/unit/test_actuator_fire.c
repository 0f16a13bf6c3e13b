// SPDX-License-Identifier: Apache-2.0
// The sequence of an action, on devices that do what a random number says, in a time that the test
// owns: what is confirmed is true, what is true long enough is confirmed, and the bound holds.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "actuator_fire.h"
#include "support.h"

#define DEVICES 3

// A device and the world around it. Calls take time, up to their deadline.
struct device {
    enum actuator_state real;
    unsigned lies;     // percent of readings that say something else
    unsigned fails;    // percent of readings that fail
    unsigned ignores;  // percent of orders that do nothing
    unsigned lost;     // percent of replies that are lost
    uint64_t slow_ms;  // a call takes up to this long
    uint64_t drift_ns; // when it turns itself on again after an order, or 0
    uint64_t on_ns;    // when it does so next, or 0
    uint64_t off_ns;   // since when it has been off, or 0
};

static struct world {
    uint64_t now_ns;
    struct random random;
    struct device devices[DEVICES];
    struct actuator_event events[256];
    unsigned count;
    uint64_t fires;
    uint64_t late_ns; // most that a call was asked to outlast the attempt
} world;

static uint64_t now(const struct clock *clock)
{
    (void)clock;
    return world.now_ns;
}

static const struct clock test_clock = {.now_ns = now, .wall_ns = now};

static void advance(uint64_t ns)
{
    world.now_ns += ns;
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *device = &world.devices[i];
        if (device->on_ns && world.now_ns >= device->on_ns) {
            device->real = ACTUATOR_STATE_ON;
            device->on_ns = device->off_ns = 0;
        }
    }
}

static struct device *device_of(const struct actuator_call *call)
{
    return &world.devices[call->actuator->name[0] - 'a'];
}

static void take_time(const struct actuator_call *call, const struct device *device)
{
    uint64_t most = device->slow_ms * NS_PER_MS;
    uint64_t left = call->deadline_ns > world.now_ns ? call->deadline_ns - world.now_ns : 0;
    uint64_t taken = most ? random_below(&world.random, most) : 0;
    advance(taken < left ? taken : left);
}

static enum actuator_fired fire(const struct actuator_call *call, struct error *err)
{
    struct device *device = device_of(call);
    world.fires++;
    take_time(call, device);
    if (!random_chance(&world.random, device->ignores)) {
        device->real = ACTUATOR_STATE_OFF;
        device->off_ns = world.now_ns;
        device->on_ns = device->drift_ns ? world.now_ns + device->drift_ns : 0;
    }
    if (!random_chance(&world.random, device->lost))
        return ACTUATOR_FIRED_DONE;
    error_set(err, EXIT_STATUS_FAILURE, 0, "lost");
    return ACTUATOR_FIRED_LOST;
}

static int read_back(const struct actuator_call *call, enum actuator_state *state,
                     struct error *err)
{
    const struct device *device = device_of(call);
    take_time(call, device);
    if (random_chance(&world.random, device->fails))
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no answer");
    *state = device->real;
    if (random_chance(&world.random, device->lies))
        *state = device->real == ACTUATOR_STATE_ON ? ACTUATOR_STATE_OFF : ACTUATOR_STATE_ON;
    return 0;
}

static const struct actuator_driver fake = {
    .name = "fake", .actions = 1u << ACTUATOR_CUT, .fire = fire, .read_back = read_back};

static void sleep_for(void *context, uint64_t ns)
{
    (void)context;
    cr_assert_gt(ns, 0);
    advance(ns);
}

static void emit(void *context, const struct actuator_event *event)
{
    (void)context;
    cr_assert_lt(world.count, COUNT(world.events));
    world.events[world.count++] = *event;
}

static struct actuator_config config;

static int run(void)
{
    static const struct actuator_driver *const drivers[ACTUATOR_KIND_COUNT] = {&fake};
    const struct actuator_fire action = {
        .config = &config,
        .drivers = drivers,
        .action = ACTUATOR_CUT,
        .state_dir = "/nonexistent",
        .clock = &test_clock,
        .sleep_ns = sleep_for,
        .emit = emit,
    };
    world.count = 0;
    world.fires = 0;
    int result = actuator_fire(&action);
    const struct actuator_event *summary = &world.events[world.count - 1];
    cr_assert_eq(summary->kind, ACTUATOR_EVENT_SUMMARY);
    cr_assert_eq(summary->confirmed, result == 0);
    return result;
}

static void set_up(uint32_t timeout_ms, uint32_t settle_ms, uint32_t retries, uint32_t count)
{
    config = (struct actuator_config){.count = count};
    for (uint32_t i = 0; i < count; i++) {
        config.list[i] =
            (struct actuator){.timeout_ms = timeout_ms, .settle_ms = settle_ms, .retries = retries};
        config.list[i].name[0] = (char)('a' + i);
    }
}

static void reset(uint64_t stream)
{
    world = (struct world){.now_ns = NS_PER_S, .random = random_start(stream)};
    for (unsigned i = 0; i < DEVICES; i++)
        world.devices[i].real = ACTUATOR_STATE_ON;
}

Test(actuator_fire, an_honest_device_is_confirmed_after_it_settled)
{
    reset(1);
    set_up(4000, 1000, 2, 1);
    uint64_t start = world.now_ns;
    cr_assert_eq(run(), 0);
    cr_expect_eq(world.fires, 1);
    cr_expect_geq(world.now_ns - start, 1000 * NS_PER_MS);
    cr_expect_leq(world.now_ns - start, 1500 * NS_PER_MS);
}

Test(actuator_fire, a_device_that_ignores_orders_is_never_confirmed)
{
    reset(2);
    set_up(1000, 200, 3, 1);
    world.devices[0].ignores = 100;
    cr_assert_eq(run(), -1);
    cr_expect_eq(world.fires, 4);
}

Test(actuator_fire, one_that_turns_itself_on_again_while_it_settles_is_not_believed)
{
    reset(3);
    set_up(4000, 1000, 2, 2);
    world.devices[0].drift_ns = 600 * NS_PER_MS;
    cr_assert_eq(run(), 0);
    cr_expect_eq(world.fires, 4);
    cr_expect_str_eq(world.events[world.count - 1].actuator, "b");
}

Test(actuator_fire, nothing_is_armed_in_a_folder_that_is_missing)
{
    reset(4);
    set_up(1000, 200, 2, 1);
    config.list[0].class = ACTUATOR_IRREVERSIBLE;
    static const struct actuator_driver everything = {
        .name = "fake", .actions = ~0u, .fire = fire, .read_back = read_back};
    static const struct actuator_driver *const drivers[ACTUATOR_KIND_COUNT] = {&everything};
    const struct actuator_fire action = {.config = &config,
                                         .drivers = drivers,
                                         .action = ACTUATOR_CUT_FOR_GOOD,
                                         .state_dir = "/nonexistent",
                                         .clock = &test_clock,
                                         .sleep_ns = sleep_for,
                                         .emit = emit};
    cr_assert_eq(actuator_fire(&action), -1);
    cr_expect_eq(world.fires, 0);
}

Test(actuator_fire, random_worlds)
{
    struct random random = random_start(5);
    unsigned confirmed = 0;
    for (unsigned round = 0; round < 20000; round++) {
        reset(1000 + round);
        uint32_t timeout_ms = 100 + (uint32_t)random_below(&random, 20000);
        set_up(timeout_ms, (uint32_t)random_below(&random, timeout_ms / 2 + 1),
               (uint32_t)random_below(&random, 4), 1 + (uint32_t)random_below(&random, DEVICES));
        bool honest = random_chance(&random, 50);
        for (unsigned i = 0; i < DEVICES; i++) {
            struct device *device = &world.devices[i];
            device->lies = honest ? 0 : (unsigned)random_below(&random, 101);
            device->fails = (unsigned)random_below(&random, 101);
            device->ignores = (unsigned)random_below(&random, 101);
            device->lost = (unsigned)random_below(&random, 101);
            device->slow_ms = random_below(&random, 30000);
            device->drift_ns =
                random_chance(&random, 30) ? random_below(&random, 5000 * NS_PER_MS) + 1 : 0;
        }
        uint64_t start = world.now_ns;
        int result = run();
        uint64_t bound = actuator_config_bound_ms(&config, ACTUATOR_CUT) * NS_PER_MS;
        cr_assert_leq(world.now_ns - start, bound, "round %u", round);
        if (result || !honest)
            continue;
        // A device that does not lie was really off, and for as long as it has to be.
        confirmed++;
        const struct actuator_event *last = &world.events[world.count - 1];
        const struct device *device = &world.devices[last->actuator[0] - 'a'];
        uint64_t settle = config.list[last->actuator[0] - 'a'].settle_ms * NS_PER_MS;
        cr_assert(device->real == ACTUATOR_STATE_OFF || device->drift_ns, "round %u", round);
        if (device->off_ns)
            cr_assert_geq(world.now_ns - device->off_ns, settle, "round %u", round);
    }
    cr_assert_gt(confirmed, 500, "the test hardly tests: %u", confirmed);
}
