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
                    struct limits limits = make(&(struct limits_config){.requests_per_s = values[r],
                                                                        .request_burst = values[b],
                                                                        .bytes_per_s = values[r],
                                                                        .byte_burst = values[b],
                                                                        .bytes_total = values[t]},
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

// The same promises for replies and for capacity, whose buckets are their own.
Test(port_limits, every_direction_has_its_own)
{
    struct limits limits = make(&(struct limits_config){.bytes_per_s = 10,
                                                        .reply_bytes_per_s = 20,
                                                        .reply_byte_burst = 30,
                                                        .capacity_bits_per_s = 1000},
                                0);
    uint64_t retry = 0;
    cr_expect_eq(limits_take(&limits, 10, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_reply(&limits, 30, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_capacity(&limits, 93, 0, &retry), LIMITS_PASS); // exactly 1000 bits
    cr_expect_eq(limits_take(&limits, 1, 0, &retry), LIMITS_WAIT);
    cr_expect_eq(retry, SECOND / 10);
    cr_expect_eq(limits_take_reply(&limits, 1, 0, &retry), LIMITS_WAIT);
    cr_expect_eq(retry, SECOND / 20);
    cr_expect_eq(limits_take_capacity(&limits, 0, 0, &retry), LIMITS_WAIT);
    cr_expect_eq(retry, SECOND * 256 / 1000);
    cr_expect_eq(limits_take(&limits, 1, SECOND / 10, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_reply(&limits, 1, SECOND / 20, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_capacity(&limits, 0, SECOND * 256 / 1000, &retry), LIMITS_PASS);
    cr_expect_eq(limits.bytes_used, 11u);
    cr_expect_eq(limits.reply_bytes_used, 31u);
    cr_expect_eq(limits.requests_used, 2u);
}

Test(port_limits, reply_totals)
{
    struct limits limits = make(&(struct limits_config){.reply_bytes_total = 100}, 0);
    uint64_t retry;
    cr_expect_eq(limits_take_reply(&limits, 101, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take_reply(&limits, UINT64_MAX, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take_reply(&limits, 60, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_reply(&limits, 41, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take_reply(&limits, 40, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits_take_reply(&limits, 1, 0, &retry), LIMITS_EXHAUSTED);
    cr_expect_eq(limits_take_reply(&limits, 0, 0, &retry), LIMITS_PASS);
    cr_expect_eq(limits.reply_bytes_used, 100u);
}

Test(port_limits, capacity_that_follows_from_the_rates)
{
    static const struct {
        struct limits_config config;
        uint32_t max_request;
        uint64_t refusals, bits;
    } cases[] = {
        {{0}, 4096, 100, 0}, // nothing bounds it
        {{.bytes_per_s = 1000}, 4096, 100, 0},
        {{.requests_total = 1000, .bytes_total = 10}, 4096, 100, 0},
        {{.capacity_bits_per_s = 777}, 4096, 100, 777},
        // By the payloads that the requests can carry ...
        {{.requests_per_s = 10}, 100, 0, 10 * (800 + 256)},
        {{.requests_per_s = 10}, 100, 100, 10 * 800 + 110 * 256},
        {{.requests_per_s = 10}, 0, 0, 10 * 256},
        // ... or by their own rate, whichever is less.
        {{.requests_per_s = 10, .bytes_per_s = 999}, 100, 0, 999 * 8 + 2560},
        {{.requests_per_s = 10, .bytes_per_s = 1001}, 100, 0, 8000 + 2560},
        // The configured capacity, if it is less than both.
        {{.requests_per_s = 10, .capacity_bits_per_s = 100}, 100, 0, 100},
        {{.requests_per_s = 10, .capacity_bits_per_s = 1ull << 40}, 100, 0, 10 * (800 + 256)},
        // Numbers that are beyond bounds bound nothing.
        {{.requests_per_s = UINT64_MAX / 2}, UINT32_MAX, 0, 0},
        {{.requests_per_s = 1ull << 40, .bytes_per_s = UINT64_MAX}, UINT32_MAX, 0, 0},
        {{.requests_per_s = UINT64_MAX / 2, .capacity_bits_per_s = 5}, UINT32_MAX, 0, 5},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_eq(limits_capacity(&cases[i].config, cases[i].max_request, cases[i].refusals),
                     cases[i].bits, "case %zu: %" PRIu64, i,
                     limits_capacity(&cases[i].config, cases[i].max_request, cases[i].refusals));
}

// The number that is shown holds: what passes in any second, once the bursts are spent, tells no
// more, by whatever mix of sizes.
Test(port_limits, capacity_is_an_upper_bound)
{
    struct random random = random_start(22);
    for (int round = 0; round < 60; round++) {
        const uint32_t largest = 1 + random_below(&random, 5000);
        struct limits_config config = {
            .requests_per_s = 1 + random_below(&random, 200),
            .request_burst = 1 + random_below(&random, 50),
            .bytes_per_s = random_chance(&random, 70) ? 1 + random_below(&random, 100000) : 0,
            .capacity_bits_per_s =
                random_chance(&random, 30) ? 300 + random_below(&random, 100000) : 0,
        };
        const uint64_t bound = limits_capacity(&config, largest, 0);
        struct limits limits = make(&config, 0);
        uint64_t now = 0, bits = 0, span = 20 * SECOND, retry = 0;
        bool charged = false;
        uint32_t length = largest;
        // The bursts are spent in the first second.
        while (now < SECOND + span) {
            if ((!charged && limits_take_capacity(&limits, length, now, &retry) != LIMITS_PASS) ||
                (charged = true, limits_take(&limits, length, now, &retry) != LIMITS_PASS)) {
                now = retry;
                continue;
            }
            if (now >= SECOND)
                bits += limits_request_bits(length);
            charged = false;
            length = random_chance(&random, 70) ? largest : random_below(&random, largest + 1);
        }
        // A debt that was made in the last moment is paid later.
        cr_assert_leq((double)bits,
                      (double)bound * 20 + (double)bound +
                          (double)limits_request_bits(largest) * (double)(config.request_burst + 1),
                      "round %d: %" PRIu64 " bits in 20 s, %" PRIu64 " bits/s", round, bits, bound);
    }
}
