// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q5_0: blocks of a half-precision scale and 32 numbers of 5 bits, the
// highest ones apart, less 16.

#include "half.h"
#include "kernels.h"
#include "vector_avx2.h"

#define BLOCK_BYTES  22
#define BLOCK_OFFSET 16

#include "kernel_bytes.h"

LLM_AVX2_INLINE __m256i load_integers(const uint8_t *block)
{
    return _mm256_or_si256(load_nibbles(block + 6), load_sixteens(block + 2));
}

/* A chunk is a block. */
static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    const uint8_t *block = row + column / 32 * BLOCK_BYTES;
    float scale = llm_half_to_float(llm_load_u16(block));
    uint32_t high = llm_load_u32(block + 2);
    for (size_t index = 0; index < count; index++) {
        int nibble = block[6 + index % 16] >> (index < 16 ? 0 : 4) & 15;
        nibble |= (int)(high >> index & 1) << 4;
        output[index] = scale * (float)(nibble - 16);
    }
}

#include "kernel_scalar.h"

#include "kernel_block.h"

#define KERNEL_VNNI
#include "kernel_block.h"

LLM_DEFINE_KERNELS(q5_0)
LLM_DEFINE_VNNI_KERNEL(q5_0)
