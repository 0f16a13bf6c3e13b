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
    POLICY_RULE_CAPACITY = 5,     // over the channel capacity: wait
    POLICY_RULE_REPLY_TOTAL = 6,  // the lifetime total of reply bytes is used up
};

const char *policy_rule_name(unsigned rule);

// Compiled policy of one port.
struct port_policy {
    uint64_t operations; // bit n: operation n is granted
    uint32_t max_request_bytes;
    uint32_t operation_bytes[64]; // largest request of each operation, if port_policy_bound said so
    struct limits limits;
    struct token_bucket refusals; // denials that are answered at once; beyond them, they wait
};

// Denials that a port answers at once: enough for an honest mistake, too few to flood the audit
// log.
#define POLICY_REFUSALS_PER_S 100u
#define POLICY_REFUSALS_BURST 1000u

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
    const uint8_t *payload; // `length` bytes, or NULL if they do not fit the grant: not copied
    bool capacity_taken;    // set once the request's capacity is accounted; starts false
};

// Compiles a grant.
void port_policy_init(struct port_policy *policy, uint64_t operations, uint32_t max_request_bytes,
                      const struct limits_config *limits, uint64_t now_ns);

// Puts `policy` in the place of `from` at `now_ns`: what was used of totals, and of the denials
// that are answered at once, stays used. With `empty` its rates start from nothing.
void port_policy_follow(struct port_policy *policy, const struct port_policy *from, bool empty,
                        uint64_t now_ns);

// Bounds the requests of one operation (below 64) further.
void port_policy_bound(struct port_policy *policy, uint32_t operation, uint32_t max_bytes);

// Decides one request. No allocation, lock or system call. After POLICY_WAIT ask again with the
// same `request`: what was accounted before is not accounted twice.
struct policy_decision port_policy_decide(struct port_policy *policy,
                                          struct policy_request *request, uint64_t now_ns);

// Decides on the reply to an allowed request. POLICY_DENY (rule POLICY_RULE_REPLY_TOTAL) if the
// lifetime total of reply bytes is used up.
struct policy_decision port_policy_decide_reply(struct port_policy *policy, uint32_t length,
                                                uint64_t now_ns);

#endif
