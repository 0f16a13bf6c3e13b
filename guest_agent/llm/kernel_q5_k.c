// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q5_K: blocks of 256 numbers of 5 bits, with a scale and a minimum for
// each 32.

#include "factors.h"
#include "factors_avx2.h"
#include "kernels.h"

#define SUPER_BYTES    176
#define SUPER_OFFSET   0
#define HIGH_OFFSET    16 /* 32 bytes: bit n of byte i is the highest bit of element 32 * n + i */
#define NIBBLES_OFFSET 48

/* Two parts share 32 bytes: the even one has their low halves. */
LLM_AVX2_INLINE __m256i part_integers(const uint8_t *block, size_t part)
{
    __m256i bytes = _mm256_loadu_si256((const void *)(block + NIBBLES_OFFSET + part / 2 * 32));
    __m256i halves = part % 2 == 0 ? bytes : _mm256_srli_epi16(bytes, 4);
    __m256i bits = _mm256_loadu_si256((const void *)(block + HIGH_OFFSET));
    bits = part <= 4 ? _mm256_slli_epi16(bits, (int)(4 - part))
                     : _mm256_srli_epi16(bits, (int)(part - 4));
    return _mm256_or_si256(_mm256_and_si256(halves, _mm256_set1_epi8(15)),
                           _mm256_and_si256(bits, _mm256_set1_epi8(16)));
}

/* A chunk is a part. */
static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    const uint8_t *block = row + column / 256 * SUPER_BYTES;
    size_t part = column / 32 % 8;
    float scale = llm_part_scale(block, part);
    float minimum = llm_part_minimum(block, part);
    const uint8_t *nibbles = block + NIBBLES_OFFSET + part / 2 * 32;
    for (size_t index = 0; index < count; index++) {
        int integer = nibbles[index] >> (part % 2 * 4) & 15;
        integer |= (block[HIGH_OFFSET + index] >> part & 1) << 4;
        output[index] = scale * (float)integer - minimum;
    }
}

#include "kernel_scalar.h"

#include "kernel_super.h"

#define KERNEL_VNNI
#include "kernel_super.h"

LLM_DEFINE_KERNELS(q5_k)
LLM_DEFINE_VNNI_KERNEL(q5_k)
