// SPDX-License-Identifier: Apache-2.0
// Tests of the sampler: its distribution, its determinism, its limits.

#include "arena.h"
#include "sampler.h"
#include "support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define VOCABULARY 8
#define DRAWS      200000

static _Alignas(64) uint8_t memory[1 << 16];

static struct llm_sampler make_sampler(uint32_t vocabulary, float temperature, float top_p,
                                       uint64_t seed)
{
    struct llm_sampler sampler;
    struct llm_arena arena = {.base = memory, .length = sizeof(memory)};
    llm_sampler_reserve(&sampler, &arena, vocabulary);
    cr_assert_not(arena.exhausted);
    llm_sampler_start(&sampler, llm_vector_find(test_isa()), temperature, top_p, seed);
    return sampler;
}

static uint32_t draw(struct llm_sampler *sampler, const float *logits)
{
    float copy[4096];
    uint32_t id = UINT32_MAX;
    struct llm_error err;
    cr_assert_leq(sampler->vocabulary, 4096);
    memcpy(copy, logits, sampler->vocabulary * sizeof(float));
    cr_assert_eq(llm_sampler_choose(sampler, copy, &id, &err), 0);
    cr_assert_lt(id, sampler->vocabulary);
    return id;
}

static const float logits[VOCABULARY] = {1.0f, 3.0f, -2.0f, 2.5f, 0.0f, 3.0f, -5.0f, 1.5f};

/* Draws many times and compares the frequencies with what the definition gives; `nucleus` is how
 * many of the most probable tokens may appear. */
static void check_distribution(float temperature, float top_p, size_t nucleus)
{
    static const uint32_t order[VOCABULARY] = {1, 5, 3, 7, 0, 4, 2, 6};
    struct llm_sampler sampler = make_sampler(VOCABULARY, temperature, top_p, 42);
    unsigned counts[VOCABULARY] = {0};
    double total = 0.0;

    for (unsigned index = 0; index < DRAWS; index++) {
        counts[draw(&sampler, logits)]++;
    }
    for (size_t rank = 0; rank < nucleus; rank++) {
        total += exp((double)logits[order[rank]] / (double)temperature);
    }
    for (size_t rank = 0; rank < VOCABULARY; rank++) {
        uint32_t id = order[rank];
        double expected =
            rank < nucleus ? exp((double)logits[id] / (double)temperature) / total : 0;
        double deviation = sqrt(DRAWS * expected * (1.0 - expected));
        cr_expect_leq(fabs(counts[id] - DRAWS * expected), 5.0 * deviation + 1e-9,
                      "token %u: %u times, expected %g", (unsigned)id, counts[id],
                      DRAWS * expected);
    }
}

Test(sampler, draws_from_the_softmax)
{
    check_distribution(1.0f, 1.0f, VOCABULARY);
    check_distribution(0.5f, 1.0f, VOCABULARY);
    check_distribution(2.0f, 1.0f, VOCABULARY);
}

/* At temperature 1 the tokens have 0.33, 0.33, 0.20, 0.07, 0.04, 0.02, 0.002, 0.0001. */
Test(sampler, draws_from_the_nucleus)
{
    check_distribution(1.0f, 0.9f, 4);
    check_distribution(1.0f, 0.8f, 3);
    check_distribution(1.0f, 0.5f, 2);
    check_distribution(1.0f, 0.01f, 1); /* of two equals the first */
}

Test(sampler, is_greedy_at_temperature_zero)
{
    struct llm_sampler sampler = make_sampler(VOCABULARY, 0.0f, 1.0f, 1);
    for (unsigned index = 0; index < 10; index++) {
        cr_expect_eq(draw(&sampler, logits), 1);
    }
}

Test(sampler, repeats_itself_with_the_same_seed)
{
    uint32_t first[100];
    unsigned different = 0;
    struct llm_sampler sampler = make_sampler(VOCABULARY, 1.0f, 0.95f, 7);
    for (unsigned index = 0; index < 100; index++) {
        first[index] = draw(&sampler, logits);
    }
    sampler = make_sampler(VOCABULARY, 1.0f, 0.95f, 7);
    for (unsigned index = 0; index < 100; index++) {
        cr_expect_eq(draw(&sampler, logits), first[index]);
    }
    sampler = make_sampler(VOCABULARY, 1.0f, 0.95f, 8);
    for (unsigned index = 0; index < 100; index++) {
        different += draw(&sampler, logits) != first[index];
    }
    cr_expect_gt(different, 10);
}

/* The generator is the published one: its first outputs for the seed 0 spread by SplitMix64. */
Test(sampler, has_the_published_state)
{
    struct llm_sampler sampler = make_sampler(VOCABULARY, 1.0f, 1.0f, 0);
    cr_expect_eq(sampler.state[0], UINT64_C(0xe220a8397b1dcdaf));
    cr_expect_eq(sampler.state[1], UINT64_C(0x6e789e6aa1b965f4));
}

Test(sampler, manages_equal_and_extreme_logits)
{
    static float flat[4096];
    static const float widths[] = {0.0f, 1.0f, -3e38f, 3e38f};
    static const float nuclei[] = {1.0f, 0.95f, 0.5f, 1e-6f};
    for (size_t width = 0; width < 4; width++) {
        for (size_t index = 0; index < 4096; index++) {
            flat[index] = index % 2 == 0 ? 0.0f : widths[width];
        }
        for (size_t nucleus = 0; nucleus < 4; nucleus++) {
            struct llm_sampler sampler = make_sampler(4096, 0.001f, nuclei[nucleus], 3);
            for (unsigned index = 0; index < 20; index++) {
                (void)draw(&sampler, flat);
            }
        }
    }
    struct llm_sampler single = make_sampler(1, 1.0f, 0.95f, 3);
    cr_expect_eq(draw(&single, flat), 0);
}

Test(sampler, refuses_what_is_not_a_number)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t index = 0; index < 3; index++) {
        struct llm_sampler sampler = make_sampler(VOCABULARY, 1.0f, 1.0f, 1);
        float copy[VOCABULARY];
        uint32_t id;
        struct llm_error err;
        memcpy(copy, logits, sizeof(copy));
        copy[3] = bad[index];
        cr_expect_eq(llm_sampler_choose(&sampler, copy, &id, &err), -1);
    }
}
