// SPDX-License-Identifier: Apache-2.0
// A policy document as compiled: one immutable piece of memory, the same for everybody who decides.
//
// The supervisor compiles the document (monitor/policy_compile.c). VMM and backend processes map
// the result read-only, check every index in it once, and decide with policy_engine.h.
#ifndef POLICY_POLICY_TABLE_H
#define POLICY_POLICY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "port_limits.h"

#define POLICY_TABLE_FORMAT "guillotine-policy/1"

#define POLICY_MAX_BYTES    (4u << 20) // of a table, of a document
#define POLICY_MAX_PORTS    16u
#define POLICY_MAX_RULES    4096u // in all
#define POLICY_MAX_PATTERNS 1024u // of one port

// What a rule does with a request that it matches.
enum policy_action {
    POLICY_ACTION_ALLOW = 0,
    POLICY_ACTION_DENY = 1,
    POLICY_ACTION_REDACT = 2, // allow, with what its patterns find blotted out
    POLICY_ACTION_HOLD = 3,   // until somebody approves or rejects it
    POLICY_ACTION_ESCALATE = 4,
    POLICY_ACTIONS,
};

// How a condition compares a field.
enum policy_test {
    POLICY_TEST_EQUALS = 0, // one of the texts
    POLICY_TEST_PREFIX = 1,
    POLICY_TEST_SUFFIX = 2,
    POLICY_TEST_CONTAINS = 3,
    POLICY_TEST_PATTERN = 4, // a regular expression finds something
    POLICY_TEST_PRESENT = 5,
    POLICY_TEST_NUMBER = 6, // a number from `minimum` to `maximum`
    POLICY_TESTS,
};

// Field numbers are those of port_fields_abi.h; 0 is the whole payload.
#define POLICY_FIELD_PAYLOAD 0u
#define POLICY_FIELDS        16u

// All indices count elements of the array that they point into.
struct policy_table_rule {
    uint64_t operations; // bit n: operation n
    uint32_t request_min;
    uint32_t request_max; // payload bytes
    uint32_t argument_min;
    uint32_t argument_max;
    uint32_t first_condition;
    uint32_t condition_count; // all of them have to hold
    uint32_t first_window;
    uint32_t window_count; // one of them has to hold; none: always
    uint32_t first_redaction;
    uint32_t redaction_count;
    uint32_t name; // text
    uint32_t hold_ms;
    uint8_t levels; // bit 0: Standard, bit 1: Probation
    uint8_t action; // enum policy_action
    uint8_t escalate_to;
    uint8_t has_limits;
    uint32_t pad;
    struct limits_config limits;
};

struct policy_table_condition {
    uint8_t field;
    uint8_t test; // enum policy_test
    uint8_t negate;
    uint8_t ignore_case; // of ASCII letters
    uint32_t first_text;
    uint32_t text_count;
    uint32_t pad;
    uint64_t minimum;
    uint64_t maximum;
};

// Minutes of the week in UTC, from Monday 00:00; the end is not part of it.
struct policy_table_window {
    uint32_t from;
    uint32_t to;
};

enum policy_direction {
    POLICY_DIRECTION_REQUEST = 1,
    POLICY_DIRECTION_REPLY = 2,
};

struct policy_table_redaction {
    uint32_t pattern; // text
    uint32_t directions;
};

struct policy_table_text {
    uint32_t at; // in the bytes behind the arrays; a zero follows each
    uint32_t length;
};

struct policy_table_port {
    char name[32]; // empty: the table has no more ports
    uint32_t kind;
    uint32_t first_rule;
    uint32_t rule_count;
    uint32_t denial_count; // that many denials
    uint64_t denial_ns;    // within this time escalate to
    uint32_t denial_level; // this level; denial_count 0: never
    uint32_t structured;   // 1: payloads are made of fields
};

struct policy_table {
    char format[24];
    uint64_t bytes; // of everything
    uint32_t rule_count;
    uint32_t condition_count;
    uint32_t window_count;
    uint32_t redaction_count;
    uint32_t text_count;
    uint32_t text_bytes;
    struct policy_table_port ports[POLICY_MAX_PORTS];
    // Behind it: rules, conditions, windows, redactions, texts, bytes.
};
_Static_assert(sizeof(struct policy_table) % 8 == 0, "rules are aligned");
_Static_assert(sizeof(struct policy_table_rule) % 8 == 0, "conditions are aligned");
_Static_assert(sizeof(struct policy_table_condition) == 32, "windows are aligned");

// The arrays of a table.
struct policy_arrays {
    const struct policy_table *table;
    const struct policy_table_rule *rules;
    const struct policy_table_condition *conditions;
    const struct policy_table_window *windows;
    const struct policy_table_redaction *redactions;
    const struct policy_table_text *texts;
    const char *bytes;
};

// Finds the arrays of a table of `bytes` bytes that nobody changes any more, and checks every
// index, number and text in it. The arrays point into it.
int policy_table_open(struct policy_arrays *arrays, const void *table, uint64_t bytes,
                      struct error *err);

// The section of a port; NULL if the table has none: then everything is denied.
const struct policy_table_port *policy_table_find(const struct policy_arrays *arrays,
                                                  const char *name);

const char *policy_action_name(unsigned action);

#endif
