// SPDX-License-Identifier: Apache-2.0
// The VMM's filters, for the build tool.
#include "seccomp_rules.h"

static const struct seccomp_filter filters[] = {
    {"seccomp_filter_vcpu", SECCOMP_VCPU},
    {"seccomp_filter_poller", SECCOMP_POLLER},
    {"seccomp_filter_control", SECCOMP_CONTROL},
    {"seccomp_filter_watchdog", SECCOMP_WATCHDOG},
};

const struct seccomp_table seccomp_table = {
    .rules = seccomp_rules,
    .rule_count = SECCOMP_RULE_COUNT,
    .filters = filters,
    .filter_count = sizeof(filters) / sizeof(filters[0]),
};
