// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q6_K: blocks of 256 numbers of 6 bits, less 32, with a factor for each 16.

#include "kernel_bytes.h"
#include "kernels.h"

#define SUPER_BYTES    210
#define SUPER_OFFSET   32
#define HIGH_OFFSET    128 /* after the low four bits: the two high bits */
#define FACTORS_OFFSET 192 /* 16 signed bytes */
#define SCALE_OFFSET   208

/* A half of a block has 128 elements: four parts, whose low bits are in 64 bytes, those of parts 0
 * and 1 in the low halves, and whose high bits are in 32 bytes, two bits for each part. */
struct factors {
    __m128i bytes;
};

LLM_AVX2_INLINE struct factors open_factors(const uint8_t *block)
{
    return (struct factors){_mm_loadu_si128((const void *)(block + FACTORS_OFFSET))};
}

LLM_AVX2_INLINE __m256i part_factor(const struct factors *factors, size_t part)
{
    const __m128i first = _mm_set1_epi8((char)(2 * part));
    const __m128i pair = _mm_add_epi8(first, _mm_set_epi64x(0x0101010101010101, 0));
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(factors->bytes, pair));
}

LLM_AVX2_INLINE __m256i corrections(const struct factors *factors)
{
    return _mm256_cvtepi8_epi16(factors->bytes);
}

LLM_AVX2_INLINE __m256 super_scale(const uint8_t *block)
{
    return load_half(block + SCALE_OFFSET);
}

LLM_AVX2_INLINE __m256 super_minimum(const uint8_t *block)
{
    (void)block;
    return _mm256_setzero_ps();
}

LLM_AVX2_INLINE __m256i part_integers(const uint8_t *block, size_t part)
{
    size_t low_at = part / 4 * 64 + part % 2 * 32;
    __m256i low = _mm256_loadu_si256((const void *)(block + low_at));
    __m256i high = _mm256_loadu_si256((const void *)(block + HIGH_OFFSET + part / 4 * 32));
    int shift = (int)(part % 4 * 2);
    low = part % 4 < 2 ? low : _mm256_srli_epi16(low, 4);
    high = shift <= 4 ? _mm256_slli_epi16(high, 4 - shift) : _mm256_srli_epi16(high, shift - 4);
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
                           _mm256_and_si256(high, _mm256_set1_epi8(48)));
}

/* A chunk is a part. */
static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    const uint8_t *block = row + column / 256 * SUPER_BYTES;
    size_t part = column / 32 % 8;
    float scale = llm_half_to_float(llm_load_u16(block + SCALE_OFFSET));
    const uint8_t *low = block + part / 4 * 64 + part % 2 * 32;
    const uint8_t *high = block + HIGH_OFFSET + part / 4 * 32;
    for (size_t index = 0; index < count; index++) {
        int integer = low[index] >> (part % 4 / 2 * 4) & 15;
        integer |= (high[index] >> (part % 4 * 2) & 3) << 4;
        float factor = (float)(int8_t)block[FACTORS_OFFSET + 2 * part + index / 16];
        output[index] = scale * factor * (float)(integer - 32);
    }
}

#include "kernel_scalar.h"

#include "kernel_super.h"

#define KERNEL_VNNI
#include "kernel_super.h"

LLM_DEFINE_KERNELS(q6_k)
LLM_DEFINE_VNNI_KERNEL(q6_k)
