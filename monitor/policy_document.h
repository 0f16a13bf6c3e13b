// SPDX-License-Identifier: Apache-2.0
// The policy document (guillotine-policy/1): read, checked, compiled (docs/policy.md).
#ifndef MONITOR_POLICY_DOCUMENT_H
#define MONITOR_POLICY_DOCUMENT_H

#include "json_text.h"
#include "policy_table.h"

#define POLICY_DOCUMENT_FORMAT "guillotine-policy/1"

// A compiled document. Starts zeroed.
struct policy_document {
    void *memory; // the table
    uint64_t bytes;
    struct policy_arrays arrays; // of it
};

// Reads and compiles. Refusals have status EXIT_STATUS_BAD_FILE and a one-line message with file,
// line, column and JSON pointer.
int policy_document_load(const char *path, struct policy_document *document, struct error *err);
int policy_document_parse(const char *name, const char *text, size_t length,
                          struct policy_document *document, struct error *err);
// The same for a document that is a part of another one.
int policy_document_read(const struct json_place *place, struct policy_document *document,
                         struct error *err);

void policy_document_free(struct policy_document *document);

// Name of a field of a kind of port; NULL if there is none of that number.
const char *policy_field_name(uint32_t kind, uint32_t field);
// Its number, or -1.
int policy_field_number(uint32_t kind, const char *name);

// The name of a rule, as text.
const char *policy_rule_text(const struct policy_arrays *arrays, uint32_t rule);

#endif
