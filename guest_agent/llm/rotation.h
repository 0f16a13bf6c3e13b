// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding: frequencies, their scalings, and the rotation of a head.

#ifndef LLM_ROTATION_H
#define LLM_ROTATION_H

#include "config.h"

#include <stddef.h>
#include <stdint.h>

/* Fills frequencies[0] to frequencies[rotated / 2 - 1] with the radians that each pair of a head
 * turns a position, scaled as the model asks. factors[i] divides the frequency of pair i before the
 * scaling; NULL: none. */
void llm_rotation_frequencies(float *frequencies, const struct llm_config *config,
                              const float *factors);

/* Fills cosines and sines, `pairs` floats each, with what llm_rotate needs for a position: those of
 * its angles, times `magnitude`. */
void llm_rotation_angles(float *cosines, float *sines, const float *frequencies, size_t pairs,
                         uint32_t position, float magnitude);

/* Turns the 2 * pairs leading elements of a head. */
void llm_rotate(float *head, enum llm_rotation_style style, size_t pairs, const float *cosines,
                const float *sines);

#endif
