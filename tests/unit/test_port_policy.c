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
    struct port_policy policy = {.operations = operations, .max_request_bytes = max_bytes};
    limits_init(&policy.limits, config, 0);
    return policy;
}

static struct policy_decision decide(struct port_policy *policy, uint32_t operation,
                                     uint32_t length, uint64_t now)
{
    struct policy_request request = {operation, length};
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

// Numbers and names stand in audit logs: they never change.
Test(port_policy, stable_names)
{
    static const char *const rules[] = {"default-deny", "grant", "request-size", "total", "rate"};
    static const char *const types[] = {"none",       "start",     "request",
                                        "completion", "anomaly",   "port-closed",
                                        "level",      "violation", "end"};
    static const char *const decisions[] = {"none", "allow", "deny", "gate"};
    for (unsigned i = 0; i < COUNT(rules); i++)
        cr_expect_str_eq(policy_rule_name(i), rules[i]);
    for (unsigned i = 0; i < COUNT(types); i++)
        cr_expect_str_eq(audit_type_name(i), types[i]);
    for (unsigned i = 0; i < COUNT(decisions); i++)
        cr_expect_str_eq(audit_decision_name(i), decisions[i]);
    static const unsigned beyond[] = {99, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < COUNT(beyond); i++) {
        cr_expect_str_eq(policy_rule_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_type_name(beyond[i]), "unknown");
        cr_expect_str_eq(audit_decision_name(beyond[i]), "unknown");
    }
    cr_expect_eq(POLICY_RULE_RATE, 4);
    cr_expect_eq(AUDIT_END, 8);
    cr_expect_eq(AUDIT_DECISION_GATE, 3);
}
