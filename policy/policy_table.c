// SPDX-License-Identifier: Apache-2.0
// A policy document as compiled: checks whatever is used as an index.
#include "policy_table.h"

#include <string.h>

#include "level.h"

#define MINUTES_OF_WEEK (7u * 24 * 60)

const char *policy_action_name(unsigned action)
{
    static const char *const names[POLICY_ACTIONS] = {"allow", "deny", "redact", "hold",
                                                      "escalate"};
    return action < POLICY_ACTIONS ? names[action] : "unknown";
}

static bool range_is_sound(uint32_t first, uint32_t count, uint32_t all)
{
    return first <= all && count <= all - first;
}

static bool escalation_is_sound(uint32_t level)
{
    // Nothing but people goes beyond Offline.
    return level > LEVEL_STANDARD && level <= LEVEL_OFFLINE;
}

static bool rule_is_sound(const struct policy_arrays *arrays, const struct policy_table_rule *rule)
{
    const struct policy_table *table = arrays->table;
    return rule->request_min <= rule->request_max && rule->argument_min <= rule->argument_max &&
           range_is_sound(rule->first_condition, rule->condition_count, table->condition_count) &&
           range_is_sound(rule->first_window, rule->window_count, table->window_count) &&
           range_is_sound(rule->first_redaction, rule->redaction_count, table->redaction_count) &&
           rule->name < table->text_count && rule->levels <= 3 && rule->action < POLICY_ACTIONS &&
           rule->has_limits <= 1 &&
           (rule->action != POLICY_ACTION_ESCALATE || escalation_is_sound(rule->escalate_to));
}

static bool condition_is_sound(const struct policy_table *table,
                               const struct policy_table_condition *condition)
{
    bool texts = condition->test <= POLICY_TEST_PATTERN;
    return condition->field < POLICY_FIELDS && condition->test < POLICY_TESTS &&
           condition->negate <= 1 && condition->ignore_case <= 1 &&
           range_is_sound(condition->first_text, condition->text_count, table->text_count) &&
           (texts ? condition->text_count > 0 : condition->text_count == 0) &&
           condition->minimum <= condition->maximum;
}

static bool port_is_sound(const struct policy_table *table, const struct policy_table_port *port)
{
    return memchr(port->name, 0, sizeof(port->name)) && port->structured <= 1 &&
           range_is_sound(port->first_rule, port->rule_count, table->rule_count) &&
           (!port->denial_count || escalation_is_sound(port->denial_level));
}

static bool contents_are_sound(const struct policy_arrays *arrays)
{
    const struct policy_table *table = arrays->table;
    for (uint32_t i = 0; i < POLICY_MAX_PORTS; i++) {
        if (!port_is_sound(table, &table->ports[i]))
            return false;
    }
    for (uint32_t i = 0; i < table->rule_count; i++) {
        if (!rule_is_sound(arrays, &arrays->rules[i]))
            return false;
    }
    for (uint32_t i = 0; i < table->condition_count; i++) {
        if (!condition_is_sound(table, &arrays->conditions[i]))
            return false;
    }
    for (uint32_t i = 0; i < table->window_count; i++) {
        if (arrays->windows[i].from >= arrays->windows[i].to ||
            arrays->windows[i].to > MINUTES_OF_WEEK)
            return false;
    }
    for (uint32_t i = 0; i < table->redaction_count; i++) {
        if (arrays->redactions[i].pattern >= table->text_count ||
            !arrays->redactions[i].directions || arrays->redactions[i].directions > 3)
            return false;
    }
    for (uint32_t i = 0; i < table->text_count; i++) {
        const struct policy_table_text *text = &arrays->texts[i];
        if (text->length >= table->text_bytes || text->at >= table->text_bytes - text->length ||
            arrays->bytes[text->at + text->length])
            return false;
    }
    return true;
}

int policy_table_open(struct policy_arrays *arrays, const void *memory, uint64_t bytes,
                      struct error *err)
{
    const struct policy_table *table = memory;
    uint64_t needed = sizeof(*table);
    if (bytes < needed || bytes > POLICY_MAX_BYTES || table->bytes != bytes ||
        memcmp(table->format, POLICY_TABLE_FORMAT, sizeof(POLICY_TABLE_FORMAT)) != 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "policy: not a table of format %s",
                         POLICY_TABLE_FORMAT);
    // Sums of 32-bit numbers times small sizes: no overflow in 64 bits.
    uint64_t conditions = needed + table->rule_count * (uint64_t)sizeof(*arrays->rules);
    uint64_t windows = conditions + table->condition_count * (uint64_t)sizeof(*arrays->conditions);
    uint64_t redactions = windows + table->window_count * (uint64_t)sizeof(*arrays->windows);
    uint64_t texts = redactions + table->redaction_count * (uint64_t)sizeof(*arrays->redactions);
    uint64_t all = texts + table->text_count * (uint64_t)sizeof(*arrays->texts);
    if (all + table->text_bytes != bytes || table->rule_count > POLICY_MAX_RULES)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "policy: the table is damaged");
    const char *base = memory;
    *arrays = (struct policy_arrays){
        .table = table,
        .rules = (const void *)(base + needed),
        .conditions = (const void *)(base + conditions),
        .windows = (const void *)(base + windows),
        .redactions = (const void *)(base + redactions),
        .texts = (const void *)(base + texts),
        .bytes = base + all,
    };
    if (!contents_are_sound(arrays))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "policy: the table is damaged");
    return 0;
}

const struct policy_table_port *policy_table_find(const struct policy_arrays *arrays,
                                                  const char *name)
{
    const struct policy_table_port *ports = arrays->table->ports;
    for (uint32_t i = 0; i < POLICY_MAX_PORTS && ports[i].name[0]; i++) {
        if (!strcmp(ports[i].name, name))
            return &ports[i];
    }
    return NULL;
}
