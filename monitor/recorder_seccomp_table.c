// SPDX-License-Identifier: Apache-2.0
// The filter of the recorder, for the build tool.
#include "recorder_rules.h"

static const struct seccomp_filter filters[] = {
    {"recorder_filter", RECORDER_FILTER},
};

const struct seccomp_table seccomp_table = {
    .rules = recorder_rules,
    .rule_count = RECORDER_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
