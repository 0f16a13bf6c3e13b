// SPDX-License-Identifier: Apache-2.0
// What one policy permits that another does not.
//
// Let B be a rule of the new policy that lets something pass. The old one lets all of that pass if
// it has a rule A that covers B (all that B matches, A matches) and is at least as free, and if
// every stricter rule before A either cannot match what B matches, or is covered by a rule before B
// (then B never sees those requests).
#include "policy_diff.h"

#include <string.h>

struct side {
    const struct policy_arrays *arrays;
    const struct policy_table_port *port;
};

static const struct policy_table_rule *rule_of(const struct side *side, uint32_t own)
{
    return &side->arrays->rules[side->port->first_rule + own];
}

static bool same_text(const struct side *a, uint32_t x, const struct side *b, uint32_t y,
                      bool ignore_case)
{
    const struct policy_table_text *p = &a->arrays->texts[x];
    const struct policy_table_text *q = &b->arrays->texts[y];
    const char *left = a->arrays->bytes + p->at;
    const char *right = b->arrays->bytes + q->at;
    if (p->length != q->length)
        return false;
    return ignore_case ? strcasecmp(left, right) == 0 : memcmp(left, right, p->length) == 0;
}

static bool has_text(const struct side *a, uint32_t text, const struct side *b,
                     const struct policy_table_condition *condition, bool ignore_case)
{
    for (uint32_t i = 0; i < condition->text_count; i++) {
        if (same_text(a, text, b, condition->first_text + i, ignore_case))
            return true;
    }
    return false;
}

// True if every text of `small` is one of `large`.
static bool texts_are_among(const struct side *a, const struct policy_table_condition *small,
                            const struct side *b, const struct policy_table_condition *large)
{
    for (uint32_t i = 0; i < small->text_count; i++) {
        // In a pattern, case is more than case: \d and \D.
        if (!has_text(a, small->first_text + i, b, large,
                      large->ignore_case && large->test != POLICY_TEST_PATTERN))
            return false;
    }
    return true;
}

// True if whatever fulfils `narrow` fulfils `wide`.
static bool implies(const struct side *a, const struct policy_table_condition *narrow,
                    const struct side *b, const struct policy_table_condition *wide)
{
    if (narrow->field != wide->field || narrow->negate != wide->negate)
        return false;
    bool present = wide->test == POLICY_TEST_PRESENT && !wide->negate;
    if (present)
        return true; // every test that is not negated needs the field
    if (narrow->test != wide->test)
        return false;
    if (narrow->test == POLICY_TEST_PRESENT)
        return true;
    if (narrow->test == POLICY_TEST_PATTERN && narrow->ignore_case != wide->ignore_case)
        return false; // neither finds all that the other finds: think of (?!...)
    if (narrow->test == POLICY_TEST_NUMBER)
        return wide->negate ? wide->minimum >= narrow->minimum && wide->maximum <= narrow->maximum
                            : narrow->minimum >= wide->minimum && narrow->maximum <= wide->maximum;
    if (wide->negate) // not one of more texts, case aside, implies not one of fewer
        return (narrow->ignore_case || !wide->ignore_case) && texts_are_among(b, wide, a, narrow);
    return (wide->ignore_case || !narrow->ignore_case) && texts_are_among(a, narrow, b, wide);
}

static bool hours_are_among(const struct side *a, const struct policy_table_rule *narrow,
                            const struct side *b, const struct policy_table_rule *wide)
{
    if (!wide->window_count)
        return true;
    if (!narrow->window_count)
        return false;
    for (uint32_t i = 0; i < narrow->window_count; i++) {
        const struct policy_table_window *x = &a->arrays->windows[narrow->first_window + i];
        bool found = false;
        for (uint32_t j = 0; j < wide->window_count && !found; j++) {
            const struct policy_table_window *y = &b->arrays->windows[wide->first_window + j];
            found = x->from >= y->from && x->to <= y->to;
        }
        if (!found)
            return false;
    }
    return true;
}

// True if `wide` matches all that `narrow` matches.
static bool covers(const struct side *b, const struct policy_table_rule *wide, const struct side *a,
                   const struct policy_table_rule *narrow)
{
    if ((narrow->operations & ~wide->operations) || (narrow->levels & ~wide->levels) ||
        narrow->request_min < wide->request_min || narrow->request_max > wide->request_max ||
        narrow->argument_min < wide->argument_min || narrow->argument_max > wide->argument_max ||
        !hours_are_among(a, narrow, b, wide))
        return false;
    for (uint32_t i = 0; i < wide->condition_count; i++) {
        bool implied = false;
        for (uint32_t j = 0; j < narrow->condition_count && !implied; j++)
            implied = implies(a, &a->arrays->conditions[narrow->first_condition + j], b,
                              &b->arrays->conditions[wide->first_condition + i]);
        if (!implied)
            return false;
    }
    return true;
}

