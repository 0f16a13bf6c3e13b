// SPDX-License-Identifier: Apache-2.0
// What rules of the policy document ask the supervisor for: approvals, and higher levels.
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "escape.h"
#include "fd_message.h"
#include "hex.h"
#include "supervisor_internal.h"

// Bytes of a payload that a list shows.
#define EXCERPT_BYTES 512u

// The rule of the document that a record or message names; NULL: none of it.
static const char *rule_name(const struct supervisor *s, uint32_t rule)
{
    const struct policy_arrays *arrays = &s->vm.policy.arrays;
    uint32_t index = rule - POLICY_RULE_DOCUMENT;
    if (!s->vm.policy_given || rule < POLICY_RULE_DOCUMENT || index >= arrays->table->rule_count)
        return NULL;
    return policy_rule_text(arrays, index);
}

static void observe(void *context, const struct audit_record *record, const void *data)
{
    struct supervisor *s = context;
    detectors_observe(s, record, data);
    // A backend's process sees what was approved already.
    if (record->source != AUDIT_SOURCE_VMM || !s->vm.policy_given)
        return;
    uint64_t hold_ns = 0;
    const char *rule = rule_name(s, record->rule);
    if (rule)
        hold_ns =
            s->vm.policy.arrays.rules[record->rule - POLICY_RULE_DOCUMENT].hold_ms * NS_PER_MS;
    approvals_observe(&s->approvals, record, data, hold_ns, rule);
}

static bool withhold(void *context)
{
    const struct supervisor *s = context;
    return detectors_withhold(s, s->observed);
}

void approvals_open(struct supervisor *s)
{
    memcpy(s->approvals.uuid, s->uuid, sizeof(s->approvals.uuid));
    s->approvals.ports = s->vm.ports;
    s->approvals.port_count = s->vm.port_count;
    s->audit.observe = observe;
    s->audit.withhold = withhold;
    s->audit.observer = s;
}

void approvals_take_escalation(struct supervisor *s, const struct vmm_port_event *event)
{
    char reason[CONTROL_REASON_SIZE];
    if (event->port >= s->vm.port_count || event->level < LEVEL_PROBATION ||
        event->level > LEVEL_OFFLINE || !s->vm.policy_given) {
        supervisor_lie(s, "the VMM reports an escalation that no policy asks for");
        return;
    }
    const char *rule = rule_name(s, event->rule);
    snprintf(reason, sizeof(reason), "policy: port %s: %s%.100s", s->vm.ports[event->port].name,
             rule ? "rule " : "too many denials, the last by ",
             rule ? rule : policy_rule_name(event->rule));
    fprintf(stderr, "guillotine: %s: %s: %s\n", s->vm.name, level_name(event->level), reason);
    supervisor_raise(s, LEVEL_ACTOR_DETECTOR, (enum level)event->level, reason);
}

static void add_number(json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

// Printable whatever the model put there.
static void add_excerpt(json_object *object, const struct approval *entry)
{
    char text[EXCERPT_BYTES * ESCAPE_MAX_EXPANSION + 1];
    uint32_t length = entry->length < EXCERPT_BYTES ? entry->length : EXCERPT_BYTES;
    escape_line(text, sizeof(text), (const char *)entry->payload, length);
    add_text(object, "payload", text);
    json_object_object_add(object, "payload_is_whole",
                           json_object_new_boolean(length == entry->length));
}

static json_object *describe(const struct supervisor *s, const struct approval *entry,
                             uint64_t now_ns)
{
    char id[CONTROL_ID_SIZE];
    json_object *object = json_object_new_object();
    const struct vmm_port_config *port = &s->vm.ports[entry->port];
    const char *operation = vm_port_operation_name(port->kind, entry->operation);
    uint64_t left_ns = entry->deadline_ns > now_ns ? entry->deadline_ns - now_ns : 0;
    hex_format(id, entry->id, sizeof(entry->id));
    add_text(object, "id", id);
    add_text(object, "vm", s->vm.name);
    add_text(object, "port", port->name);
    add_text(object, "kind", vm_port_kind_name(port->kind));
    add_text(object, "operation", operation ? operation : "?");
    add_number(object, "request", entry->request);
    add_number(object, "argument", entry->argument);
    add_number(object, "length_bytes", entry->length);
    add_text(object, "rule", entry->rule_name);
    add_number(object, "expires_in_ms", left_ns / NS_PER_MS);
    json_object_object_add(object, "answered", json_object_new_boolean(entry->answered));
    add_excerpt(object, entry);
    return object;
}

static void answer(struct control_client *client, json_object *object, const void *data,
                   size_t length)
{
    control_client_answer(client, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN),
                          data, length);
    json_object_put(object);
}

