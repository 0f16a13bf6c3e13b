// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q8_0: blocks of a half-precision scale and 32 signed bytes.

#include "half.h"
#include "kernels.h"
#include "vector_avx2.h"

#define BLOCK_ELEMENTS 32
#define BLOCK_BYTES    34
#define SCALE_BYTES    2

#define CHUNK_SCALED 1
#define CHUNK_BYTES  BLOCK_BYTES

struct chunk {
    const uint8_t *bytes;
    __m256 scale;
};

LLM_AVX2_INLINE struct chunk open_chunk(const uint8_t *row, size_t column)
{
    const uint8_t *block = row + column / BLOCK_ELEMENTS * BLOCK_BYTES;
    __m128i scales = _mm_set1_epi16((short)llm_load_u16(block));
    return (struct chunk){block + SCALE_BYTES, _mm256_cvtph_ps(scales)};
}

LLM_AVX2_INLINE __m256 load_eight(const struct chunk *chunk, size_t offset)
{
    const void *bytes = chunk->bytes + offset;
    __m256i integers = _mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes));
    return _mm256_cvtepi32_ps(integers);
}

LLM_AVX2_INLINE __m256 chunk_scale(const struct chunk *chunk)
{
    return chunk->scale;
}

static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    const uint8_t *block = row + column / BLOCK_ELEMENTS * BLOCK_BYTES;
    float scale = llm_half_to_float(llm_load_u16(block));
    for (size_t index = 0; index < count; index++) {
        output[index] = scale * (float)(int8_t)block[SCALE_BYTES + index];
    }
}

#include "kernel_avx2.h"
#include "kernel_scalar.h"

void llm_q8_0_decode(const uint8_t *row, float *output, size_t elements)
{
    for (size_t column = 0; column < elements; column += BLOCK_ELEMENTS) {
        decode_chunk(row, column, BLOCK_ELEMENTS, output + column);
    }
}

void llm_q8_0_multiply_scalar(const struct llm_product *product)
{
    multiply_scalar(product);
}

LLM_AVX2 void llm_q8_0_multiply_avx2(const struct llm_product *product)
{
    multiply_avx2(product);
}
