// SPDX-License-Identifier: Apache-2.0
// The filter of guillotine-http, for the build tool.
#include "http_rules.h"

static const struct seccomp_filter filters[] = {{"http_filter", HTTP_FILTER}};

const struct seccomp_table seccomp_table = {
    .rules = http_rules,
    .rule_count = HTTP_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
