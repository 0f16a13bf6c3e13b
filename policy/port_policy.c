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

// A denial costs the model next to nothing and the audit log two records: their rate is bounded
// even where nothing else is.
static struct policy_decision deny(struct port_policy *policy, enum policy_rule rule,
                                   uint64_t now_ns)
{
    uint64_t retry_ns;
    if (!token_bucket_take(&policy->refusals, 1, now_ns, &retry_ns))
        return (struct policy_decision){POLICY_WAIT, POLICY_RULE_RATE, retry_ns};
    return (struct policy_decision){POLICY_DENY, rule, 0};
}

struct policy_decision port_policy_decide(struct port_policy *policy,
                                          const struct policy_request *request, uint64_t now_ns)
{
    uint64_t retry_ns = 0;
    if (request->operation >= 64 || !(policy->operations >> request->operation & 1))
        return deny(policy, POLICY_RULE_DEFAULT_DENY, now_ns);
    if (request->length > policy->max_request_bytes)
        return deny(policy, POLICY_RULE_REQUEST_SIZE, now_ns);
    switch (limits_take(&policy->limits, request->length, now_ns, &retry_ns)) {
    case LIMITS_PASS:
        return (struct policy_decision){POLICY_ALLOW, POLICY_RULE_GRANT, 0};
    case LIMITS_WAIT:
        return (struct policy_decision){POLICY_WAIT, POLICY_RULE_RATE, retry_ns};
    case LIMITS_EXHAUSTED:
    default:
        return deny(policy, POLICY_RULE_TOTAL, now_ns);
    }
}
