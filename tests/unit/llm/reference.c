// SPDX-License-Identifier: Apache-2.0
// Tensor types by their definition, an element at a time and in double precision.

#include "reference.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

double reference_half(uint16_t half)
{
    int exponent = half >> 10 & 31;
    double fraction = (double)(half & 1023) / 1024.0;
    double magnitude = exponent == 0 ? ldexp(fraction, -14) : ldexp(1.0 + fraction, exponent - 15);
    return half >> 15 != 0 ? -magnitude : magnitude;
}

static double half_at(const uint8_t *bytes)
{
    return reference_half((uint16_t)(bytes[0] | bytes[1] << 8));
}

static struct reference_element made(double product, double minimum)
{
    return (struct reference_element){product + minimum, fabs(product) + fabs(minimum)};
}

/* Where the parts of a block of 32 are; -1: it has none. */
struct layout {
    uint32_t id;
    int minimum;
    int high; /* 32 bits */
    int low;  /* nibbles: elements 0 to 15 in the low halves, 16 to 31 in the high ones */
    int excess;
};

static const struct layout layouts[] = {
    {2, -1, -1, 2, 8},
    {3, 2, -1, 4, 0},
    {6, -1, 2, 6, 16},
    {7, 2, 4, 8, 0},
};

static struct reference_element block_element(const struct layout *layout, const uint8_t *block,
                                              unsigned index)
{
    int integer = index < 16 ? block[layout->low + (int)index] & 15
                             : block[layout->low + (int)index - 16] >> 4;
    if (layout->high >= 0 && (block[layout->high + (int)index / 8] >> index % 8 & 1) != 0) {
        integer += 16;
    }
    double scale = half_at(block);
    double minimum =
        layout->minimum < 0 ? -scale * layout->excess : half_at(block + layout->minimum);
    return made(scale * integer, minimum);
}

/* Q4_K and Q5_K. */
static struct reference_element pair_element(const uint8_t *block, unsigned index, bool fifth)
{
    const uint8_t *factors = block + 4;
    unsigned part = index / 32;
    unsigned scale = factors[part] & 63;
    unsigned minimum = factors[part + 4] & 63;
    if (part >= 4) {
        scale = (factors[part + 4] & 15) + 16 * (factors[part - 4] >> 6);
        minimum = (unsigned)(factors[part + 4] >> 4) + 16 * (factors[part] >> 6);
    }
    const uint8_t *low = block + (fifth ? 48 : 16) + part / 2 * 32;
    unsigned integer = part % 2 == 0 ? low[index % 32] & 15 : low[index % 32] >> 4;
    if (fifth && (block[16 + index % 32] >> part & 1) != 0) {
        integer += 16;
    }
    return made(half_at(block) * scale * integer, -half_at(block + 2) * minimum);
}

static struct reference_element q6_k_element(const uint8_t *block, unsigned index)
{
    unsigned half = index / 128;
    unsigned quarter = index % 128 / 32;
    unsigned place = index % 32;
    unsigned low = block[64 * half + 32 * (quarter % 2) + place];
    low = quarter < 2 ? low & 15 : low >> 4;
    unsigned high = block[128 + 32 * half + place] >> (2 * quarter) & 3;
    int factor = (int8_t)block[192 + index / 16];
    return made(half_at(block + 208) * factor * ((int)(low + 16 * high) - 32), 0.0);
}

struct reference_element reference_element(const struct llm_type *type, const uint8_t *row,
                                           size_t column)
{
    const uint8_t *block = row + column / type->block_elements * type->block_bytes;
    unsigned index = (unsigned)(column % type->block_elements);
    float value = 0.0f;
    switch (type->id) {
    case 0:
        memcpy(&value, block, 4);
        return made((double)value, 0.0);
    case 1:
        return made(half_at(block), 0.0);
    case 8:
        return made(half_at(block) * (int8_t)block[2 + index], 0.0);
    case 12:
    case 13:
        return pair_element(block, index, type->id == 13);
    case 14:
        return q6_k_element(block, index);
    case 30:
        memcpy((uint8_t *)&value + 2, block, 2);
        return made((double)value, 0.0);
    default:
        break;
    }
    for (size_t layout = 0; layout < sizeof(layouts) / sizeof(layouts[0]); layout++) {
        if (layouts[layout].id == type->id) {
            return block_element(&layouts[layout], block, index);
        }
    }
    cr_assert(false, "no reference for the type %s", type->name);
    return made(0.0, 0.0);
}

size_t reference_halves(const struct llm_type *type, size_t offsets[2])
{
    offsets[0] = type->id == 14 ? 208 : 0;
    offsets[1] = 2;
    bool minimum = type->id == 3 || type->id == 7 || type->id == 12 || type->id == 13;
    return type->id == 0 || type->id == 30 ? 0 : (size_t)(minimum ? 2 : 1);
}
