// SPDX-License-Identifier: Apache-2.0
// Tensor types by their definition, an element at a time and in double precision.

#ifndef LLM_TEST_REFERENCE_H
#define LLM_TEST_REFERENCE_H

#include "types.h"

#include <stddef.h>
#include <stdint.h>

/* An element, and what its terms would add up to without their signs (an element can be the small
 * difference of two large terms: rounding is relative to these). */
struct reference_element {
    double value;
    double magnitude;
};

/* The value of a half, by the definition of the format. */
double reference_half(uint16_t half);

/* Returns the element at `column` of a row of the type. */
struct reference_element reference_element(const struct llm_type *type, const uint8_t *row,
                                           size_t column);

/* Stores at most two offsets, in bytes, of the halves of a block in offsets; returns how many. */
size_t reference_halves(const struct llm_type *type, size_t offsets[2]);

#endif
