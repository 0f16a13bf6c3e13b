// SPDX-License-Identifier: Apache-2.0
// Kernels of the type BF16: rows of the upper halves of IEEE 754 single precision.

#include "half.h"
#include "kernels.h"
#include "vector_avx2.h"

#define CHUNK_BYTES 64

struct chunk {
    const uint8_t *halves;
};

LLM_AVX2_INLINE struct chunk open_chunk(const uint8_t *row, size_t column)
{
    return (struct chunk){row + 2 * column};
}

LLM_AVX2_INLINE __m256 widen(__m128i halves)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

LLM_AVX2_INLINE __m256 load_eight(const struct chunk *chunk, size_t offset)
{
    const void *halves = chunk->halves + 2 * offset;
    return widen(_mm_loadu_si128(halves));
}

LLM_AVX2_INLINE __m256 load_some(const struct chunk *chunk, size_t offset, size_t count)
{
    uint16_t padded[8] = {0};
    memcpy(padded, chunk->halves + 2 * offset, 2 * count);
    return widen(_mm_loadu_si128((const void *)padded));
}

static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    for (size_t index = 0; index < count; index++) {
        uint32_t bits = (uint32_t)llm_load_u16(row + 2 * (column + index)) << 16;
        memcpy(&output[index], &bits, sizeof(bits));
    }
}

#include "kernel_avx2.h"
#include "kernel_scalar.h"

LLM_DEFINE_KERNELS(bf16)
