// SPDX-License-Identifier: Apache-2.0
// The filter of guillotine-serve, for the build tool.
#include "serve_rules.h"

static const struct seccomp_filter filters[] = {{"serve_filter", SERVE_FILTER}};

const struct seccomp_table seccomp_table = {
    .rules = serve_rules,
    .rule_count = SERVE_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
