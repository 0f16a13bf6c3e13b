// SPDX-License-Identifier: Apache-2.0
// Signed orders of the administrators: checked, recorded, carried out.
//
// The record is on disk before the effect, and the sequence number is spent before the level falls:
// a crash in between leaves the higher level and an order that has to be signed anew.
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "beat_token.h"
#include "cleanup.h"
#include "fd_message.h"
#include "hex.h"
#include "key_set_store.h"
#include "supervisor_internal.h"

// For the log to make an order durable before its effect.
#define RECORD_NS (500 * NS_PER_MS)

// How long a proposal to lower is shown as open. It holds nothing.
#define PROPOSAL_NS CONTAINMENT_PROPOSAL_NS

int orders_open(struct supervisor *s, struct error *err)
{
    static const uint8_t none[UUID_BYTES];
    struct supervisor_orders *orders = &s->orders;
    struct vmm_config *config = &s->process.config;
    if (!s->last_sequence)
        s->last_sequence = &orders->run_sequence;
    memcpy(config->uuid, s->uuid, sizeof(config->uuid));
    config->last_sequence = *s->last_sequence;
    config->orders_from_s = s->state.record.orders_from_s;
    if (!orders->keys.set.version)
        return 0;
    if (!memcmp(s->deployment, none, sizeof(none)))
        memcpy(s->deployment, orders->keys.set.deployment, sizeof(s->deployment));
    if (memcmp(s->deployment, orders->keys.set.deployment, sizeof(s->deployment)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s/quorum/keys.json is the key set of another deployment", s->state_dir);
    if (orders->keys.set.demo)
        fprintf(stderr, "guillotine: note: a key set for DEMONSTRATION is in force: its secrets "
                        "are not secret\n");
    s->containment.quorum = level_key_set_quorum(&orders->keys.set);
    config->key_set = orders->keys.set;
    return 0;
}

static void record_order(struct supervisor *s, const struct level_order *order, uint32_t refusal)
{
    const struct audit_record record = {
        .type = AUDIT_QUORUM,
        .port = AUDIT_NO_PORT,
        .argument = order ? order->sequence : 0,
        .level = (uint8_t)s->containment.state.level,
        .detail = refusal,
    };
    char text[LEVEL_ORDER_TEXT_MAX];
    struct error err;
    int length = order ? level_order_format(order, text, sizeof(text)) : 0;
    if (length < 0)
        length = 0; // not even well-formed
    if ((uint32_t)length > AUDIT_DATA_MAX)
        length = (int)AUDIT_DATA_MAX;
    if (audit_log_append_data(&s->audit, &record, text, (uint32_t)length, &err) < 0 ||
        audit_log_wait_durable(&s->audit, RECORD_NS, &err) < 0) {
        s->error = err;
        supervisor_fail(s, RUN_ISOLATED);
    }
}

// True if the file of the set in force may be another one than when it was last read: to verify the
// chain takes longer than a supervisor should be busy, and everybody may ask for the status.
static bool keys_changed(struct supervisor *s, struct stat *status)
{
    char path[PATH_MAX];
    const struct stat *seen = &s->orders.keys_file;
    if (snprintf(path, sizeof(path), "%s/quorum/keys.json", s->state_dir) >= PATH_MAX ||
        stat(path, status) < 0)
        *status = (struct stat){0}; // there is none
    return !s->orders.keys_seen || status->st_ino != seen->st_ino ||
           status->st_size != seen->st_size || status->st_ctim.tv_sec != seen->st_ctim.tv_sec ||
           status->st_ctim.tv_nsec != seen->st_ctim.tv_nsec;
}

// The set may have been rotated since the launch, perhaps because a key was stolen: what counts is
// the one in force now. False if nobody knows that one.
static bool refresh_keys(struct supervisor *s)
{
    struct stat status;
    static struct key_set_file now; // one thread
    struct level_key_set *set = &s->orders.keys.set;
    struct error err;
    if (!s->state_dir || !keys_changed(s, &status))
        return true;
    struct key_set_pin *pin = &s->state.record.keys;
    if (key_set_store_load(s->state_dir, pin, &now, &err) < 0 || now.set.version < set->version ||
        (now.set.version && memcmp(s->deployment, now.set.deployment, sizeof(s->deployment))))
        return false;
    s->orders.keys_file = status;
    s->orders.keys_seen = true;
    if (now.set.version == set->version)
        return true;
    // With the next change of the level this is durable, too.
    if (key_set_pin_make(&now, pin, &err) < 0)
        return false;
    s->orders.keys = now;
    s->containment.quorum = level_key_set_quorum(set);
    const struct audit_record record = {
        .type = AUDIT_CONFIG,
        .port = AUDIT_NO_PORT,
        .argument = set->version,
        .detail = AUDIT_CONFIG_KEY_SET,
    };
    supervisor_record(s, &record);
    return true;
}

static bool is_open_proposal(const struct supervisor *s, const struct level_order *order)
{
    return s->orders.proposed && !memcmp(order, &s->orders.proposal.order, sizeof(*order));
}

// Everything but whether the transition allows it.
static uint32_t check(struct supervisor *s, const struct level_order *order,
                      const struct level_order_signature *signatures, unsigned count, bool policy,
                      struct level_event *event)
{
    if (!refresh_keys(s))
        return LEVEL_ORDER_KEYS_DAMAGED;
    // An open proposal to raise has raised the level already: the order starts from the one before.
    bool held = s->containment.state.proposed && is_open_proposal(s, order);
    const struct level_order_context context = {
        .key_set = &s->orders.keys.set,
        .vm = s->uuid,
        .level = held ? (enum level)order->from : s->containment.state.level,
        .last_sequence = *s->last_sequence,
        .now_s = clock_wall_ns(&clock_host) / NS_PER_S,
        .issued_from_s = s->state.record.orders_from_s,
        .policy = policy,
    };
    uint32_t refusal = level_order_check(order, signatures, count, &context, event);
    // The VMM has the set of its launch, and lowers nothing for another one.
    bool rotated = s->process.config.key_set.version != s->orders.keys.set.version;
    if (!refusal && rotated && event->kind == LEVEL_EVENT_SET && order->to < order->from)
        return LEVEL_ORDER_ROTATED;
    return refusal;
}

static int persist_sequence(struct supervisor *s, enum level level, const struct level_order *order)
{
    struct error err;
    if (launch_persist(s, level, order->sequence, order->reason, &err) == 0)
        return 0;
    fprintf(stderr, "guillotine: ALARM: %s: %s\n", s->vm.name, err.text);
    supervisor_set_level(s, LEVEL_ACTOR_HYPERVISOR, LEVEL_OFFLINE);
    return -1;
}

uint32_t orders_take_policy(struct supervisor *s, const struct signed_order *signed_order,
                            const uint8_t digest[32])
{
    const struct level_order *order = &signed_order->order;
    enum level level = s->containment.state.level;
    struct level_event event;
    struct error err;
    uint32_t refusal =
        check(s, order, signed_order->list.signatures, signed_order->list.count, true, &event);
    if (!refusal && event.signatures < s->containment.quorum.lower)
        refusal = LEVEL_REFUSAL_SIGNATURES;
    if (!refusal && memcmp(order->policy, digest, sizeof(order->policy)) != 0)
        refusal = LEVEL_ORDER_DOCUMENT;
    record_order(s, order, refusal);
    if (!refusal && s->ended)
        refusal = LEVEL_REFUSAL_NOT_DURABLE;
    if (refusal)
        return refusal;
    if (vm_state_note_order(&s->state, level, order->sequence, &err) < 0) {
        fprintf(stderr, "guillotine: ALARM: %s: %s\n", s->vm.name, err.text);
        return LEVEL_ORDER_NOT_NOTED;
    }
    *s->last_sequence = order->sequence;
    s->orders.proposed = false; // its number is behind this one
    return persist_sequence(s, level, order) < 0 ? LEVEL_REFUSAL_NOT_DURABLE : LEVEL_ORDER_ACCEPTED;
}

uint32_t supervisor_take_order(struct supervisor *s, const struct level_order *order,
                               const struct level_order_signature *signatures, unsigned count)
{
    const struct level_quorum *quorum = &s->containment.quorum;
    enum level before = s->containment.state.level;
    struct level_event event;
    uint32_t refusal = check(s, order, signatures, count, false, &event);
    // A withdrawal takes the orders before it with it: nobody does that alone.
    if (!refusal && event.kind == LEVEL_EVENT_WITHDRAW && event.signatures < quorum->raise)
        refusal = LEVEL_REFUSAL_SIGNATURES;
    if (!refusal)
        refusal = level_transition(&s->containment.state, &event, quorum).refusal;
    record_order(s, order, refusal);
    if (!refusal && s->ended)
        refusal = LEVEL_REFUSAL_NOT_DURABLE;
    if (refusal)
        return refusal;
    struct error err;
    enum level level = event.kind == LEVEL_EVENT_WITHDRAW ? before : (enum level)order->to;
    // Raising does not wait for it.
    if (vm_state_note_order(&s->state, level, order->sequence, &err) < 0) {
        fprintf(stderr, "guillotine: ALARM: %s: %s\n", s->vm.name, err.text);
        if (level <= before)
            return LEVEL_ORDER_NOT_NOTED;
    }
    *s->last_sequence = order->sequence;
    s->orders.proposed = false;
    // A withdrawal changes no level with which its number would become durable.
    if (event.kind == LEVEL_EVENT_WITHDRAW && persist_sequence(s, before, order) < 0)
        return LEVEL_REFUSAL_NOT_DURABLE;
    // The VMM wants to see it before it lowers its own level.
    s->orders.lowering = (struct vmm_lowering){.order = *order, .count = count};
    memcpy(s->orders.lowering.signatures, signatures, count * sizeof(*signatures));
    s->orders.lowers = true;
    refusal = supervisor_level_event(s, &event);
    s->orders.lowers = false;
    if (!refusal && before >= LEVEL_SEVERED && s->containment.state.level < LEVEL_SEVERED)
        backends_revive(s);
    return refusal;
}

int orders_ask(struct supervisor *s, const struct vmm_level *level, struct error *err)
{
    struct vmm_lowering *message = &s->orders.lowering;
    message->level = *level;
    vmm_message_init(&message->level.message, VMM_MESSAGE_LEVEL, sizeof(*message));
    return fd_message_send(s->process.channel, message, sizeof(*message), NULL, 0, err);
}

// Opens a proposal. One that would raise holds the VM meanwhile; one that would lower only shows
// itself.
static uint32_t propose(struct supervisor *s, const struct signed_order *proposal)
{
    struct level_event event;
    const struct level_order *order = &proposal->order;
    uint32_t refusal =
        check(s, order, proposal->list.signatures, proposal->list.count, false, &event);
    if (!refusal && (event.kind != LEVEL_EVENT_SET || !event.signatures))
        refusal = LEVEL_REFUSAL_SIGNATURES;
    if (!refusal && order->to > order->from && !is_open_proposal(s, order)) {
        event.kind = LEVEL_EVENT_PROPOSE;
        refusal = level_transition(&s->containment.state, &event, &s->containment.quorum).refusal;
        record_order(s, order, refusal);
        if (!refusal)
            refusal = supervisor_level_event(s, &event);
    } else {
        record_order(s, order, refusal);
    }
    if (refusal)
        return refusal;
    s->orders.proposed = true;
    s->orders.proposal = *proposal;
    s->orders.proposal_deadline_ns = clock_now_ns(&clock_host) + PROPOSAL_NS;
    return LEVEL_ORDER_ACCEPTED;
}

// A proposal ends with its time, with the order's, and with the controller's own.
static bool proposal_is_open(const struct supervisor *s)
{
    const struct level_order *order = &s->orders.proposal.order;
    return s->orders.proposed && clock_now_ns(&clock_host) < s->orders.proposal_deadline_ns &&
           clock_wall_ns(&clock_host) / NS_PER_S < order->expires_s &&
           (order->to < order->from || s->containment.state.proposed);
}

void orders_serve(struct supervisor *s, struct control_client *client)
{
    struct signed_order signed_order;
    struct error err;
    char text[256];
    bool proposes = client->order.operation == CONTROL_PROPOSE;
    if (signed_order_parse("order", (const char *)client->body, client->order.length_bytes,
                           &signed_order, &err) < 0) {
        record_order(s, NULL, LEVEL_ORDER_MALFORMED);
        control_client_refuse(client, err.text);
        return;
    }
    uint32_t refusal =
        proposes ? propose(s, &signed_order)
                 : supervisor_take_order(s, &signed_order.order, signed_order.list.signatures,
                                         signed_order.list.count);
    // A level below Offline is answered when the VMM has confirmed it.
    enum level level = s->containment.state.level;
    if (client->fd < 0 || !client->waiting)
        return;
    if (refusal) {
        snprintf(text, sizeof(text), "refused: %s", level_order_refusal_text(refusal));
        control_client_refuse(client, text);
    } else if (proposes || level >= LEVEL_OFFLINE ||
               signed_order.order.kind == LEVEL_ORDER_WITHDRAW) {
        snprintf(text, sizeof(text), "{\"format\":\"" CONTROL_FORMAT "\",\"level\":\"%s\"}",
                 level_name(level));
        control_client_answer(client, text, NULL, 0);
    }
}

static void add_number(json_object *object, const char *key, uint64_t number)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)number));
}

