// SPDX-License-Identifier: Apache-2.0
// The rows of `guillotine host check`: what each looks at. Only host_check.c includes this.
#ifndef MONITOR_HOST_ROWS_H
#define MONITOR_HOST_ROWS_H

#include "host_check.h"

// What the rows look at.
struct host_view {
    const struct host_root *root;
    const struct host_facts *facts;
    struct topology *topology; // NULL: sysfs does not say
    unsigned domains;          // groups of CPUs that share no core and no private cache
    bool virtualised;
    char flags[8192]; // of the processor, with a space in front of and behind each
    char backend[32]; // of KVM: "vmx", "svm", "software", "none"
};

struct host_rule {
    const char *id;
    // Fills `value` (terminated) and returns the status.
    enum host_status (*look)(const struct host_view *view, char *value, size_t size);
    const char *meaning;
    const char *remedy;
    enum host_status basic;
    enum host_status strict;
    bool of_topology; // never better than best effort on a virtualised host
};

// Cores and caches; memory; what cells cannot do; the kernel and the machine.
extern const struct host_rule host_core_rules[];
extern const struct host_rule host_memory_rules[];
extern const struct host_rule host_cell_rules[];
extern const struct host_rule host_machine_rules[];
extern const unsigned host_core_rule_count;
extern const unsigned host_memory_rule_count;
extern const unsigned host_cell_rule_count;
extern const unsigned host_machine_rule_count;

// True if the processor has a feature.
bool host_view_has_flag(const struct host_view *view, const char *flag);

// True if a fact says "yes".
bool host_view_says(const struct host_view *view, enum host_fact fact);

#endif
