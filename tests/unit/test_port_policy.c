// SPDX-License-Identifier: Apache-2.0
// Decisions on requests: default deny, and the rule that made each one.
#include <criterion/criterion.h>
#include <string.h>

#include "audit_record.h"
#include "port_policy.h"
#include "support.h"

static struct port_policy policy_of(uint64_t operations, uint32_t max_bytes,
                                    const struct limits_config *config)
{
    struct port_policy policy;
    port_policy_init(&policy, operations, max_bytes, config, 0);
    return policy;
}

static struct policy_decision decide(struct port_policy *policy, uint32_t operation,
                                     uint32_t length, uint64_t now)
{
    struct policy_request request = {.operation = operation, .length = length};
    return port_policy_decide(policy, &request, now);
}

// Exactly the granted bits pass, alone, in pairs and at random; numbers from 64 on never do.
Test(port_policy, default_deny)
{
    const struct limits_config none = {0};
    static const uint32_t beyond[] = {64,        65, 127, 128, 1u << 16, 1u << 31, UINT32_MAX - 62,
                                      UINT32_MAX};
    struct random random = random_start(21);
    for (unsigned round = 0; round < 400; round++) {
        uint64_t grant = round == 0    ? 0
                         : round == 1  ? UINT64_MAX
                         : round <= 65 ? 1ull << (round - 2)
                                       : random_next(&random);
        struct port_policy policy = policy_of(grant, 100, &none);
        for (uint32_t operation = 0; operation < 64; operation++) {
            struct policy_decision decision = decide(&policy, operation, 10, 0);
            bool granted = grant >> operation & 1;
            cr_assert_eq(decision.outcome, granted ? POLICY_ALLOW : POLICY_DENY);
            cr_assert_eq(decision.rule, granted ? POLICY_RULE_GRANT : POLICY_RULE_DEFAULT_DENY);
        }
        for (size_t i = 0; i < COUNT(beyond); i++) {
            struct policy_decision decision = decide(&policy, beyond[i], 10, 0);
            cr_assert_eq(decision.outcome, POLICY_DENY);
            cr_assert_eq(decision.rule, POLICY_RULE_DEFAULT_DENY);
        }
    }
}

Test(port_policy, size)
{
    const struct limits_config none = {0};
    struct port_policy policy = policy_of(2, 100, &none);
    cr_expect_eq(decide(&policy, 1, 100, 0).outcome, POLICY_ALLOW);
    struct policy_decision decision = decide(&policy, 1, 101, 0);
    cr_expect_eq(decision.outcome, POLICY_DENY);
    cr_expect_eq(decision.rule, POLICY_RULE_REQUEST_SIZE);
    cr_expect_eq(decide(&policy, 1, UINT32_MAX, 0).rule, POLICY_RULE_REQUEST_SIZE);
    // What is not granted is not granted, whatever its size.
    cr_expect_eq(decide(&policy, 0, 101, 0).rule, POLICY_RULE_DEFAULT_DENY);
}

Test(port_policy, totals_and_rates)
{
    struct port_policy policy =
        policy_of(2, 100, &(struct limits_config){.requests_per_s = 1, .requests_total = 2});
    cr_expect_eq(decide(&policy, 1, 1, 0).outcome, POLICY_ALLOW);
    struct policy_decision decision = decide(&policy, 1, 1, 0);
    cr_expect_eq(decision.outcome, POLICY_WAIT);
    cr_expect_eq(decision.rule, POLICY_RULE_RATE);
    cr_expect_gt(decision.retry_ns, 0u);
    cr_expect_eq(decide(&policy, 1, 1, decision.retry_ns).outcome, POLICY_ALLOW);
    decision = decide(&policy, 1, 1, decision.retry_ns);
    cr_expect_eq(decision.outcome, POLICY_DENY);
    cr_expect_eq(decision.rule, POLICY_RULE_TOTAL);
}

// What is refused costs the model's budget nothing.
Test(port_policy, refusals_account_nothing)
{
    struct port_policy policy = policy_of(
        2, 100,
        &(struct limits_config){.requests_per_s = 1, .requests_total = 9, .bytes_total = 9});
    struct limits before = policy.limits;
    decide(&policy, 0, 1, 0);
    decide(&policy, 1, 101, 0);
    decide(&policy, 1, 10, 0);
    decide(&policy, 99, 1, 0);
    cr_expect_eq(memcmp(&before, &policy.limits, sizeof(before)), 0);
}

// Denials are answered at once up to a burst, then at a rate: they wait, and are denied all the
// same.
Test(port_policy, refusals_have_a_rate)
{
    const struct limits_config none = {0};
    struct port_policy policy = policy_of(2, 100, &none);
    uint64_t now = 0;
    for (unsigned i = 0; i < POLICY_REFUSALS_BURST; i++)
        cr_assert_eq(decide(&policy, i % 2 ? 99 : 1, i % 2 ? 1 : 101, now).outcome, POLICY_DENY);
    for (unsigned i = 0; i < 50; i++) {
        struct policy_decision decision = decide(&policy, 99, 1, now);
        cr_assert_eq(decision.outcome, POLICY_WAIT);
        cr_assert_eq(decision.rule, POLICY_RULE_RATE);
        cr_assert_gt(decision.retry_ns, now);
        // Who asks for what is granted is not held back by that.
        cr_assert_eq(decide(&policy, 1, 1, now).outcome, POLICY_ALLOW);
        now = decision.retry_ns;
        decision = decide(&policy, 99, 1, now);
        cr_assert_eq(decision.outcome, POLICY_DENY);
        cr_assert_eq(decision.rule, POLICY_RULE_DEFAULT_DENY);
    }
    cr_expect_leq(now, 50 * (1000000000ull / POLICY_REFUSALS_PER_S) + 50);
}