static void add_text(json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

static json_object *key_set_json(const struct level_key_set *set)
{
    json_object *object = json_object_new_object();
    add_number(object, "version", set->version);
    add_number(object, "keys", set->keys);
    add_number(object, "raise", set->raise);
    add_number(object, "lower", set->lower);
    json_object_object_add(object, "demo", json_object_new_boolean(set->demo != 0));
    return object;
}

static json_object *proposal_json(const struct signed_order *proposal)
{
    json_object *object = json_object_new_object();
    add_text(object, "from", level_name(proposal->order.from));
    add_text(object, "to", level_name(proposal->order.to));
    add_number(object, "sequence", proposal->order.sequence);
    add_number(object, "expires_s", proposal->order.expires_s);
    add_number(object, "signatures", proposal->list.count);
    add_text(object, "reason", proposal->order.reason);
    return object;
}

void orders_answer_status(struct supervisor *s, struct control_client *client)
{
    char uuid[UUID_TEXT_SIZE];
    refresh_keys(s); // an order says if that fails
    const struct level_key_set *set = &s->orders.keys.set;
    json_object *object = json_object_new_object();
    add_text(object, "format", CONTROL_FORMAT);
    add_text(object, "name", s->vm.name);
    uuid_bytes_format(uuid, s->uuid);
    add_text(object, "vm", uuid);
    uuid_bytes_format(uuid, s->deployment);
    add_text(object, "deployment", uuid);
    add_text(object, "level", level_name(s->containment.state.level));
    add_number(object, "last_sequence", *s->last_sequence);
    add_number(object, "orders_from_s", s->state.record.orders_from_s);
    json_object_object_add(object, "key_set", set->version ? key_set_json(set) : NULL);
    json_object_object_add(object, "proposal",
                           proposal_is_open(s) ? proposal_json(&s->orders.proposal) : NULL);
    control_client_answer(client, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN),
                          NULL, 0);
    json_object_put(object);
}

void orders_take_beat(struct supervisor *s, struct control_client *client)
{
    struct beat_token token;
    struct error err;
    if (!refresh_keys(s)) {
        control_client_refuse(client, level_order_refusal_text(LEVEL_ORDER_KEYS_DAMAGED));
        return;
    }
    if (beat_token_parse("heartbeat", (const char *)client->body, client->order.length_bytes,
                         &token, &err) < 0 ||
        beat_token_check(&token, &s->orders.keys.set, s->uuid, s->orders.beat_counter,
                         clock_wall_ns(&clock_host) / NS_PER_S, &err) < 0) {
        control_client_refuse(client, err.text);
        return;
    }
    s->orders.beat_counter = token.counter;
    supervisor_operator_beat(s);
    control_client_answer(client, "{\"format\":\"" CONTROL_FORMAT "\",\"beat\":true}", NULL, 0);
}
