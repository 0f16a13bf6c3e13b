// SPDX-License-Identifier: Apache-2.0
// The decision on one request of a port.
#include "port_policy.h"

#include "policy_engine.h"

const char *policy_rule_name(unsigned rule)
{
    static const char *const names[] = {
        "default-deny", "grant",       "request-size", "total",  "rate",
        "capacity",     "reply-total", "malformed",    "effort",
    };
    if (rule >= POLICY_RULE_DOCUMENT && rule - POLICY_RULE_DOCUMENT < POLICY_MAX_RULES)
        return "document";
    return rule < sizeof(names) / sizeof(names[0]) ? names[rule] : "unknown";
}

static struct policy_decision outcome(enum policy_outcome outcome, uint32_t rule)
{
    return (struct policy_decision){.outcome = outcome, .rule = rule};
}

static struct policy_decision wait(uint32_t rule, uint64_t retry_ns)
{
    struct policy_decision decision = outcome(POLICY_WAIT, rule);
    decision.retry_ns = retry_ns;
    return decision;
}

// A denial costs the model next to nothing and the audit log two records: their rate is bounded
// even where nothing else is.
static struct policy_decision deny(struct port_policy *policy, uint32_t rule, uint64_t now_ns)
{
    uint64_t retry_ns;
    if (!token_bucket_take(&policy->refusals, 1, now_ns, &retry_ns))
        return wait(POLICY_RULE_RATE, retry_ns);
    struct policy_decision decision = outcome(POLICY_DENY, rule);
    if (policy->engine)
        decision.escalate_to = policy_engine_count_denial(policy->engine, now_ns);
    return decision;
}

// What the document says. POLICY_ALLOW and POLICY_HOLD are subject to the limits.
static struct policy_decision ask_document(struct port_policy *policy,
                                           struct policy_request *request, uint64_t now_ns)
{
    const struct policy_view view = {
        .operation = request->operation,
        .argument = request->argument,
        .length = request->length,
        .payload = request->payload,
    };
    struct policy_result result = policy_engine_decide(policy->engine, &view, policy->probation,
                                                       now_ns, &request->rule_taken);
    uint32_t rule = POLICY_RULE_DOCUMENT + result.rule;
    struct policy_decision decision = outcome(POLICY_ALLOW, rule);
    switch (result.finding) {
    case POLICY_FINDING_RULE:
        break;
    case POLICY_FINDING_WAIT:
        return wait(rule, result.retry_ns);
    case POLICY_FINDING_EXHAUSTED:
        return deny(policy, rule, now_ns);
    case POLICY_FINDING_MALFORMED:
        return deny(policy, POLICY_RULE_MALFORMED, now_ns);
    case POLICY_FINDING_EFFORT:
        return deny(policy, POLICY_RULE_EFFORT, now_ns);
    case POLICY_FINDING_NONE:
    default:
        return deny(policy, POLICY_RULE_DEFAULT_DENY, now_ns);
    }
    switch (result.action) {
    case POLICY_ACTION_ALLOW:
        return decision;
    case POLICY_ACTION_REDACT:
        decision.redacts = true;
        return decision;
    case POLICY_ACTION_HOLD:
        decision.outcome = POLICY_HOLD;
        decision.hold_ns = result.hold_ns;
        return decision;
    case POLICY_ACTION_ESCALATE:
        // At once, however many denials there were: the level goes before the answer.
        decision = outcome(POLICY_DENY, rule);
        decision.escalate_to = result.escalate_to;
        return decision;
    case POLICY_ACTION_DENY:
    case POLICY_ACTIONS:
    default:
        return deny(policy, rule, now_ns);
    }
}

