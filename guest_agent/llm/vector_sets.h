// SPDX-License-Identifier: Apache-2.0
// The sets of vector operations, one for each file that implements one.

#ifndef LLM_VECTOR_SETS_H
#define LLM_VECTOR_SETS_H

#include "vector.h"

extern const struct llm_vector_operations llm_vector_scalar;
extern const struct llm_vector_operations llm_vector_avx2_fma;

#endif
