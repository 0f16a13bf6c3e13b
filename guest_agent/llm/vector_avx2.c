// SPDX-License-Identifier: Apache-2.0
// The vector operations with AVX2 and FMA.

#include "vector_avx2.h"

#include "exponential.h"
#include "platform.h"
#include "vector_sets.h"

#include <math.h>

LLM_AVX2_INLINE void store_some(float *output, __m256 values, size_t count)
{
    float padded[8];
    _mm256_storeu_ps(padded, values);
    memcpy(output, padded, count * sizeof(float));
}

LLM_AVX2_INLINE float sum_lanes(__m256 values)
{
    __m256 zero = _mm256_setzero_ps();
    return _mm_cvtss_f32(llm_sum_lanes(values, zero, zero, zero));
}

LLM_AVX2_INLINE __m256 exponential(__m256 value)
{
    /* In this operand order max returns the constant for not-a-number. */
    value = _mm256_max_ps(value, _mm256_set1_ps(EXP_MINIMUM));
    value = _mm256_min_ps(value, _mm256_set1_ps(EXP_MAXIMUM));

    __m256 rounded = _mm256_fmadd_ps(value, _mm256_set1_ps(EXP_LOG2_E), _mm256_set1_ps(EXP_ROUND));
    __m256i exponent =
        _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_set1_epi32(EXP_ROUND_BITS));
    __m256 whole = _mm256_sub_ps(rounded, _mm256_set1_ps(EXP_ROUND));
    __m256 rest = _mm256_fnmadd_ps(whole, _mm256_set1_ps(EXP_LN2_HIGH), value);
    rest = _mm256_fnmadd_ps(whole, _mm256_set1_ps(EXP_LN2_LOW), rest);

    __m256 sum = _mm256_set1_ps(EXP_TERM_7);
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP_TERM_6));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP_TERM_5));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP_TERM_4));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP_TERM_3));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP_TERM_2));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f));

    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(EXP_BIAS)), 23);
    return _mm256_mul_ps(sum, _mm256_castsi256_ps(bits));
}

LLM_AVX2 static void normalise(float *output, const float *input, const float *gain, size_t count,
                               float epsilon)
{
    __m256 squares = _mm256_setzero_ps();
    size_t index = 0;
    for (; index + 8 <= count; index += 8) {
        __m256 value = _mm256_loadu_ps(input + index);
        squares = _mm256_fmadd_ps(value, value, squares);
    }
    if (index < count) {
        __m256 value = llm_load_some_floats(input + index, count - index);
        squares = _mm256_fmadd_ps(value, value, squares);
    }

    float scale = 1.0f / sqrtf(sum_lanes(squares) / (float)count + epsilon);
    __m256 scales = _mm256_set1_ps(scale);
    for (index = 0; index + 8 <= count; index += 8) {
        __m256 value = _mm256_mul_ps(_mm256_loadu_ps(input + index), scales);
        _mm256_storeu_ps(output + index, _mm256_mul_ps(value, _mm256_loadu_ps(gain + index)));
    }
    for (; index < count; index++) {
        output[index] = input[index] * scale * gain[index];
    }
}

LLM_AVX2_INLINE float maximum_of(const float *values, size_t count)
{
    float maximum = values[0];
    size_t index = 0;
    if (count >= 8) {
        __m256 wide = _mm256_loadu_ps(values);
        for (index = 8; index + 8 <= count; index += 8) {
            wide = _mm256_max_ps(wide, _mm256_loadu_ps(values + index));
        }
        float lanes[8];
        _mm256_storeu_ps(lanes, wide);
        for (size_t lane = 0; lane < 8; lane++) {
            maximum = lanes[lane] > maximum ? lanes[lane] : maximum;
        }
    }
    for (; index < count; index++) {
        maximum = values[index] > maximum ? values[index] : maximum;
    }
    return maximum;
}