// Every request is charged what it tells, once: before anything else is asked, and not again when
// it waits for something else.
Test(port_policy, capacity_is_charged_once)
{
    const struct limits_config config = {
        .capacity_bits_per_s = 10000, .requests_per_s = 1, .request_burst = 1};
    struct port_policy policy = policy_of(2, 100, &config);
    const int64_t micro = 1000000;
    int64_t level = policy.limits.capacity.level;
    cr_expect_eq(decide(&policy, 1, 10, 0).outcome, POLICY_ALLOW);
    level -= (int64_t)limits_request_bits(10) * micro;
    cr_expect_eq(policy.limits.capacity.level, level);
    struct policy_request request = {.operation = 1, .length = 20};
    for (int i = 0; i < 10; i++) {
        struct policy_decision decision = port_policy_decide(&policy, &request, 0);
        cr_expect_eq(decision.outcome, POLICY_WAIT);
        cr_expect_eq(decision.rule, POLICY_RULE_RATE);
    }
    level -= (int64_t)limits_request_bits(20) * micro;
    cr_expect_eq(policy.limits.capacity.level, level);
    // Denied requests tell as much; of what is too large only the header is seen.
    decide(&policy, 7, 30, 0);
    level -= (int64_t)limits_request_bits(30) * micro;
    cr_expect_eq(policy.limits.capacity.level, level);
    decide(&policy, 1, 101, 0);
    level -= (int64_t)limits_request_bits(0) * micro;
    cr_expect_eq(policy.limits.capacity.level, level);
    cr_expect_eq(limits_request_bits(0), 256u);
}

Test(port_policy, capacity_makes_requests_wait)
{
    struct port_policy policy =
        policy_of(2, 100, &(struct limits_config){.capacity_bits_per_s = 256});
    cr_expect_eq(decide(&policy, 99, 0, 0).outcome, POLICY_DENY);
    struct policy_decision decision = decide(&policy, 1, 0, 0);
    cr_expect_eq(decision.outcome, POLICY_WAIT);
    cr_expect_eq(decision.rule, POLICY_RULE_CAPACITY);
    cr_expect_eq(decision.retry_ns, 1000000000u);
    cr_expect_eq(decide(&policy, 1, 0, 1000000000).outcome, POLICY_ALLOW);
}

Test(port_policy, replies)
{
    struct port_policy policy = policy_of(
        2, 100, &(struct limits_config){.reply_bytes_per_s = 100, .reply_bytes_total = 250});
    cr_expect_eq(port_policy_decide_reply(&policy, 100, 0).outcome, POLICY_ALLOW);
    struct policy_decision decision = port_policy_decide_reply(&policy, 50, 0);
    cr_expect_eq(decision.outcome, POLICY_WAIT);
    cr_expect_eq(decision.rule, POLICY_RULE_RATE);
    cr_expect_eq(decision.retry_ns, 500000000u);
    cr_expect_eq(port_policy_decide_reply(&policy, 50, 500000000).outcome, POLICY_ALLOW);
    decision = port_policy_decide_reply(&policy, 101, 500000000);
    cr_expect_eq(decision.outcome, POLICY_DENY);
    cr_expect_eq(decision.rule, POLICY_RULE_REPLY_TOTAL);
    cr_expect_eq(port_policy_decide_reply(&policy, 100, 9000000000).outcome, POLICY_ALLOW);
    cr_expect_eq(port_policy_decide_reply(&policy, 1, 99000000000).outcome, POLICY_DENY);
}

// Numbers and names stand in audit logs: they never change.
Test(port_policy, stable_names)
{
    static const char *const rules[] = {"default-deny", "grant",    "request-size", "total",
                                        "rate",         "capacity", "reply-total"};
    static const char *const types[] = {"none",    "start",       "request", "completion",
                                        "anomaly", "port-closed", "level",   "violation",
                                        "end",     "backend",     "order"};
    static const char *const sources[] = {"supervisor", "vmm", "backend"};
    static const char *const events[] = {"none",   "up",       "died",  "hung",
                                         "broken", "given-up", "closed"};
    static const char *const orders[] = {"none", "port-close", "port-open", "message"};
    static const char *const decisions[] = {"none", "allow", "deny", "gate"};
    for (unsigned i = 0; i < COUNT(rules); i++)
        cr_expect_str_eq(policy_rule_name(i), rules[i]);
    for (unsigned i = 0; i < COUNT(types); i++)
        cr_expect_str_eq(audit_type_name(i), types[i]);
    for (unsigned i = 0; i < COUNT(decisions); i++)
        cr_expect_str_eq(audit_decision_name(i), decisions[i]);
    for (unsigned i = 0; i < COUNT(sources); i++)
        cr_expect_str_eq(audit_source_name(i), sources[i]);
    for (unsigned i = 0; i < COUNT(events); i++)
        cr_expect_str_eq(audit_backend_event_name(i), events[i]);
    for (unsigned i = 0; i < COUNT(orders); i++)
        cr_expect_str_eq(audit_order_name(i), orders[i]);
    static const unsigned beyond[] = {99, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < COUNT(beyond); i++) {
        cr_expect_str_eq(policy_rule_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_type_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_decision_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_source_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_backend_event_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_order_name(beyond[i]), "unknown");
    }
    cr_expect_eq(POLICY_RULE_REPLY_TOTAL, 6);
    cr_expect_eq(AUDIT_ORDER, 10);
    cr_expect_eq(AUDIT_DECISION_GATE, 3);
}
