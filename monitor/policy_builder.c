// SPDX-License-Identifier: Apache-2.0
// A policy table in the making.
#include "policy_builder.h"

#include <stdlib.h>
#include <string.h>

static int append(struct policy_array *array, const void *items, size_t size, size_t count,
                  struct error *err)
{
    if (count > POLICY_MAX_BYTES || array->count + count > POLICY_MAX_BYTES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the policy is too large");
    if (array->count + count > array->room) {
        uint32_t room = 2 * (uint32_t)(array->count + count);
        void *grown = realloc(array->items, room * size);
        if (!grown)
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for the policy");
        array->items = grown;
        array->room = room;
    }
    memcpy((char *)array->items + array->count * size, items, count * size);
    array->count += (uint32_t)count;
    return 0;
}

int policy_builder_rule(struct policy_builder *builder, const struct policy_table_rule *rule,
                        struct error *err)
{
    return append(&builder->rules, rule, sizeof(*rule), 1, err);
}

int policy_builder_condition(struct policy_builder *builder,
                             const struct policy_table_condition *condition, struct error *err)
{
    return append(&builder->conditions, condition, sizeof(*condition), 1, err);
}

int policy_builder_window(struct policy_builder *builder, const struct policy_table_window *window,
                          struct error *err)
{
    return append(&builder->windows, window, sizeof(*window), 1, err);
}

int policy_builder_redaction(struct policy_builder *builder,
                             const struct policy_table_redaction *redaction, struct error *err)
{
    return append(&builder->redactions, redaction, sizeof(*redaction), 1, err);
}

int policy_builder_text(struct policy_builder *builder, const char *text, size_t length,
                        struct error *err)
{
    const struct policy_table_text entry = {builder->bytes.count, (uint32_t)length};
    if (append(&builder->bytes, text, 1, length, err) < 0 ||
        append(&builder->bytes, "", 1, 1, err) < 0)
        return -1;
    return append(&builder->texts, &entry, sizeof(entry), 1, err);
}

void *policy_builder_finish(const struct policy_builder *builder, uint64_t *bytes,
                            struct error *err)
{
    const struct {
        const struct policy_array *array;
        size_t size;
    } parts[] = {
        {&builder->rules, sizeof(struct policy_table_rule)},
        {&builder->conditions, sizeof(struct policy_table_condition)},
        {&builder->windows, sizeof(struct policy_table_window)},
        {&builder->redactions, sizeof(struct policy_table_redaction)},
        {&builder->texts, sizeof(struct policy_table_text)},
        {&builder->bytes, 1},
    };
    struct policy_table table = {
        .format = POLICY_TABLE_FORMAT,
        .bytes = sizeof(table),
        .rule_count = builder->rules.count,
        .condition_count = builder->conditions.count,
        .window_count = builder->windows.count,
        .redaction_count = builder->redactions.count,
        .text_count = builder->texts.count,
        .text_bytes = builder->bytes.count,
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        table.bytes += parts[i].array->count * parts[i].size;
    memcpy(table.ports, builder->ports, sizeof(table.ports));
    char *memory = table.bytes <= POLICY_MAX_BYTES ? malloc(table.bytes) : NULL;
    if (!memory) {
        error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for the policy");
        return NULL;
    }
    memcpy(memory, &table, sizeof(table));
    char *at = memory + sizeof(table);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t length = parts[i].array->count * parts[i].size;
        if (length)
            memcpy(at, parts[i].array->items, length);
        at += length;
    }
    *bytes = table.bytes;
    return memory;
}

void policy_builder_free(struct policy_builder *builder)
{
    free(builder->rules.items);
    free(builder->conditions.items);
    free(builder->windows.items);
    free(builder->redactions.items);
    free(builder->texts.items);
    free(builder->bytes.items);
    *builder = (struct policy_builder){0};
}
