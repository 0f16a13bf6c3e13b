// SPDX-License-Identifier: Apache-2.0
// What a reply has to pass before the guest gets it: redaction, rules for what comes from outside,
// limits.
#include "policy_engine.h"
#include "port_internal.h"

// Blots out in a reply what the request's rule says. What cannot be searched does not pass, nor
// what the rule of an earlier document would have to look at.
static void redact_reply(struct port *port, struct slot *slot)
{
    struct port_request *request = &slot->request;
    if (slot->decision != AUDIT_DECISION_REDACT || slot->reply_redacted || !request->reply_length)
        return;
    slot->reply_redacted = true;
    if (slot->generation == port->generation &&
        policy_engine_redact(port->engine, slot->rule - POLICY_RULE_DOCUMENT,
                             POLICY_DIRECTION_REPLY, request->reply, request->reply_length))
        return;
    request->status = PORT_STATUS_DENIED;
    request->reply_length = 0;
    slot->decision = AUDIT_DECISION_DENY;
    slot->rule = POLICY_RULE_EFFORT;
    port_count(&port->counters.denied, 1);
}

// Lets a reply pass as the decision says, or puts a denial in its place.
static void settle_inward(struct port *port, struct slot *slot,
                          const struct policy_decision *decision)
{
    const struct port_host_operations *host = &port->fabric->host;
    struct port_request *request = &slot->request;
    slot->inward_decided = true;
    slot->reply_redacted = true; // the rules for what comes in count, not those for asking
    slot->rule = decision->rule;
    bool passes = decision->outcome == POLICY_ALLOW;
    if (passes && decision->redacts &&
        !policy_engine_redact(port->engine, decision->rule - POLICY_RULE_DOCUMENT,
                              POLICY_DIRECTION_REQUEST, request->reply, request->reply_length)) {
        slot->rule = POLICY_RULE_EFFORT;
        passes = false;
    }
    if (passes) {
        slot->decision = decision->redacts ? AUDIT_DECISION_REDACT : AUDIT_DECISION_ALLOW;
        return;
    }
    slot->decision = decision->escalate_to ? AUDIT_DECISION_ESCALATE : AUDIT_DECISION_DENY;
    request->status = PORT_STATUS_DENIED;
    request->reply_length = 0;
    port_count(&port->counters.denied, 1);
    if (decision->escalate_to && host->escalate)
        host->escalate(host->context, port->index, decision->escalate_to, decision->rule);
}

// Asks the rules whether what came from outside may reach the guest. Returns false if it has to
// wait for a rate. Nobody can be asked to approve it: a rule that holds denies.
static bool decide_inward(struct port *port, struct slot *slot)
{
    struct port_request *request = &slot->request;
    bool strict;
    if (!slot->inward || !request->reply_length)
        return true;
    port_look(port, &strict);
    // What waits for its turn, or for the end of a hold, has to pass the rules of now.
    if (!slot->inward_asked || slot->generation != port->generation ||
        slot->decided_strict != strict) {
        slot->question = (struct policy_request){
            .operation = slot->inward,
            .length = request->reply_length,
            .payload = request->reply,
        };
        slot->generation = port->generation;
        slot->decided_strict = strict;
        slot->inward_asked = true;
        slot->inward_decided = false;
    }
    if (slot->inward_decided)
        return true;
    struct policy_decision decision = port_policy_decide_inward(
        &port->policies[strict], &slot->question, clock_now_ns(port->fabric->clock));
    if (decision.outcome == POLICY_WAIT) {
        port->reply_retry_ns = decision.retry_ns;
        return false;
    }
    settle_inward(port, slot, &decision);
    return true;
}

bool port_admit_reply(struct port *port, struct slot *slot)
{
    struct port_request *request = &slot->request;
    redact_reply(port, slot);
    if (!decide_inward(port, slot))
        return false;
    if (slot->reply_decided || !request->reply_length)
        return true;
    struct policy_decision decision = port_policy_decide_reply(port->policy, request->reply_length,
                                                               clock_now_ns(port->fabric->clock));
    if (decision.outcome == POLICY_WAIT) {
        port->reply_retry_ns = decision.retry_ns;
        return false;
    }
    if (decision.outcome == POLICY_DENY) {
        request->status = PORT_STATUS_EXHAUSTED;
        request->reply_length = 0;
        slot->decision = AUDIT_DECISION_DENY;
        slot->rule = decision.rule;
        port_count(&port->counters.denied, 1);
    }
    slot->reply_decided = true;
    return true;
}
