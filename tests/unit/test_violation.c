// SPDX-License-Identifier: Apache-2.0
// Names of violations are stable, distinct, and lead back to their kinds.
#include <criterion/criterion.h>
#include <string.h>

#include "violation.h"

Test(violation, names_round_trip)
{
    for (unsigned kind = 1; kind < VIOLATION_COUNT; kind++) {
        const char *name = violation_name(kind);
        cr_assert_not_null(name, "kind %u has no name", kind);
        cr_expect_eq(violation_by_name(name), (enum violation_kind)kind, "%s", name);
        cr_expect_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name), "%s", name);
        for (unsigned other = 0; other < kind; other++) {
            cr_expect_str_neq(violation_name(other), name);
            cr_expect_str_neq(violation_text(other), violation_text(kind));
        }
        cr_assert_not_null(violation_text(kind));
        cr_expect_neq(violation_text(kind)[0], '\0');
        cr_expect_null(strchr(violation_text(kind), '\n'));
    }
}

Test(violation, unknown)
{
    cr_expect_str_eq(violation_name(VIOLATION_NONE), "none");
    cr_expect_str_eq(violation_name(VIOLATION_COUNT), "unknown");
    cr_expect_str_eq(violation_name(~0u), "unknown");
    cr_expect_str_eq(violation_text(~0u), "unknown violation");
    static const char *const bad[] = {"",          "none",        "unknown",
                                      "write-cod", "write-code ", "Write-Code"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(violation_by_name(bad[i]), VIOLATION_NONE, "'%s'", bad[i]);
}
