// SPDX-License-Identifier: Apache-2.0
// Kernels of the type F16: rows of IEEE 754 half precision.

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

LLM_AVX2_INLINE __m256 load_eight(const struct chunk *chunk, size_t offset)
{
    const void *halves = chunk->halves + 2 * offset;
    return _mm256_cvtph_ps(_mm_loadu_si128(halves));
}

LLM_AVX2_INLINE __m256 load_some(const struct chunk *chunk, size_t offset, size_t count)
{
    uint16_t padded[8] = {0};
    memcpy(padded, chunk->halves + 2 * offset, 2 * count);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)padded));
}

static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    for (size_t index = 0; index < count; index++) {
        output[index] = llm_half_to_float(llm_load_u16(row + 2 * (column + index)));
    }
}

#include "kernel_avx2.h"
#include "kernel_scalar.h"

LLM_DEFINE_KERNELS(f16)