// True if no value of the field fulfils both.
static bool excludes(const struct side *a, const struct policy_table_condition *x,
                     const struct side *b, const struct policy_table_condition *y)
{
    if (x->field != y->field || x->negate || y->negate)
        return false;
    if (x->test == POLICY_TEST_NUMBER && y->test == POLICY_TEST_NUMBER)
        return x->maximum < y->minimum || y->maximum < x->minimum;
    if (x->test != POLICY_TEST_EQUALS || y->test != POLICY_TEST_EQUALS)
        return false;
    for (uint32_t i = 0; i < x->text_count; i++) {
        if (has_text(a, x->first_text + i, b, y, true))
            return false;
    }
    return true;
}

static bool are_disjoint(const struct side *a, const struct policy_table_rule *x,
                         const struct side *b, const struct policy_table_rule *y)
{
    if (!(x->operations & y->operations) || !(x->levels & y->levels) ||
        x->request_max < y->request_min || y->request_max < x->request_min ||
        x->argument_max < y->argument_min || y->argument_max < x->argument_min)
        return true;
    for (uint32_t i = 0; i < x->condition_count; i++) {
        for (uint32_t j = 0; j < y->condition_count; j++) {
            if (excludes(a, &a->arrays->conditions[x->first_condition + i], b,
                         &b->arrays->conditions[y->first_condition + j]))
                return true;
        }
    }
    return false;
}

static bool lets_pass(const struct policy_table_rule *rule)
{
    return rule->action == POLICY_ACTION_ALLOW || rule->action == POLICY_ACTION_REDACT ||
           rule->action == POLICY_ACTION_HOLD;
}

// True if a limit is no looser; 0 is none.
static bool is_within(uint64_t limit, uint64_t bound)
{
    return !bound || (limit && limit <= bound);
}

static bool limits_are_within(const struct policy_table_rule *narrow,
                              const struct policy_table_rule *wide)
{
    const struct limits_config *x = &narrow->limits;
    const struct limits_config *y = &wide->limits;
    const struct limits_config none = {0};
    if (!wide->has_limits || !memcmp(y, &none, sizeof(none)))
        return true;
    // A burst that is not given is one second's worth.
    uint64_t x_requests = x->request_burst ? x->request_burst : x->requests_per_s;
    uint64_t y_requests = y->request_burst ? y->request_burst : y->requests_per_s;
    uint64_t x_bytes = x->byte_burst ? x->byte_burst : x->bytes_per_s;
    uint64_t y_bytes = y->byte_burst ? y->byte_burst : y->bytes_per_s;
    return narrow->has_limits && is_within(x->requests_per_s, y->requests_per_s) &&
           is_within(x->bytes_per_s, y->bytes_per_s) && is_within(x_requests, y_requests) &&
           is_within(x_bytes, y_bytes) && is_within(x->requests_total, y->requests_total) &&
           is_within(x->bytes_total, y->bytes_total) &&
           is_within(x->reply_bytes_per_s, y->reply_bytes_per_s) &&
           is_within(x->reply_byte_burst, y->reply_byte_burst) &&
           is_within(x->reply_bytes_total, y->reply_bytes_total) &&
           is_within(x->capacity_bits_per_s, y->capacity_bits_per_s);
}

// True if every redaction of `wide` is made by `narrow` too.
static bool redacts_as_much(const struct side *a, const struct policy_table_rule *narrow,
                            const struct side *b, const struct policy_table_rule *wide)
{
    for (uint32_t i = 0; i < wide->redaction_count; i++) {
        const struct policy_table_redaction *y = &b->arrays->redactions[wide->first_redaction + i];
        uint32_t directions = 0;
        for (uint32_t j = 0; j < narrow->redaction_count; j++) {
            const struct policy_table_redaction *x =
                &a->arrays->redactions[narrow->first_redaction + j];
            if (same_text(a, x->pattern, b, y->pattern, false))
                directions |= x->directions;
        }
        if (y->directions & ~directions)
            return false;
    }
    return true;
}

// True if what matches both passes `narrow` no more freely than `wide`.
static bool is_as_tight(const struct side *a, const struct policy_table_rule *narrow,
                        const struct side *b, const struct policy_table_rule *wide)
{
    if (!lets_pass(wide) || !limits_are_within(narrow, wide))
        return false;
    if (wide->action == POLICY_ACTION_ALLOW)
        return true;
    if (wide->action == POLICY_ACTION_REDACT)
        return narrow->action == POLICY_ACTION_REDACT && redacts_as_much(a, narrow, b, wide);
    return narrow->action == POLICY_ACTION_HOLD && narrow->hold_ms <= wide->hold_ms;
}

