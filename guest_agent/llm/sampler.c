// SPDX-License-Identifier: Apache-2.0
// The choice of the next token: greedy, or at random among the most probable ones.

#include "sampler.h"

#include <float.h>
#include <stdbool.h>

void llm_sampler_reserve(struct llm_sampler *sampler, struct llm_arena *arena, uint32_t vocabulary)
{
    sampler->vocabulary = vocabulary;
    sampler->candidates = llm_arena_take(arena, vocabulary, sizeof(struct llm_candidate));
}

/* SplitMix64 (Steele, Lea and Flood, 2014): spreads a seed over the state of another generator. */
static uint64_t split_mix(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

/* xoshiro256** 1.0 (Blackman and Vigna, 2018); the upper 53 bits as a fraction in [0, 1). */
static double random_fraction(struct llm_sampler *sampler)
{
    uint64_t *state = sampler->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

void llm_sampler_start(struct llm_sampler *sampler, const struct llm_vector_operations *vector,
                       float temperature, float top_p, uint64_t seed)
{
    sampler->vector = vector;
    sampler->temperature = temperature;
    sampler->top_p = top_p;
    for (unsigned index = 0; index < 4; index++) {
        sampler->state[index] = split_mix(&seed);
    }
}

/* Stores the index of the first of the greatest logits; -1 if one is not a finite number. */
static int find_greatest(const float *logits, uint32_t count, uint32_t *greatest)
{
    uint32_t best = 0;
    bool finite = true;
    for (uint32_t index = 0; index < count; index++) {
        finite = finite && logits[index] >= -FLT_MAX && logits[index] <= FLT_MAX;
        if (logits[index] > logits[best]) {
            best = index;
        }
    }
    *greatest = best;
    return finite ? 0 : -1;
}

static bool candidate_precedes(const struct llm_candidate *one, const struct llm_candidate *other)
{
    if (one->weight > other->weight) {
        return true;
    }
    return !(one->weight < other->weight) && one->id < other->id;
}

static void swap(struct llm_candidate *one, struct llm_candidate *other)
{
    struct llm_candidate moved = *one;
    *one = *other;
    *other = moved;
}

/* Moves what precedes a pivot to the front of the candidates [begin, end), then the pivot; returns
 * its index and the weight of what precedes it in *weight. */
static uint32_t partition(struct llm_candidate *candidates, uint32_t begin, uint32_t end,
                          double *weight)
{
    swap(&candidates[begin + (end - begin) / 2], &candidates[end - 1]);
    struct llm_candidate pivot = candidates[end - 1];
    uint32_t split = begin;
    double sum = 0.0;
    for (uint32_t index = begin; index + 1 < end; index++) {
        if (candidate_precedes(&candidates[index], &pivot)) {
            sum += (double)candidates[index].weight;
            swap(&candidates[index], &candidates[split++]);
        }
    }
    swap(&candidates[split], &candidates[end - 1]);
    *weight = sum;
    return split;
}

/* Moves the nucleus to the front: the smallest set of most probable candidates that weighs at least
 * `limit`. Returns its size, at least 1, and its weight in *total. The order inside it does not
 * matter, so this is a selection and not a sort: on average a few passes. */
static uint32_t take_nucleus(struct llm_candidate *candidates, uint32_t count, double limit,
                             double *total)
{
    uint32_t begin = 0;   /* all before it are in the nucleus, and weigh `taken` */
    uint32_t end = count; /* all from there on are not */
    double taken = 0.0;
    while (begin < end) {
        double weight;
        uint32_t pivot = partition(candidates, begin, end, &weight);
        if (pivot > begin && taken + weight >= limit) {
            end = pivot;
            continue;
        }
        taken += weight + (double)candidates[pivot].weight;
        begin = pivot + 1;
        if (taken >= limit) {
            break;
        }
    }
    *total = taken;
    return begin;
}

/* Returns the candidate at `point` when the weights of the first `count`, at least 1, are laid end
 * to end. */
static uint32_t pick(const struct llm_candidate *candidates, uint32_t count, double point)
{
    double passed = 0.0;
    uint32_t index = 0;
    while (index + 1 < count) {
        passed += (double)candidates[index].weight;
        if (point < passed) {
            break;
        }
        index++;
    }
    return candidates[index].id;
}

int llm_sampler_choose(struct llm_sampler *sampler, float *logits, uint32_t *id,
                       struct llm_error *err)
{
    uint32_t vocabulary = sampler->vocabulary;
    struct llm_candidate *candidates = sampler->candidates;

    if (find_greatest(logits, vocabulary, id) != 0) {
        return llm_fail(err, "the model computed a logit that is not a finite number");
    }
    if (!(sampler->temperature > 0.0f)) {
        return 0;
    }

    double sum =
        (double)sampler->vector->exponentiate(logits, vocabulary, 1.0f / sampler->temperature);
    double limit = (double)sampler->top_p * sum;

    /* A token below this cannot be in the nucleus: were all the others, at most as many as the
     * vocabulary, as improbable, they would not weigh what lies outside it. The most probable token
     * weighs 1 and must remain whatever the rounding. */
    float cutoff = (float)((sum - limit) / (double)vocabulary);
    cutoff = cutoff < 1.0f ? cutoff : 1.0f;
    uint32_t count = 0;
    for (uint32_t token = 0; token < vocabulary; token++) {
        candidates[count] = (struct llm_candidate){logits[token], token};
        count += logits[token] >= cutoff;
    }

    double total;
    uint32_t nucleus = take_nucleus(candidates, count, limit, &total);
    *id = pick(candidates, nucleus, random_fraction(sampler) * total);
    return 0;
}
