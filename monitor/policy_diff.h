// SPDX-License-Identifier: Apache-2.0
// What one policy permits that another does not.
#ifndef MONITOR_POLICY_DIFF_H
#define MONITOR_POLICY_DIFF_H

#include <stdbool.h>

#include "policy_table.h"

// One finding. `rule` is an index in the table that it is about.
struct policy_difference {
    enum {
        POLICY_DIFFERENCE_PERMITS,   // `rule` of the new one permits what the old one may not
        POLICY_DIFFERENCE_ESCALATES, // `rule` of the old one escalates what the new one may not
        POLICY_DIFFERENCE_DENIALS,   // the port escalates later, or lower, after denials
    } kind;
    const struct policy_table_port *port;
    uint32_t rule;
};

// Calls `found` for everything in `after` that is not provably as tight as `before`. Returns how
// often that was: 0 means that `after` may be put in the place of `before` by whoever may tighten.
//
// What is proved: every request that a rule of `after` lets pass would pass `before` too, at least
// as freely. Conditions are compared as they are written; nothing is concluded from patterns but
// that equal ones are equal.
unsigned policy_diff(const struct policy_arrays *before, const struct policy_arrays *after,
                     void (*found)(void *context, const struct policy_difference *difference),
                     void *context);

#endif
