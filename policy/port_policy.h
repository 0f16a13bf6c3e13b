// SPDX-License-Identifier: Apache-2.0
// The decision on one request of a port: default deny, with the rule that made it.
#ifndef POLICY_PORT_POLICY_H
#define POLICY_PORT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "port_limits.h"

// Which rule decided. Stable numbers: they stand in audit logs.
enum policy_rule {
    POLICY_RULE_DEFAULT_DENY = 0,
    POLICY_RULE_GRANT = 1,          // the operation is granted and within its limits
    POLICY_RULE_REQUEST_SIZE = 2,   // payload larger than the grant allows
    POLICY_RULE_TOTAL = 3,          // a lifetime total is used up
    POLICY_RULE_RATE = 4,           // over the rate: wait
    POLICY_RULE_CAPACITY = 5,       // over the channel capacity: wait
    POLICY_RULE_REPLY_TOTAL = 6,    // the lifetime total of reply bytes is used up
    POLICY_RULE_MALFORMED = 7,      // the payload is not made of fields
    POLICY_RULE_EFFORT = 8,         // a search would have taken too long
    POLICY_RULE_DOCUMENT = 0x10000, // and above: rule 0, 1, ... of the policy document
};

// The name of a rule above; "document" for those of the policy document.
const char *policy_rule_name(unsigned rule);

struct policy_engine;

// Compiled policy of one port at one level.
struct port_policy {
    uint64_t operations; // bit n: operation n is granted
    uint32_t max_request_bytes;
    uint32_t operation_bytes[64]; // largest request of each operation, if port_policy_bound said so
    struct limits limits;
    struct policy_engine *engine; // the document's rules, asked too; NULL: there is no document
    bool probation;               // it is the policy of that level
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
    POLICY_HOLD, // until somebody approves it
};

struct policy_decision {
    enum policy_outcome outcome;
    uint32_t rule;        // enum policy_rule
    uint64_t retry_ns;    // for POLICY_WAIT: when to ask again
    uint64_t hold_ns;     // for POLICY_HOLD: how long it may wait
    uint32_t escalate_to; // level to go to, or 0
    bool redacts;         // what the rule says has to be blotted out, in request and reply
};

// What a decision looks at: the private copy of a request.
struct policy_request {
    uint32_t operation;
    uint32_t argument;
    uint32_t length;
    const uint8_t *payload; // `length` bytes, or NULL if they do not fit the grant: not copied
    bool capacity_taken;    // set once the request's capacity is accounted; starts false
    uint32_t rule_taken;    // of policy_engine_decide; starts 0
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

// Decides one request: the grant, the rules of the document, the limits. No allocation, lock or
// system call. After POLICY_WAIT ask again with the same `request`: what was accounted before is
// not accounted twice.
struct policy_decision port_policy_decide(struct port_policy *policy,
                                          struct policy_request *request, uint64_t now_ns);

// Decides once more on a request that was held and is approved, if another level has come since:
// what that denies, nobody can approve. POLICY_HOLD means that it may pass. Limits are not asked
// again.
struct policy_decision port_policy_decide_approved(struct port_policy *policy,
                                                   struct policy_request *request, uint64_t now_ns);

// Decides on what somebody outside sends to the guest: by the rules of the document, if there is
// one. After POLICY_WAIT ask again with the same `request`.
struct policy_decision port_policy_decide_inward(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns);

// Decides on the reply to an allowed request. POLICY_DENY (rule POLICY_RULE_REPLY_TOTAL) if the
// lifetime total of reply bytes is used up.
struct policy_decision port_policy_decide_reply(struct port_policy *policy, uint32_t length,
                                                uint64_t now_ns);

#endif
