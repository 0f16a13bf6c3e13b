// SPDX-License-Identifier: Apache-2.0
// Kernels of the type F32: rows of IEEE 754 single precision.

#include "kernels.h"
#include "vector_avx2.h"

#define CHUNK_BYTES 128

struct chunk {
    const float *elements;
};

LLM_AVX2_INLINE struct chunk open_chunk(const uint8_t *row, size_t column)
{
    return (struct chunk){(const float *)(const void *)(row + 4 * column)};
}

LLM_AVX2_INLINE __m256 load_eight(const struct chunk *chunk, size_t offset)
{
    return _mm256_loadu_ps(chunk->elements + offset);
}

LLM_AVX2_INLINE __m256 load_some(const struct chunk *chunk, size_t offset, size_t count)
{
    return llm_load_some_floats(chunk->elements + offset, count);
}

static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    memcpy(output, row + 4 * column, 4 * count);
}

#include "kernel_avx2.h"
#include "kernel_scalar.h"

LLM_DEFINE_KERNELS(f32)
