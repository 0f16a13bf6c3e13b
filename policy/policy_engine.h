// SPDX-License-Identifier: Apache-2.0
// Decides the requests of one port by the rules of a policy table: the first that matches counts.
#ifndef POLICY_POLICY_ENGINE_H
#define POLICY_POLICY_ENGINE_H

#include "clock.h"
#include "policy_pattern.h"
#include "policy_table.h"

struct policy_engine;

// What rules look at: the private copy of a request.
struct policy_view {
    uint32_t operation;
    uint32_t argument;
    uint32_t length;
    const uint8_t *payload; // `length` bytes; may be NULL without any
};

enum policy_finding {
    POLICY_FINDING_RULE,      // `rule` matched
    POLICY_FINDING_NONE,      // no rule did: denied
    POLICY_FINDING_MALFORMED, // the payload is not made of fields: denied
    POLICY_FINDING_EFFORT,    // a search would have taken too long: denied
    POLICY_FINDING_WAIT,      // `rule` matched and is over its rate: ask again at retry_ns
    POLICY_FINDING_EXHAUSTED, // `rule` matched and its total is used up: denied
};

struct policy_result {
    enum policy_finding finding;
    enum policy_action action; // of the rule
    uint32_t rule;             // its index in the table
    uint32_t escalate_to;      // level, or 0
    uint64_t retry_ns;
    uint64_t hold_ns; // of a rule that holds
};

// Makes an engine for one port in `memory`: everything that deciding needs is taken here, without a
// system call. `arrays` is copied, the table behind it is borrowed. A port without a section denies
// everything. The clock serves rules with hours. Returns NULL and sets *err on failure.
struct policy_engine *policy_engine_create(const struct policy_arrays *arrays, const char *port,
                                           const struct clock *clock, struct policy_memory *memory,
                                           struct error *err);

// Decides one request at Standard, or at Probation. No allocation, lock or system call. `taken` is
// the request's own and starts at 0: what was accounted before POLICY_FINDING_WAIT is not accounted
// twice.
struct policy_result policy_engine_decide(struct policy_engine *engine,
                                          const struct policy_view *view, bool probation,
                                          uint64_t now_ns, uint32_t *taken);

// Why a rule does not match a request.
enum policy_reason {
    POLICY_REASON_MATCHES,
    POLICY_REASON_OPERATION,
    POLICY_REASON_LEVEL,
    POLICY_REASON_REQUEST_BYTES,
    POLICY_REASON_ARGUMENT,
    POLICY_REASON_HOURS,
    POLICY_REASON_CONDITION, // *condition does not hold
    POLICY_REASON_EFFORT,    // a search would have taken too long
};

// Says of one rule of the engine's port what policy_engine_decide makes of it, for people.
enum policy_reason policy_engine_explain(struct policy_engine *engine,
                                         const struct policy_view *view, bool probation,
                                         uint32_t rule, uint32_t *condition);

// Blots out, with '*', what the redactions of a rule find in a request or a reply: in each field by
// itself, where payloads are made of fields. Returns false if that cannot be done within the bounds
// of a search, or if the payload is not made of fields: then nothing of it may pass.
bool policy_engine_redact(struct policy_engine *engine, uint32_t rule,
                          enum policy_direction direction, uint8_t *bytes, uint32_t length);

// True if some rule of the port holds requests.
bool policy_engine_holds(const struct policy_engine *engine);

// Counts a denial. Returns the level to escalate to, or 0.
uint32_t policy_engine_count_denial(struct policy_engine *engine, uint64_t now_ns);

// Goes on with what `from` has used of the totals of rules of the same name, and with its denials.
// Rates start from nothing.
void policy_engine_follow(struct policy_engine *engine, const struct policy_engine *from,
                          uint64_t now_ns);

#endif
