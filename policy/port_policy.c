// SPDX-License-Identifier: Apache-2.0
// The decision on one request of a port.
#include "port_policy.h"

const char *policy_rule_name(unsigned rule)
{
    static const char *const names[] = {
        "default-deny", "grant", "request-size", "total", "rate",
    };
    return rule < sizeof(names) / sizeof(names[0]) ? names[rule] : "unknown";
}

struct policy_decision port_policy_decide(struct port_policy *policy,
                                          const struct policy_request *request, uint64_t now_ns)
{
    struct policy_decision decision = {POLICY_DENY, POLICY_RULE_DEFAULT_DENY, 0};
    if (request->operation >= 64 || !(policy->operations >> request->operation & 1))
        return decision;
    if (request->length > policy->max_request_bytes) {
        decision.rule = POLICY_RULE_REQUEST_SIZE;
        return decision;
    }
    switch (limits_take(&policy->limits, request->length, now_ns, &decision.retry_ns)) {
    case LIMITS_PASS:
        return (struct policy_decision){POLICY_ALLOW, POLICY_RULE_GRANT, 0};
    case LIMITS_WAIT:
        decision.outcome = POLICY_WAIT;
        decision.rule = POLICY_RULE_RATE;
        return decision;
    case LIMITS_EXHAUSTED:
    default:
        decision.rule = POLICY_RULE_TOTAL;
        return decision;
    }
}
