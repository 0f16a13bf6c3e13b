// SPDX-License-Identifier: Apache-2.0
// Heartbeats on a clock of the test's own: what counts as a loss, and what does not.
#include <criterion/criterion.h>

#include "heartbeat.h"
#include "support.h"

#define PERIOD   1000000000ull
#define INTERVAL heartbeat_interval_ns(PERIOD)

static struct heartbeat_watch watch;
static uint64_t now = 5;

static void begin(bool starting)
{
    heartbeat_watch_start(&watch, PERIOD, 7, starting, now);
}

static enum heartbeat_state after(uint64_t ns, uint64_t value)
{
    now += ns;
    return heartbeat_watch_check(&watch, value, now);
}

Test(heartbeat, beats_keep_it_alive_for_ever)
{
    begin(false);
    for (uint64_t i = 0; i < 10000; i++)
        cr_assert_eq(after(INTERVAL, 8 + i), HEARTBEAT_ALIVE);
    // The counter is a number modulo 2^64: any move counts, also one that goes back.
    cr_assert_eq(after(INTERVAL, UINT64_MAX), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL, 0), HEARTBEAT_ALIVE);
}

Test(heartbeat, silence_for_a_period_is_a_loss_at_the_next_look)
{
    begin(false);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE, "look %u", i);
    cr_assert_eq(after(1, 7), HEARTBEAT_LOST);
    cr_assert_eq(heartbeat_watch_age_ns(&watch, now), PERIOD + 1);
}

Test(heartbeat, one_beat_in_a_period_is_enough)
{
    begin(false);
    for (uint64_t i = 0; i < 40; i++)
        cr_assert_eq(after(INTERVAL, 7 + i / 4), HEARTBEAT_ALIVE);
}

Test(heartbeat, a_watcher_that_was_late_looks_once_more)
{
    begin(false);
    cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    // Woken 0.8 periods late: the other side may not have run either.
    cr_assert_eq(after(INTERVAL + PERIOD * 8 / 10, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL, 8), HEARTBEAT_ALIVE, "it beat meanwhile");
    cr_assert_eq(after(INTERVAL + PERIOD * 8 / 10, 8), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL, 8), HEARTBEAT_LOST, "it did not: there is one excuse");
}

Test(heartbeat, there_is_one_excuse_for_one_silence)
{
    begin(false);
    cr_assert_eq(after(INTERVAL + PERIOD * 8 / 10, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL + PERIOD * 6 / 10, 7), HEARTBEAT_LOST);
}

Test(heartbeat, a_little_late_is_no_excuse)
{
    begin(false);
    cr_assert_eq(after(INTERVAL * 3, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL + PERIOD / 2, 7), HEARTBEAT_LOST);
}

Test(heartbeat, silence_for_two_periods_is_a_loss_whoever_was_late)
{
    begin(false);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL + PERIOD + 1, 7), HEARTBEAT_LATE);
    begin(false);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL + PERIOD * 8 / 10, 7), HEARTBEAT_LOST);
}

Test(heartbeat, a_watcher_that_was_stopped_knows_it)
{
    begin(false);
    cr_assert_eq(after(INTERVAL + PERIOD, 8), HEARTBEAT_ALIVE);
    // Also if the other side beats: nobody watched for too long.
    cr_assert_eq(after(INTERVAL + PERIOD + 1, 9), HEARTBEAT_LATE);
}

Test(heartbeat, the_first_beat_has_more_time)
{
    begin(true);
    while (now + INTERVAL <= HEARTBEAT_START_NS)
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    now += INTERVAL;
    cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_LOST);
    begin(true);
    cr_assert_eq(after(INTERVAL, 8), HEARTBEAT_ALIVE);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(after(INTERVAL, 8), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL, 8), HEARTBEAT_LOST, "only the first one has");
}

Test(heartbeat, who_sleeps_on_purpose_is_excused)
{
    begin(false);
    for (unsigned i = 0; i < 100; i++) {
        heartbeat_watch_excuse(&watch, now);
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    }
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_ALIVE);
    cr_assert_eq(after(INTERVAL, 7), HEARTBEAT_LOST);
}

// Whatever the schedule: a loss is found before the silence is three periods old, and a side that
// beats in time is never lost to a watcher that is at most half a period late.
Test(heartbeat, random_schedules)
{
    struct random random = random_start(1);
    for (unsigned run = 0; run < 2000; run++) {
        begin(false);
        uint64_t value = 7;
        uint64_t beat_ns = now;
        uint64_t stop_ns = now + random_below(&random, 20 * PERIOD);
        enum heartbeat_state state = HEARTBEAT_ALIVE;
        while (state == HEARTBEAT_ALIVE) {
            now += INTERVAL + random_below(&random, PERIOD / 2);
            while (beat_ns + INTERVAL <= now && beat_ns + INTERVAL <= stop_ns) {
                beat_ns += INTERVAL;
                value++;
            }
            state = heartbeat_watch_check(&watch, value, now);
        }
        cr_assert_eq(state, HEARTBEAT_LOST, "seed %#llx", (unsigned long long)test_seed());
        cr_assert_gt(now, stop_ns, "lost while it beat, run %u", run);
        cr_assert_lt(now, beat_ns + 3 * PERIOD, "found too late, run %u", run);
    }
}
