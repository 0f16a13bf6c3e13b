// SPDX-License-Identifier: Apache-2.0
// The vector operations in plain C, for processors without AVX2.

#include "exponential.h"
#include "vector_sets.h"

#include <math.h>
#include <string.h>

#define LANES 8 /* partial sums, for precision */

static float sum_lanes(const float *lanes)
{
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

static float exponential(float value)
{
    if (!(value > EXP_MINIMUM)) { /* not-a-number too: the conversion below must be defined */
        value = EXP_MINIMUM;
    }
    if (value > EXP_MAXIMUM) {
        value = EXP_MAXIMUM;
    }

    float rounded = value * EXP_LOG2_E + EXP_ROUND;
    int32_t exponent;
    memcpy(&exponent, &rounded, sizeof(exponent));
    exponent -= EXP_ROUND_BITS;
    float whole = rounded - EXP_ROUND;
    float rest = (value - whole * EXP_LN2_HIGH) - whole * EXP_LN2_LOW;

    float sum = EXP_TERM_7;
    sum = sum * rest + EXP_TERM_6;
    sum = sum * rest + EXP_TERM_5;
    sum = sum * rest + EXP_TERM_4;
    sum = sum * rest + EXP_TERM_3;
    sum = sum * rest + EXP_TERM_2;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;

    uint32_t bits = (uint32_t)(exponent + EXP_BIAS) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return sum * power;
}

static void normalise(float *output, const float *input, const float *gain, size_t count,
                      float epsilon)
{
    float lanes[LANES] = {0};
    for (size_t index = 0; index < count; index++) {
        lanes[index % LANES] += input[index] * input[index];
    }
    float scale = 1.0f / sqrtf(sum_lanes(lanes) / (float)count + epsilon);
    for (size_t index = 0; index < count; index++) {
        output[index] = input[index] * scale * gain[index];
    }
}

static float exponentiate(float *values, size_t count, float scale)
{
    float maximum = values[0];
    for (size_t index = 1; index < count; index++) {
        maximum = values[index] > maximum ? values[index] : maximum;
    }
    float lanes[LANES] = {0};
    for (size_t index = 0; index < count; index++) {
        values[index] = exponential((values[index] - maximum) * scale);
        lanes[index % LANES] += values[index];
    }
    return sum_lanes(lanes);
}

static void swiglu(float *gate, const float *up, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        gate[index] = gate[index] / (1.0f + exponential(-gate[index])) * up[index];
    }
}

static void combine(float *output, const float *rows, size_t stride, const float *weights,
                    size_t row_count, size_t count, float factor)
{
    memset(output, 0, count * sizeof(float));
    for (size_t row = 0; row < row_count; row++) {
        for (size_t index = 0; index < count; index++) {
            output[index] += weights[row] * rows[row * stride + index];
        }
    }
    for (size_t index = 0; index < count; index++) {
        output[index] *= factor;
    }
}

const struct llm_vector_operations llm_vector_scalar = {
    .isa = 0,
    .normalise = normalise,
    .exponentiate = exponentiate,
    .swiglu = swiglu,
    .combine = combine,
};
