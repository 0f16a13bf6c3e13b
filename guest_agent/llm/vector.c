// SPDX-License-Identifier: Apache-2.0
// The choice among the sets of vector operations.

#include "vector.h"

#include "vector_sets.h"

/* Fastest first; the last needs nothing. */
static const struct llm_vector_operations *const sets[] = {
    &llm_vector_avx2_fma,
    &llm_vector_scalar,
};

const struct llm_vector_operations *llm_vector_find(uint64_t isa)
{
    size_t index = 0;
    while ((sets[index]->isa & isa) != sets[index]->isa) {
        index++;
    }
    return sets[index];
}

const struct llm_vector_operations *llm_vector_at(size_t index)
{
    return index < sizeof(sets) / sizeof(sets[0]) ? sets[index] : NULL;
}
