// SPDX-License-Identifier: Apache-2.0
// Unaligned little-endian loads, and IEEE 754 half precision without the F16C instructions.

#ifndef LLM_HALF_H
#define LLM_HALF_H

#include <stdint.h>
#include <string.h>

/* Each returns the value stored at `bytes`, which may have any alignment. The machine is little
 * endian, as the files are. */
static inline uint16_t llm_load_u16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline uint32_t llm_load_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline uint64_t llm_load_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline float llm_load_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* Returns the half-precision number with the bits `half`; exact, as every half is a float. Without
 * branches, so that a loop over halves can become vector instructions. */
static inline float llm_half_to_float(uint16_t half)
{
    /* Exponent and fraction, read as those of a float, make a number that is too small by the
     * difference of the exponent biases, 127 - 15; subnormals come out right too. */
    uint32_t bits = (uint32_t)(half & 0x7fffu) << 13;
    float magnitude;
    memcpy(&magnitude, &bits, sizeof(magnitude));
    magnitude *= 0x1p112f;
    memcpy(&bits, &magnitude, sizeof(bits));

    /* Infinity and not-a-number, now numbers from 65536, need the greatest exponent. */
    bits |= magnitude >= 65536.0f ? 0x7f800000u : 0u;
    bits |= (uint32_t)(half & 0x8000u) << 16;

    float result;
    memcpy(&result, &bits, sizeof(result));
    return result;
}

#endif
