// SPDX-License-Identifier: Apache-2.0
// The filter of a backend process, for the build tool.
#include "backend_rules.h"

static const struct seccomp_filter filters[] = {
    {"backend_filter", BACKEND_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = backend_rules,
    .rule_count = BACKEND_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
