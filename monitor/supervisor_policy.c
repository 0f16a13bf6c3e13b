// SPDX-License-Identifier: Apache-2.0
// Another policy document for a running VM: one that only tightens, by any one operator; a looser
// one by an order of the administrators.
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "fd_message.h"
#include "policy_diff.h"
#include "sha256.h"
#include "supervisor_internal.h"

// From the order until the VMM has confirmed it: engines made, two passes of every poller.
#define CONFIRM_NS (2 * NS_PER_S)

struct finding {
    const struct policy_document *after;
    unsigned count;
    char text[200]; // of the first
};

static void take_difference(void *context, const struct policy_difference *difference)
{
    struct finding *finding = context;
    if (finding->count++)
        return;
    snprintf(finding->text, sizeof(finding->text), "port %s%s%.64s: %s", difference->port->name,
             difference->kind == POLICY_DIFFERENCE_PERMITS ? ", rule " : "",
             difference->kind == POLICY_DIFFERENCE_PERMITS
                 ? policy_rule_text(&finding->after->arrays, difference->rule)
                 : "",
             difference->kind == POLICY_DIFFERENCE_PERMITS     ? "permits what was not"
             : difference->kind == POLICY_DIFFERENCE_ESCALATES ? "a rule escalates no longer"
                                                               : "reacts less to denials");
}

static bool has_totals(const struct policy_table_rule *rule)
{
    return rule->has_limits && (rule->limits.requests_total || rule->limits.bytes_total ||
                                rule->limits.reply_bytes_total);
}

// A rule that goes on with what the rule of its name has used.
static bool has_predecessor(const struct policy_arrays *before,
                            const struct policy_table_port *section, const char *name)
{
    for (uint32_t i = 0; i < section->rule_count; i++) {
        uint32_t rule = section->first_rule + i;
        if (has_totals(&before->rules[rule]) && !strcmp(policy_rule_text(before, rule), name))
            return true;
    }
    return false;
}

static bool some_have_totals(const struct policy_arrays *arrays,
                             const struct policy_table_port *section)
{
    for (uint32_t i = 0; i < section->rule_count; i++) {
        if (has_totals(&arrays->rules[section->first_rule + i]))
            return true;
    }
    return false;
}

// What was used of a total must not be forgotten with the name of its rule.
static const char *total_that_starts_anew(const struct policy_arrays *before,
                                          const struct policy_arrays *after)
{
    const struct policy_table_port *ports = after->table->ports;
    for (unsigned i = 0; i < POLICY_MAX_PORTS && ports[i].name[0]; i++) {
        const struct policy_table_port *section = policy_table_find(before, ports[i].name);
        if (!section || !some_have_totals(before, section))
            continue;
        for (uint32_t j = 0; j < ports[i].rule_count; j++) {
            uint32_t rule = ports[i].first_rule + j;
            const char *name = policy_rule_text(after, rule);
            if (has_totals(&after->rules[rule]) && !has_predecessor(before, section, name))
                return name;
        }
    }
    return NULL;
}

static int check_tighter(const struct policy_document *before, const struct policy_document *after,
                         struct error *err)
{
    struct finding finding = {.after = after};
    policy_diff(&before->arrays, &after->arrays, take_difference, &finding);
    if (finding.count)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "not provably tighter: %s (findings: %u; see guillotine policy diff). A "
                         "looser one takes an order of the administrators (--order)",
                         finding.text, finding.count);
    const char *rule = total_that_starts_anew(&before->arrays, &after->arrays);
    if (rule)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "not provably tighter: the total of rule %s would start anew: keep the "
                         "names of rules with totals",
                         rule);
    return 0;
}

static int send_document(struct supervisor *s, const struct policy_document *document,
                         struct error *err)
{
    struct vmm_process *process = &s->process;
    struct vmm_policy message = {.bytes = document->bytes, .half = !process->policy_half};
    // Nobody uses this half: the VMM confirmed the other one.
    memcpy(process->policy_area + message.half * (uint64_t)POLICY_MAX_BYTES, document->memory,
           document->bytes);
    vmm_message_init(&message.message, VMM_MESSAGE_POLICY, sizeof(message));
    return fd_message_send(process->channel, &message, sizeof(message), NULL, 0, err);
}

