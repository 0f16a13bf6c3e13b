// SPDX-License-Identifier: Apache-2.0
// The filters of guillotine-store, for the build tool.
#include "store_rules.h"

static const struct seccomp_filter filters[] = {
    {"store_read_filter", STORE_READ_FILTER},
    {"store_write_filter", STORE_WRITE_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = store_rules,
    .rule_count = STORE_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
