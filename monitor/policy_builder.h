// SPDX-License-Identifier: Apache-2.0
// A policy table in the making.
#ifndef MONITOR_POLICY_BUILDER_H
#define MONITOR_POLICY_BUILDER_H

#include <stddef.h>

#include "policy_table.h"

struct policy_array {
    void *items;
    uint32_t count;
    uint32_t room;
};

// Starts zeroed.
struct policy_builder {
    struct policy_table_port ports[POLICY_MAX_PORTS];
    uint32_t port_count;
    struct policy_array rules;
    struct policy_array conditions;
    struct policy_array windows;
    struct policy_array redactions;
    struct policy_array texts;
    struct policy_array bytes;
};

// Each appends one element, at the index that is the array's count before. They return 0, or -1
// without memory.
int policy_builder_rule(struct policy_builder *builder, const struct policy_table_rule *rule,
                        struct error *err);
int policy_builder_condition(struct policy_builder *builder,
                             const struct policy_table_condition *condition, struct error *err);
int policy_builder_window(struct policy_builder *builder, const struct policy_table_window *window,
                          struct error *err);
int policy_builder_redaction(struct policy_builder *builder,
                             const struct policy_table_redaction *redaction, struct error *err);
int policy_builder_text(struct policy_builder *builder, const char *text, size_t length,
                        struct error *err);

// Makes the table: one piece of memory of *bytes bytes that the caller frees. NULL without memory.
void *policy_builder_finish(const struct policy_builder *builder, uint64_t *bytes,
                            struct error *err);

void policy_builder_free(struct policy_builder *builder);

#endif
