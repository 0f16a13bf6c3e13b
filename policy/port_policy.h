// SPDX-License-Identifier: Apache-2.0
// The decision on one request of a port: default deny, with the rule that made it.
#ifndef POLICY_PORT_POLICY_H
#define POLICY_PORT_POLICY_H

#include <stdint.h>

#include "port_limits.h"

// Which rule decided. Stable numbers: they stand in audit logs.
enum policy_rule {
    POLICY_RULE_DEFAULT_DENY = 0,
    POLICY_RULE_GRANT = 1,        // the operation is granted and within its limits
    POLICY_RULE_REQUEST_SIZE = 2, // payload larger than the grant allows
    POLICY_RULE_TOTAL = 3,        // a lifetime total is used up
    POLICY_RULE_RATE = 4,         // over the rate: wait
};

const char *policy_rule_name(unsigned rule);

// Compiled policy of one port.
struct port_policy {
    uint64_t operations; // bit n: operation n is granted
    uint32_t max_request_bytes;
    struct limits limits;
    struct token_bucket refusals; // denials that are answered at once; beyond them, they wait
};

enum policy_outcome {
    POLICY_ALLOW,
    POLICY_DENY,
    POLICY_WAIT,
};

struct policy_decision {
    enum policy_outcome outcome;
    enum policy_rule rule;
    uint64_t retry_ns; // for POLICY_WAIT: when to ask again
};

// What a decision looks at: the private copy of a request.
struct policy_request {
    uint32_t operation;
    uint32_t length;
};

// Decides one request. No allocation, lock or system call. POLICY_WAIT accounts nothing.
struct policy_decision port_policy_decide(struct port_policy *policy,
                                          const struct policy_request *request, uint64_t now_ns);

#endif
