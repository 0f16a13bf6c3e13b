// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding: frequencies, their scalings, and the rotation of a head.

#include "rotation.h"

#include <math.h>

#define PI 3.14159265358979323846

/* The number of the pair that turns `turns` times over the context the model was first trained
 * for. */
static double pair_of_turns(const struct llm_config *config, double turns)
{
    double context = config->rope.original_context;
    return config->rotated * log(context / (turns * 2.0 * PI)) /
           (2.0 * log((double)config->rope.base));
}

/* How much of the unscaled frequency a pair keeps under YaRN (Peng et al., 2023): all of it below
 * `low`, where the context holds beta_fast turns and more, nothing above `high`, where it holds at
 * most beta_slow turns. */
static double yarn_share(const struct llm_config *config, uint32_t pair)
{
    double low = floor(pair_of_turns(config, (double)config->rope.beta_fast));
    double high = ceil(pair_of_turns(config, (double)config->rope.beta_slow));
    low = fmax(low, 0.0);
    high = fmin(high, (double)config->rotated - 1.0);
    double ramp = ((double)pair - low) / fmax(high - low, 0.001);
    return 1.0 - fmin(fmax(ramp, 0.0), 1.0);
}

void llm_rotation_frequencies(float *frequencies, const struct llm_config *config,
                              const float *factors)
{
    /* Pair i of a head turns by base^(-2i / rotated) radians a position (Su et al., 2021). */
    for (uint32_t pair = 0; pair < config->rotated / 2; pair++) {
        float exponent = -(float)(2 * pair) / (float)config->rotated;
        float frequency = powf(config->rope.base, exponent);
        if (factors != NULL) {
            frequency /= factors[pair];
        }
        double share = config->rope.scaling == LLM_SCALING_YARN ? yarn_share(config, pair) : 0.0;
        if (config->rope.scaling != LLM_SCALING_NONE) {
            double scaled = (double)frequency / (double)config->rope.factor;
            frequency = (float)(scaled * (1.0 - share) + (double)frequency * share);
        }
        frequencies[pair] = frequency;
    }
}

void llm_rotation_angles(float *cosines, float *sines, const float *frequencies, size_t pairs,
                         uint32_t position, float magnitude)
{
    for (size_t pair = 0; pair < pairs; pair++) {
        float angle = (float)position * frequencies[pair];
        cosines[pair] = cosf(angle) * magnitude;
        sines[pair] = sinf(angle) * magnitude;
    }
}

void llm_rotate(float *head, enum llm_rotation_style style, size_t pairs, const float *cosines,
                const float *sines)
{
    size_t step = style == LLM_ROTATE_NEIGHBOURS ? 2 : 1;
    float *other = head + (style == LLM_ROTATE_NEIGHBOURS ? 1 : pairs);

    for (size_t pair = 0; pair < pairs; pair++) {
        float one = head[pair * step];
        float two = other[pair * step];
        head[pair * step] = one * cosines[pair] - two * sines[pair];
        other[pair * step] = one * sines[pair] + two * cosines[pair];
    }
}
