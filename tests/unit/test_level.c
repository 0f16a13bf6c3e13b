// SPDX-License-Identifier: Apache-2.0
// The effective level: the maximum of both sides, and doubt counts as Severed.
#include <criterion/criterion.h>

#include "level.h"
#include "support.h"

static const uint32_t values[] = {0, 1, 2, 3, 4, 5, 6, 7, 255, 1u << 31, UINT32_MAX};
static const uint32_t holds[] = {0, 1, 2, 1u << 31, UINT32_MAX};

Test(level, all_combinations)
{
    static struct level_page a, b;
    for (size_t i = 0; i < COUNT(values); i++)
        for (size_t j = 0; j < COUNT(values); j++)
            for (size_t k = 0; k < COUNT(holds); k++)
                for (size_t l = 0; l < COUNT(holds); l++) {
                    atomic_store(&a.level, values[i]);
                    atomic_store(&b.level, values[j]);
                    atomic_store(&a.hold, holds[k]);
                    atomic_store(&b.hold, holds[l]);
                    unsigned level = level_effective(&a, &b);
                    cr_assert_eq(level_effective(&b, &a), level, "one side counts more");
                    cr_assert_geq(level, values[i]);
                    cr_assert_geq(level, values[j]);
                    bool doubt = holds[k] || holds[l] || values[i] >= LEVEL_COUNT ||
                                 values[j] >= LEVEL_COUNT;
                    if (doubt)
                        cr_assert_geq(level, (unsigned)LEVEL_SEVERED);
                    else
                        cr_assert_eq(level, values[i] > values[j] ? values[i] : values[j]);
                    // Ports look at both pages, too: shut by a level, held by nothing but a hold.
                    bool shut = values[i] >= LEVEL_SEVERED || values[j] >= LEVEL_SEVERED;
                    enum level_gate gate = level_gate(&a, &b);
                    cr_assert_eq(level_gate(&b, &a), gate, "one side counts more");
                    cr_assert_eq(level_gate_up_to(&a, &b, LEVEL_PROBATION), gate);
                    cr_assert_eq(level_gate_up_to(&a, &b, LEVEL_STANDARD),
                                 values[i] || values[j] ? LEVEL_GATE_SHUT : gate);
                    cr_assert_eq(gate, shut                   ? LEVEL_GATE_SHUT
                                       : holds[k] || holds[l] ? LEVEL_GATE_HELD
                                                              : LEVEL_GATE_OPEN);
                }
}

Test(level, names)
{
    static const char *const names[] = {"standard", "probation",    "severed",
                                        "offline",  "decapitation", "immolation"};
    for (unsigned i = 0; i < COUNT(names); i++)
        cr_expect_str_eq(level_name(i), names[i]);
    for (size_t i = 6; i < COUNT(values); i++)
        cr_expect_str_eq(level_name(values[i]), "unknown");
    cr_expect_eq(LEVEL_COUNT, 6);
}
