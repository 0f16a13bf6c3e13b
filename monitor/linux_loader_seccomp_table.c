// SPDX-License-Identifier: Apache-2.0
// The filter of guillotine-loader, for the build tool.
#include "linux_loader_rules.h"

static const struct seccomp_filter filters[] = {
    {"loader_filter", LOADER_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = loader_rules,
    .rule_count = LOADER_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
