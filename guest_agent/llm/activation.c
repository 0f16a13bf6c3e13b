// SPDX-License-Identifier: Apache-2.0
// The conversion of vectors to integers with a scale for each block.

#include "activation.h"

#include "vector_avx2.h"

#define INTEGER_MAX 127.0f

size_t llm_activation_bytes(enum llm_form form, size_t columns)
{
    size_t bytes = columns * sizeof(float);
    if (form == LLM_FORM_INTEGERS_32) {
        bytes = llm_activation_sums(form, columns) + columns / 32 * sizeof(float);
    } else if (form == LLM_FORM_INTEGERS_256) {
        bytes = llm_activation_sums(form, columns) + columns / 16 * sizeof(int16_t);
    }
    return (bytes + LLM_ACTIVATION_ALIGNMENT - 1) / LLM_ACTIVATION_ALIGNMENT *
           LLM_ACTIVATION_ALIGNMENT;
}

/* Returns the largest magnitude of `count` floats, a multiple of 8; not-a-number if one is. The
 * bits of magnitudes are in the order of the numbers, and those of not-a-number come last. */
LLM_AVX2_INLINE float largest_magnitude(const float *values, size_t count)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i largest = _mm256_setzero_si256();
    for (size_t index = 0; index < count; index += 8) {
        __m256i bits = _mm256_loadu_si256((const void *)(values + index));
        largest = _mm256_max_epi32(_mm256_and_si256(bits, magnitude), largest);
    }
    __m128i lanes =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    lanes = _mm_max_epi32(lanes, _mm_shuffle_epi32(lanes, 0x4e)); /* the other two */
    lanes = _mm_max_epi32(lanes, _mm_shuffle_epi32(lanes, 0xb1)); /* the neighbour */
    return _mm_cvtss_f32(_mm_castsi128_ps(lanes));
}

LLM_AVX2_INLINE __m256i round_eight(const float *values, __m256 factor)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values), factor));
}

/* Returns 32 floats, times the factor, as bytes in their order. */
LLM_AVX2_INLINE __m256i round_block(const float *values, __m256 factor)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i low = _mm256_packs_epi32(round_eight(values, factor), round_eight(values + 8, factor));
    __m256i high =
        _mm256_packs_epi32(round_eight(values + 16, factor), round_eight(values + 24, factor));
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

/* Returns the sums of the 16 integers of each half, as 32-bit numbers in elements 0 and 1. */
LLM_AVX2_INLINE __m128i sum_halves(__m256i integers)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), integers);
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i halves =
        _mm_hadd_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    return _mm_hadd_epi32(halves, halves);
}

/* The factor whose product with a number of at most `largest` is at most 127. A block so small that
 * the factor would overflow counts as zeros. */
static float factor_of(float largest)
{
    return largest > INTEGER_MAX * 0x1p-126f ? INTEGER_MAX / largest : 0.0f;
}

LLM_AVX2 static void convert_32(const float *vector, size_t columns, uint8_t *output)
{
    float *scales = (void *)(output + llm_activation_scales(columns));
    float *sums = (void *)(output + llm_activation_sums(LLM_FORM_INTEGERS_32, columns));
    for (size_t column = 0; column < columns; column += 32) {
        float largest = largest_magnitude(vector + column, 32);
        __m256i integers = round_block(vector + column, _mm256_set1_ps(factor_of(largest)));
        __m128i halves = sum_halves(integers);
        _mm256_store_si256((void *)(output + column), integers);
        scales[column / 32] = largest / INTEGER_MAX;
        sums[column / 32] = largest / INTEGER_MAX *
                            (float)(_mm_extract_epi32(halves, 0) + _mm_extract_epi32(halves, 1));
    }
    for (size_t block = columns / 32; block % 8 != 0; block++) {
        scales[block] = 0.0f;
        sums[block] = 0.0f;
    }
}

LLM_AVX2 static void convert_256(const float *vector, size_t columns, uint8_t *output)
{
    float *scales = (void *)(output + llm_activation_scales(columns));
    int16_t *sums = (void *)(output + llm_activation_sums(LLM_FORM_INTEGERS_256, columns));
    for (size_t first = 0; first < columns; first += 256) {
        float largest = largest_magnitude(vector + first, 256);
        __m256 factor = _mm256_set1_ps(factor_of(largest));
        scales[first / 256] = largest / INTEGER_MAX;
        for (size_t column = first; column < first + 256; column += 32) {
            __m256i integers = round_block(vector + column, factor);
            __m128i halves = sum_halves(integers);
            _mm256_store_si256((void *)(output + column), integers);
            sums[column / 16] = (int16_t)_mm_extract_epi32(halves, 0);
            sums[column / 16 + 1] = (int16_t)_mm_extract_epi32(halves, 1);
        }
    }
}

void llm_activation_convert(enum llm_form form, const float *vector, size_t columns, void *output)
{
    if (form == LLM_FORM_INTEGERS_32) {
        convert_32(vector, columns, output);
    } else {
        convert_256(vector, columns, output);
    }
}
