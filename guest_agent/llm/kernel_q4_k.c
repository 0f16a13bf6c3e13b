// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q4_K: blocks of 256 numbers of 4 bits, with a scale and a minimum for
// each 32.

#include "factors.h"
#include "factors_avx2.h"
#include "kernels.h"

#define SUPER_BYTES    144
#define SUPER_OFFSET   0
#define NIBBLES_OFFSET 16

/* Two parts share 32 bytes: the even one has their low halves. */
LLM_AVX2_INLINE __m256i part_integers(const uint8_t *block, size_t part)
{
    __m256i bytes = _mm256_loadu_si256((const void *)(block + NIBBLES_OFFSET + part / 2 * 32));
    __m256i halves = part % 2 == 0 ? bytes : _mm256_srli_epi16(bytes, 4);
    return _mm256_and_si256(halves, _mm256_set1_epi8(15));
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
        output[index] = scale * (float)integer - minimum;
    }
}

#include "kernel_scalar.h"

#include "kernel_super.h"

#define KERNEL_VNNI
#include "kernel_super.h"

LLM_DEFINE_KERNELS(q4_k)
LLM_DEFINE_VNNI_KERNEL(q4_k)
