// SPDX-License-Identifier: Apache-2.0
// Requests as operators write them down, decided without a VM.
#ifndef MONITOR_POLICY_QUESTION_H
#define MONITOR_POLICY_QUESTION_H

#include "policy_document.h"
#include "policy_engine.h"

// One request to one policy. Starts zeroed.
struct policy_question {
    const struct policy_document *document;
    const struct policy_table_port *port; // NULL: the policy has no section for it
    struct policy_memory memory;          // of the engine
    struct policy_engine *engine;
    struct policy_view view;
    uint8_t *payload; // owned
    uint32_t room;
    bool probation;
    uint64_t wall_ns; // 0: now
    struct clock clock;
};

// Reads a request: a JSON object, or "@FILE". The document is borrowed.
int policy_question_parse(struct policy_question *question, const struct policy_document *document,
                          const char *text, struct error *err);
void policy_question_free(struct policy_question *question);

struct policy_result policy_question_decide(const struct policy_question *question);
enum policy_reason policy_question_explain(const struct policy_question *question, uint32_t rule,
                                           uint32_t *condition);

// "allow", "deny", ...; and the name of the rule, or of what decided without one.
const char *policy_result_name(const struct policy_result *result);
const char *policy_result_rule(const struct policy_arrays *arrays,
                               const struct policy_result *result);

struct policy_case {
    const char *name;
    bool passed;
    const char *outcome;
    const char *rule;
};

// Decides the requests of a file of cases, and calls `tell` for each.
int policy_cases_run(const char *path, const struct policy_document *document,
                     void (*tell)(void *context, const struct policy_case *tested), void *context,
                     unsigned *passed, unsigned *failed, struct error *err);

#endif
