// SPDX-License-Identifier: Apache-2.0
// Rates and totals with a clock that the test owns.
#include <criterion/criterion.h>
#include <inttypes.h>

#include "port_limits.h"
#include "support.h"

#define SECOND 1000000000ull

static struct limits make(const struct limits_config *config, uint64_t now)
{
    struct limits limits;
    limits_init(&limits, config, now);
    return limits;
}

// Asks as port.c does: again exactly when it was told to. Returns the time of the pass.
static uint64_t take_when_told(struct limits *limits, uint64_t bytes, uint64_t now)
{
    uint64_t retry = 0;
    for (int tries = 0; tries < 3; tries++) {
        enum limits_verdict verdict = limits_take(limits, bytes, now, &retry);
        if (verdict == LIMITS_PASS)
            return now;
        cr_assert_eq(verdict, LIMITS_WAIT);
        cr_assert_gt(retry, now, "told to ask at a time that has passed");
        now = retry;
    }
    cr_assert(false, "asked at the time it was told to and did not pass");
    return now;
}

Test(port_limits, zero_is_unlimited)
{
    struct limits limits = make(&(struct limits_config){0}, 5);
    uint64_t retry;
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(limits_take(&limits, UINT32_MAX, 5, &retry), LIMITS_PASS);
    cr_expect_eq(limits.requests_used, 100000u);
    cr_expect_eq(limits.bytes_used, 100000ull * UINT32_MAX);
}

Test(port_limits, burst_of_zero_is_a_second)
{
    struct limits limits = make(&(struct limits_config){.requests_per_s = 50}, 0);
    uint64_t retry;
    for (int i = 0; i < 50; i++)
        cr_assert_eq(limits_take(&limits, 1, 0, &retry), LIMITS_PASS, "%d", i);
    cr_expect_eq(limits_take(&limits, 1, 0, &retry), LIMITS_WAIT);
}

// Over any time, what passes is the burst plus the rate, whatever the rate and however fast one
// asks.
Test(port_limits, rate_over_time)
{
    static const uint64_t rates[] = {1, 2, 3, 7, 60, 1000, 999983, 10000000};
    for (size_t i = 0; i < COUNT(rates); i++) {
        struct limits limits =
            make(&(struct limits_config){.requests_per_s = rates[i], .request_burst = 5}, 0);
        uint64_t now = 0, passed = 0;
        uint64_t span = rates[i] > 10000 ? SECOND / 10
                        : rates[i] > 100 ? 10 * SECOND
                                         : 3600 * SECOND;
        while (true) {
            now = take_when_told(&limits, 10, now);
            if (now > span)
                break;
            passed++;
        }
        uint64_t expected = 5 + rates[i] * (span / 1000) / (SECOND / 1000);
        cr_expect(passed >= expected - 1 - expected / 1000 && passed <= expected + 1,
                  "rate %" PRIu64 ": %" PRIu64 " passed, not %" PRIu64, rates[i], passed, expected);
    }
}

// Asking at odd times, in between: still never more than burst + rate * time.
Test(port_limits, never_more_than_the_rate)
{
    struct random random = random_start(20);
    for (int round = 0; round < 200; round++) {
        uint64_t rate = 1 + random_below(&random, random_chance(&random, 50) ? 10 : 100000);
        uint64_t burst = 1 + random_below(&random, 20);
        uint64_t step = 1 + random_below(&random, 4 * SECOND / rate);
        uint64_t start = random_next(&random) >> 2;
        struct limits limits =
            make(&(struct limits_config){.requests_per_s = rate, .request_burst = burst}, start);
        uint64_t now = start, passed = 0, retry;
        for (int i = 0; i < 3000; i++) {
            now += random_below(&random, step + 1);
            passed += limits_take(&limits, 0, now, &retry) == LIMITS_PASS;
            double ceiling = burst + (double)rate * (double)(now - start) / 1e9 + 1;
            cr_assert_leq((double)passed, ceiling, "rate %" PRIu64, rate);
        }
    }
}

// A rate that is slow against the interval of asking is not rounded away ...
Test(port_limits, slow_rate_asked_every_microsecond)
{
    struct limits limits =
        make(&(struct limits_config){.requests_per_s = 1, .request_burst = 1}, 0);
    uint64_t passed = 0, retry;
    for (uint64_t now = 0; now <= 4 * SECOND; now += 1000)
        passed += limits_take(&limits, 0, now, &retry) == LIMITS_PASS;
    cr_expect_eq(passed, 5u, "%" PRIu64, passed);
}

Test(port_limits, slow_rate_asked_every_100_ns)
{
    struct limits limits =
        make(&(struct limits_config){.requests_per_s = 1, .request_burst = 1}, 0);
    uint64_t passed = 0, retry;
    for (uint64_t now = 0; now <= 2 * SECOND; now += 100)
        passed += limits_take(&limits, 0, now, &retry) == LIMITS_PASS;
    cr_expect_eq(passed, 3u, "%" PRIu64, passed);
}

// ... nor by the remainder of each division: 1999 ns are 1.999 micro-tokens.
Test(port_limits, slow_rate_does_not_drift)
{
    struct limits limits =
        make(&(struct limits_config){.requests_per_s = 1, .request_burst = 1}, 0);
    uint64_t passed = 0, retry;
    for (uint64_t now = 0; now <= 10 * SECOND + 1999; now += 1999)
        passed += limits_take(&limits, 0, now, &retry) == LIMITS_PASS;
    cr_expect(passed >= 10 && passed <= 11, "%" PRIu64 " of 11", passed);
}

