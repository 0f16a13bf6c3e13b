// SPDX-License-Identifier: Apache-2.0
// Kernels of the type Q4_0: blocks of a half-precision scale and 32 numbers of 4 bits, less 8.

#include "half.h"
#include "kernels.h"
#include "vector_avx2.h"

#define BLOCK_BYTES  18
#define BLOCK_OFFSET 8

#include "kernel_bytes.h"

LLM_AVX2_INLINE __m256i load_integers(const uint8_t *block)
{
    return load_nibbles(block + 2);
}

/* A chunk is a block. */
static inline void decode_chunk(const uint8_t *row, size_t column, size_t count, float *output)
{
    const uint8_t *block = row + column / 32 * BLOCK_BYTES;
    float scale = llm_half_to_float(llm_load_u16(block));
    for (size_t index = 0; index < count; index++) {
        int nibble = block[2 + index % 16] >> (index < 16 ? 0 : 4) & 15;
        output[index] = scale * (float)(nibble - 8);
    }
}

#include "kernel_scalar.h"

#include "kernel_block.h"

#define KERNEL_VNNI
#include "kernel_block.h"

LLM_DEFINE_KERNELS(q4_0)
LLM_DEFINE_VNNI_KERNEL(q4_0)
