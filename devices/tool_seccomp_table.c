// SPDX-License-Identifier: Apache-2.0
// The filters of guillotine-tool, for the build tool.
#include "tool_rules.h"

static const struct seccomp_filter filters[] = {
    {"tool_filter", TOOL_FILTER},
    {"describe_filter", DESCRIBE_FILTER},
    {"tool_remote_filter", TOOL_REMOTE_FILTER},
    {"describe_remote_filter", DESCRIBE_REMOTE_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = tool_rules,
    .rule_count = TOOL_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