// True if a rule before the `count`-th covers all of `rule`.
static bool is_covered_before(const struct side *b, uint32_t count, const struct side *a,
                              const struct policy_table_rule *rule)
{
    for (uint32_t i = 0; i < count; i++) {
        if (covers(b, rule_of(b, i), a, rule))
            return true;
    }
    return false;
}

// The limits of a rule hold for all that it matches together: several rules in its place would have
// as much each. Another rule is none in its place if it gets nothing of what the old one got: since
// a rule before either of them takes it.
static bool is_alone(const struct side *before, uint32_t index, const struct side *after,
                     uint32_t own)
{
    const struct policy_table_rule *old = rule_of(before, index);
    for (uint32_t i = 0; old->has_limits && i < after->port->rule_count; i++) {
        const struct policy_table_rule *rule = rule_of(after, i);
        if (i != own && lets_pass(rule) && !are_disjoint(before, old, after, rule) &&
            !is_covered_before(after, i, before, old) &&
            !is_covered_before(before, index, after, rule))
            return false;
    }
    return true;
}

// The rule `own` of the new policy lets nothing pass that the old one does not.
static bool is_permitted_before(const struct side *before, const struct side *after, uint32_t own)
{
    const struct policy_table_rule *rule = rule_of(after, own);
    for (uint32_t i = 0; i < before->port->rule_count; i++) {
        const struct policy_table_rule *old = rule_of(before, i);
        if (is_as_tight(after, rule, before, old) && is_alone(before, i, after, own)) {
            if (covers(before, old, after, rule))
                return true;
            continue; // what it takes away passes at least as freely
        }
        if (!are_disjoint(after, rule, before, old) && !is_covered_before(after, own, before, old))
            return false;
    }
    return false;
}

// What the rule `own` of the old policy escalates, the new one escalates at least as high.
static bool still_escalates(const struct side *before, const struct side *after, uint32_t own)
{
    const struct policy_table_rule *old = rule_of(before, own);
    for (uint32_t i = 0; after->port && i < after->port->rule_count; i++) {
        const struct policy_table_rule *rule = rule_of(after, i);
        bool escalates =
            rule->action == POLICY_ACTION_ESCALATE && rule->escalate_to >= old->escalate_to;
        if (escalates && covers(after, rule, before, old))
            return true;
        if (!escalates && !are_disjoint(before, old, after, rule) &&
            !is_covered_before(before, own, after, rule))
            return false;
    }
    return false;
}

static bool reacts_to_denials(const struct policy_table_port *old,
                              const struct policy_table_port *port)
{
    if (!old->denial_count)
        return true;
    return port && port->denial_count && port->denial_count <= old->denial_count &&
           port->denial_ns >= old->denial_ns && port->denial_level >= old->denial_level;
}

unsigned policy_diff(const struct policy_arrays *before, const struct policy_arrays *after,
                     void (*found)(void *context, const struct policy_difference *difference),
                     void *context)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < POLICY_MAX_PORTS && after->table->ports[i].name[0]; i++) {
        const struct side b = {after, &after->table->ports[i]};
        const struct side a = {before, policy_table_find(before, b.port->name)};
        for (uint32_t own = 0; own < b.port->rule_count; own++) {
            const struct policy_difference difference = {POLICY_DIFFERENCE_PERMITS, b.port,
                                                         b.port->first_rule + own};
            if (!lets_pass(rule_of(&b, own)))
                continue;
            if (a.port && a.port->kind == b.port->kind && is_permitted_before(&a, &b, own))
                continue;
            found(context, &difference);
            count++;
        }
    }
    for (uint32_t i = 0; i < POLICY_MAX_PORTS && before->table->ports[i].name[0]; i++) {
        const struct side a = {before, &before->table->ports[i]};
        const struct side b = {after, policy_table_find(after, a.port->name)};
        for (uint32_t own = 0; own < a.port->rule_count; own++) {
            const struct policy_difference difference = {POLICY_DIFFERENCE_ESCALATES, a.port,
                                                         a.port->first_rule + own};
            if (rule_of(&a, own)->action != POLICY_ACTION_ESCALATE || still_escalates(&a, &b, own))
                continue;
            found(context, &difference);
            count++;
        }
        if (!reacts_to_denials(a.port, b.port)) {
            found(context, &(struct policy_difference){POLICY_DIFFERENCE_DENIALS, a.port, 0});
            count++;
        }
    }
    return count;
}