void port_policy_init(struct port_policy *policy, uint64_t operations, uint32_t max_request_bytes,
                      const struct limits_config *limits, uint64_t now_ns)
{
    *policy = (struct port_policy){
        .operations = operations,
        .max_request_bytes = max_request_bytes,
    };
    for (unsigned i = 0; i < 64; i++)
        policy->operation_bytes[i] = max_request_bytes;
    limits_init(&policy->limits, limits, now_ns);
    token_bucket_init(&policy->refusals, POLICY_REFUSALS_PER_S, POLICY_REFUSALS_BURST, now_ns);
}

void port_policy_follow(struct port_policy *policy, const struct port_policy *from, bool empty,
                        uint64_t now_ns)
{
    limits_carry(&policy->limits, &from->limits);
    policy->refusals = from->refusals;
    if (empty)
        limits_empty(&policy->limits, now_ns);
}

void port_policy_bound(struct port_policy *policy, uint32_t operation, uint32_t max_bytes)
{
    if (operation < 64 && max_bytes < policy->operation_bytes[operation])
        policy->operation_bytes[operation] = max_bytes;
}

struct policy_decision port_policy_decide(struct port_policy *policy,
                                          struct policy_request *request, uint64_t now_ns)
{
    uint64_t retry_ns = 0;
    // What was copied can be seen even if it is larger than the limits of this level.
    bool fits = request->payload || request->length <= policy->max_request_bytes;
    // First, since a denial tells an observer as much as a request that passes. What does not fit
    // is never copied: only its header can be seen.
    if (!request->capacity_taken &&
        limits_take_capacity(&policy->limits, fits ? request->length : 0, now_ns, &retry_ns) !=
            LIMITS_PASS)
        return wait(POLICY_RULE_CAPACITY, retry_ns);
    request->capacity_taken = true;
    if (request->operation >= 64 || !(policy->operations >> request->operation & 1))
        return deny(policy, POLICY_RULE_DEFAULT_DENY, now_ns);
    if (request->length > policy->operation_bytes[request->operation])
        return deny(policy, POLICY_RULE_REQUEST_SIZE, now_ns);
    struct policy_decision decision = outcome(POLICY_ALLOW, POLICY_RULE_GRANT);
    if (policy->engine)
        decision = ask_document(policy, request, now_ns);
    if (decision.outcome != POLICY_ALLOW && decision.outcome != POLICY_HOLD)
        return decision;
    switch (limits_take(&policy->limits, request->length, now_ns, &retry_ns)) {
    case LIMITS_PASS:
        return decision;
    case LIMITS_WAIT:
        return wait(POLICY_RULE_RATE, retry_ns);
    case LIMITS_EXHAUSTED:
    default:
        return deny(policy, POLICY_RULE_TOTAL, now_ns);
    }
}

struct policy_decision port_policy_decide_approved(struct port_policy *policy,
                                                   struct policy_request *request, uint64_t now_ns)
{
    if (request->length > policy->operation_bytes[request->operation])
        return deny(policy, POLICY_RULE_REQUEST_SIZE, now_ns);
    if (!policy->engine)
        return outcome(POLICY_ALLOW, POLICY_RULE_GRANT);
    return ask_document(policy, request, now_ns);
}

struct policy_decision port_policy_decide_inward(struct port_policy *policy,
                                                 struct policy_request *request, uint64_t now_ns)
{
    return policy->engine ? ask_document(policy, request, now_ns)
                          : outcome(POLICY_ALLOW, POLICY_RULE_GRANT);
}

struct policy_decision port_policy_decide_reply(struct port_policy *policy, uint32_t length,
                                                uint64_t now_ns)
{
    uint64_t retry_ns = 0;
    switch (limits_take_reply(&policy->limits, length, now_ns, &retry_ns)) {
    case LIMITS_PASS:
        return outcome(POLICY_ALLOW, POLICY_RULE_GRANT);
    case LIMITS_WAIT:
        return wait(POLICY_RULE_RATE, retry_ns);
    case LIMITS_EXHAUSTED:
    default:
        return outcome(POLICY_DENY, POLICY_RULE_REPLY_TOTAL);
    }
}