static void list(struct supervisor *s, struct control_client *client, uint64_t now_ns)
{
    json_object *object = json_object_new_object();
    json_object *entries = json_object_new_array();
    add_text(object, "format", CONTROL_FORMAT);
    add_number(object, "missed", s->approvals.missed);
    for (unsigned i = 0; i < APPROVALS_MAX; i++) {
        const struct approval *entry = &s->approvals.entries[i];
        if (entry->complete && !entry->answered)
            json_object_array_add(entries, describe(s, entry, now_ns));
    }
    json_object_object_add(object, "approvals", entries);
    answer(client, object, NULL, 0);
}

static void send_verdict(struct supervisor *s, const struct approval *entry, bool approved)
{
    struct error err;
    struct vmm_verdict verdict = {
        .port = entry->port,
        .approved = approved,
        .request = entry->request,
    };
    vmm_message_init(&verdict.message, VMM_MESSAGE_VERDICT, sizeof(verdict));
    if (fd_message_send(s->process.channel, &verdict, sizeof(verdict), NULL, 0, &err) < 0 &&
        !supervisor_hears_an_end(&err))
        supervisor_lie(s, "the VMM takes no verdicts any more");
}

// Who is at the other end of the control socket.
static uint64_t user_of(const struct control_client *client)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof(peer);
    getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    return peer.uid;
}

// The record goes before the verdict.
static void decide(struct supervisor *s, struct control_client *client, struct approval *entry,
                   bool approved)
{
    struct error err;
    uint8_t data[SHA256_BYTES + CONTROL_REASON_SIZE];
    size_t reason = strlen(client->order.reason);
    const struct audit_record record = {
        .type = AUDIT_APPROVAL,
        .port = (uint16_t)entry->port,
        .request = entry->request,
        .cookie = entry->cookie,
        .argument = user_of(client),
        .operation = entry->operation,
        .length = entry->length,
        .rule = entry->rule,
        .decision = approved ? AUDIT_DECISION_ALLOW : AUDIT_DECISION_DENY,
        .level = (uint8_t)s->containment.state.level,
        .detail = approved ? AUDIT_VERDICT_APPROVED : AUDIT_VERDICT_REJECTED,
    };
    memcpy(data, entry->id, SHA256_BYTES);
    memcpy(data + SHA256_BYTES, client->order.reason, reason);
    if (audit_log_append_data(&s->audit, &record, data, (uint32_t)(SHA256_BYTES + reason), &err) <
        0) {
        control_client_refuse(client, err.text);
        return;
    }
    entry->answered = true;
    send_verdict(s, entry, approved);
    json_object *object = describe(s, entry, clock_now_ns(&clock_host));
    add_text(object, "format", CONTROL_FORMAT);
    add_text(object, "verdict", approved ? "approved" : "rejected");
    answer(client, object, NULL, 0);
}

void approvals_serve(struct supervisor *s, struct control_client *client)
{
    const char *why;
    uint64_t now_ns = clock_now_ns(&clock_host);
    bool shows = client->order.operation == CONTROL_APPROVALS;
    if (shows && !client->order.id[0]) {
        list(s, client, now_ns);
        return;
    }
    struct approval *entry = approvals_find(&s->approvals, client->order.id, now_ns, &why);
    if (!entry) {
        control_client_refuse(client, why);
    } else if (shows) {
        json_object *object = describe(s, entry, now_ns);
        add_text(object, "format", CONTROL_FORMAT);
        answer(client, object, entry->payload, entry->length);
    } else {
        decide(s, client, entry, client->order.operation == CONTROL_APPROVE);
    }
}