LLM_AVX2 static float exponentiate(float *values, size_t count, float scale)
{
    __m256 maximum = _mm256_set1_ps(maximum_of(values, count));
    __m256 scales = _mm256_set1_ps(scale);
    __m256 sums = _mm256_setzero_ps();
    size_t index = 0;
    for (; index + 8 <= count; index += 8) {
        __m256 value = _mm256_sub_ps(_mm256_loadu_ps(values + index), maximum);
        value = exponential(_mm256_mul_ps(value, scales));
        _mm256_storeu_ps(values + index, value);
        sums = _mm256_add_ps(sums, value);
    }
    if (index < count) {
        size_t rest = count - index;
        __m256 value = _mm256_sub_ps(llm_load_some_floats(values + index, rest), maximum);
        store_some(values + index, exponential(_mm256_mul_ps(value, scales)), rest);
        sums = _mm256_add_ps(sums, llm_load_some_floats(values + index, rest));
    }
    return sum_lanes(sums);
}

LLM_AVX2_INLINE __m256 swiglu_eight(__m256 gate, __m256 up)
{
    __m256 negated = _mm256_sub_ps(_mm256_setzero_ps(), gate);
    __m256 divisor = _mm256_add_ps(_mm256_set1_ps(1.0f), exponential(negated));
    return _mm256_mul_ps(_mm256_div_ps(gate, divisor), up);
}

LLM_AVX2 static void swiglu(float *gate, const float *up, size_t count)
{
    size_t index = 0;
    for (; index + 8 <= count; index += 8) {
        __m256 value = swiglu_eight(_mm256_loadu_ps(gate + index), _mm256_loadu_ps(up + index));
        _mm256_storeu_ps(gate + index, value);
    }
    if (index < count) {
        size_t rest = count - index;
        __m256 value = swiglu_eight(llm_load_some_floats(gate + index, rest),
                                    llm_load_some_floats(up + index, rest));
        store_some(gate + index, value, rest);
    }
}

/* A strip of 8 * registers columns; `registers`, at most 8, is a constant at every call. */
LLM_AVX2_INLINE void combine_strip(float *output, const float *rows, size_t stride,
                                   const float *weights, size_t row_count, size_t registers,
                                   float factor)
{
    __m256 sums[8];
#pragma GCC unroll 8
    for (size_t index = 0; index < registers; index++) {
        sums[index] = _mm256_setzero_ps();
    }
    for (size_t row = 0; row < row_count; row++) {
        __m256 weight = _mm256_broadcast_ss(weights + row);
#pragma GCC unroll 8
        for (size_t index = 0; index < registers; index++) {
            __m256 value = _mm256_loadu_ps(rows + row * stride + 8 * index);
            sums[index] = _mm256_fmadd_ps(weight, value, sums[index]);
        }
    }
#pragma GCC unroll 8
    for (size_t index = 0; index < registers; index++) {
        _mm256_storeu_ps(output + 8 * index, _mm256_mul_ps(sums[index], _mm256_set1_ps(factor)));
    }
}

LLM_AVX2 static void combine(float *output, const float *rows, size_t stride, const float *weights,
                             size_t row_count, size_t count, float factor)
{
    size_t index = 0;
    for (; index + 64 <= count; index += 64) {
        combine_strip(output + index, rows + index, stride, weights, row_count, 8, factor);
    }
    for (; index + 32 <= count; index += 32) {
        combine_strip(output + index, rows + index, stride, weights, row_count, 4, factor);
    }
    for (; index + 8 <= count; index += 8) {
        combine_strip(output + index, rows + index, stride, weights, row_count, 1, factor);
    }
    for (; index < count; index++) {
        float sum = 0.0f;
        for (size_t row = 0; row < row_count; row++) {
            sum += weights[row] * rows[row * stride + index];
        }
        output[index] = sum * factor;
    }
}

const struct llm_vector_operations llm_vector_avx2_fma = {
    .isa = LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C,
    .normalise = normalise,
    .exponentiate = exponentiate,
    .swiglu = swiglu,
    .combine = combine,
};
