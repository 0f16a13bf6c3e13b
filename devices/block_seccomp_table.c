// SPDX-License-Identifier: Apache-2.0
// The filters of guillotine-block, for the build tool.
#include "block_rules.h"

static const struct seccomp_filter filters[] = {
    {"block_read_filter", BLOCK_READ_FILTER},
    {"block_write_filter", BLOCK_WRITE_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = block_rules,
    .rule_count = BLOCK_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