// A cost above the burst passes, and what follows pays for it.
Test(port_limits, debt)
{
    struct limits limits = make(&(struct limits_config){.bytes_per_s = 1000, .byte_burst = 100}, 0);
    uint64_t retry;
    cr_assert_eq(limits_take(&limits, 5100, 0, &retry), LIMITS_PASS);
    cr_assert_eq(limits_take(&limits, 1, 0, &retry), LIMITS_WAIT);
    // 5000 bytes of debt and the byte itself, at 1000 per second.
    cr_expect(retry >= 5 * SECOND + SECOND / 1000 && retry < 5 * SECOND + SECOND / 1000 + 2000,
              "%" PRIu64, retry);
    cr_expect_eq(limits_take(&limits, 1, retry - 2000, &(uint64_t){0}), LIMITS_WAIT);
    cr_expect_eq(limits_take(&limits, 1, retry, &(uint64_t){0}), LIMITS_PASS);
}

// Small requests cannot keep a large one out for ever: it passes when told to come back.
Test(port_limits, large_requests_do_not_starve)
{
    struct limits limits = make(&(struct limits_config){.bytes_per_s = 1000, .byte_burst = 10}, 0);
    uint64_t now = 0, moved = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t bytes = i % 2 ? 4096 : 1;
        now = take_when_told(&limits, bytes, now);
        moved += bytes;
    }
    // And the rate holds over the whole: the last request's debt is not paid yet.
    cr_expect_leq((double)(moved - 4096), 10 + (double)now / 1e9 * 1000 + 1);
}

Test(port_limits, waiting_accounts_nothing)
{
    struct limits limits = make(
        &(struct limits_config){
            .requests_per_s = 1000, .request_burst = 100, .bytes_per_s = 10, .byte_burst = 10},
        0);
    uint64_t retry;
    cr_assert_eq(limits_take(&limits, 100, 0, &retry), LIMITS_PASS);
    struct limits before = limits;
    for (int i = 0; i < 500; i++)
        cr_assert_eq(limits_take(&limits, 100, 0, &retry), LIMITS_WAIT);
    cr_expect_eq(limits.requests.level, before.requests.level);
    cr_expect_eq(limits.bytes.level, before.bytes.level);
    cr_expect_eq(limits.requests_used, 1u);
    cr_expect_eq(limits.bytes_used, 100u);
}

Test(port_limits, totals)
{
    struct limits limits =
        make(&(struct limits_config){.requests_total = 3, .bytes_total = 100}, 0);
    uint64_t retry;
    cr_expect_eq(limits_take(&limits, 101, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take(&limits, UINT64_MAX, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take(&limits, 60, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take(&limits, 41, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take(&limits, 40, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take(&limits, 1, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take(&limits, 0, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take(&limits, 0, UINT64_MAX / 4, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits.requests_used, 3u);
    cr_expect_eq(limits.bytes_used, 100u);
}

Test(port_limits, clock_that_stands_or_steps_back)
{
    struct limits limits =
        make(&(struct limits_config){.requests_per_s = 10, .request_burst = 1}, 100 * SECOND);
    uint64_t retry;
    cr_expect_eq(limits_take(&limits, 0, 100 * SECOND, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take(&limits, 0, 100 * SECOND, &retry), LIMITS_WAIT);
    cr_expect_eq(limits_take(&limits, 0, 0, &retry), LIMITS_WAIT);
    cr_expect_eq(limits_take(&limits, 0, 101 * SECOND, &retry), LIMITS_PASS);
}

// Whatever is configured and whatever the clock says (up to 2^63 ns, 292 years): no overflow, which
// UBSan watches, and a bucket never holds more than its burst.
Test(port_limits, extreme_values)
{
    static const uint64_t values[] = {
        0,          1,         2,          1000,      1ull << 32, 1ull << 42, (1ull << 42) + 1,
        1ull << 62, INT64_MAX, 1ull << 63, UINT64_MAX};
    static const uint64_t times[] = {0, 1, 999, SECOND, 1ull << 40, 1ull << 62, INT64_MAX};
    for (size_t r = 0; r < COUNT(values); r++)
        for (size_t b = 0; b < COUNT(values); b++)
            for (size_t t = 0; t < COUNT(values); t++)
                for (size_t c = 0; c < COUNT(values); c++) {
                    struct limits limits =
                        make(&(struct limits_config){values[r], values[b], values[r], values[b], 0,
                                                     values[t]},
                             0);
                    for (size_t n = 0; n < COUNT(times); n++) {
                        uint64_t retry = 0;
                        enum limits_verdict verdict =
                            limits_take(&limits, values[c], times[n], &retry);
                        if (verdict == LIMITS_WAIT)
                            cr_assert_gt(retry, times[n]);
                        cr_assert_leq(limits.bytes.level, limits.bytes.burst);
                        cr_assert_leq(limits.requests.level, limits.requests.burst);
                        cr_assert_geq(limits.bytes.burst, 0);
                        if (values[t])
                            cr_assert_leq(limits.bytes_used, values[t]);
                    }
                }
}

// The product of a rate and a time, both near 2^64, does not fit 127 bits.
Test(port_limits, clock_beyond_292_years)
{
    struct limits limits =
        make(&(struct limits_config){.requests_per_s = UINT64_MAX, .request_burst = 1}, 0);
    uint64_t retry;
    cr_expect_eq(limits_take(&limits, 0, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take(&limits, 0, UINT64_MAX, &retry), LIMITS_PASS);
}