// An order of the administrators for exactly these bytes.
static int check_order(struct supervisor *s, const struct signed_order *order, const char *text,
                       size_t length, struct error *err)
{
    uint8_t digest[SHA256_BYTES];
    const struct sha256_piece piece = {text, length};
    sha256_pieces(&piece, 1, digest);
    uint32_t refusal = orders_take_policy(s, order, digest);
    return refusal ? error_set(err, EXIT_STATUS_FAILURE, 0, "refused: %s",
                               level_order_refusal_text(refusal))
                   : 0;
}

// `order` is NULL: the document has to be tighter. It is spent last: a document that does not fit
// costs no signatures.
static int apply(struct supervisor *s, const struct signed_order *order, const char *text,
                 size_t length, struct error *err)
{
    struct policy_document document = {0};
    if (!s->vm.policy_given)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "the VM was launched without a policy document: it takes a new launch");
    if (s->next_policy.memory || !s->ready)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "another document is being put in force: try again");
    if (policy_document_parse("policy", text, length, &document, err) < 0)
        return -1;
    if (vm_description_check_policy(&s->vm, &document, err) < 0 ||
        (order ? check_order(s, order, text, length, err)
               : check_tighter(&s->vm.policy, &document, err)) < 0 ||
        launch_record_policy(s, &document, err) < 0 || send_document(s, &document, err) < 0) {
        policy_document_free(&document);
        return -1;
    }
    s->next_policy = document;
    s->policy_deadline_ns = clock_now_ns(&clock_host) + CONFIRM_NS;
    return 0;
}

void policy_serve(struct supervisor *s, struct control_client *client)
{
    const char *text = (const char *)client->body;
    size_t length = client->body_used;
    static struct signed_order order; // its size; one thread
    struct error err;
    int result;
    if (client->order.operation == CONTROL_POLICY) {
        result = apply(s, NULL, text, length, &err);
    } else {
        // The signed order is one line; the document follows.
        const char *end = memchr(text, '\n', length);
        size_t used = end ? (size_t)(end - text) + 1 : length;
        result = used > SIGNED_ORDER_MAX ? error_set(&err, EXIT_STATUS_USAGE, 0, "order: too large")
                                         : signed_order_parse("order", text, used, &order, &err);
        if (result == 0)
            result = apply(s, &order, text + used, length - used, &err);
    }
    if (result < 0 && client->fd >= 0 && client->waiting)
        control_client_refuse(client, err.text);
}

static void answer(struct supervisor *s, bool refused)
{
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &s->control.clients[i];
        if (client->fd < 0 || !client->waiting || !control_is_policy(client->order.operation))
            continue;
        if (refused)
            control_client_refuse(client,
                                  "too large for this VM: the policy before stays in force");
        else
            control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"in_force\":true}",
                                  NULL, 0);
    }
}

void policy_take_done(struct supervisor *s, const struct vmm_policy *done)
{
    struct error err;
    if (!s->next_policy.memory || done->half == s->process.policy_half || done->refused > 1) {
        supervisor_lie(s, "the VMM reports a policy that it was not given");
        return;
    }
    if (done->refused) {
        // The log said what was to be in force: it says what is.
        policy_document_free(&s->next_policy);
        if (launch_record_policy(s, &s->vm.policy, &err) < 0)
            supervisor_lie(s, err.text);
    } else {
        policy_document_free(&s->vm.policy);
        s->vm.policy = s->next_policy;
        s->next_policy = (struct policy_document){0};
        s->process.policy_half = done->half;
    }
    answer(s, done->refused);
}

uint64_t policy_deadline_ns(const struct supervisor *s)
{
    return s->next_policy.memory ? s->policy_deadline_ns : UINT64_MAX;
}

void policy_watch(struct supervisor *s)
{
    if (clock_now_ns(&clock_host) >= policy_deadline_ns(s))
        supervisor_lie(s, "the VMM did not put a policy in force in time");
}
