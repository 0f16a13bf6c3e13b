// SPDX-License-Identifier: Apache-2.0
// The supervisor's levels: who wants what, what is in force, and that it is true.
//
// The page is raised first, so that gates shut everywhere at once; then the VMM is asked to make
// the rest true and to say what is. What it does not confirm in time counts as a failed effect:
// Offline.
#include <stdio.h>

#include "fd_message.h"
#include "supervisor_internal.h"

// From the raised page to the VMM's confirmation (DESIGN.md section 3).
#define CONFIRM_NS (150 * NS_PER_MS)

static void record_level(struct supervisor *s, enum level_actor actor)
{
    struct error err;
    const struct audit_record record = {
        .type = AUDIT_LEVEL,
        .port = AUDIT_NO_PORT,
        .argument = actor,
        .level = (uint8_t)s->level.level,
        .detail = s->level.level,
    };
    audit_log_append(&s->audit, &record, &err);
}

static void ask_vmm(struct supervisor *s)
{
    struct error err;
    struct vmm_level order = {
        .level = s->level.level,
        .hold = s->level.hold,
        .number = ++s->level_number,
    };
    vmm_message_init(&order.message, VMM_MESSAGE_LEVEL, sizeof(order));
    s->level_asked = true;
    s->level_deadline_ns = clock_now_ns(&clock_host) + CONFIRM_NS;
    if (fd_message_send(s->process.channel, &order, sizeof(order), NULL, 0, &err) < 0)
        s->level_deadline_ns = 0;
}

// Makes the effects real, the fastest one first.
static void apply(struct supervisor *s, enum level_actor actor, uint32_t effects)
{
    atomic_store(&s->process.level_own->hold, s->level.hold);
    atomic_store(&s->process.level_own->level, s->level.level);
    record_level(s, actor);
    if (effects & LEVEL_EFFECT_KILL_BACKENDS)
        backends_kill_all(s);
    // Pollers that sleep drop what is in flight.
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        vmm_process_wake(&s->process, i);
        backends_wake(s, i);
    }
    if (effects & LEVEL_EFFECT_END_VMM)
        supervisor_end_vmm(s, effects & LEVEL_EFFECT_KILL_VMM);
    else if (s->ready)
        ask_vmm(s);
}

static enum level_refusal happen(struct supervisor *s, const struct level_event *event)
{
    static const struct level_quorum no_keys = {0};
    struct level_result result = level_transition(&s->level, event, &no_keys);
    if (result.refusal)
        return result.refusal;
    s->level = result.state;
    apply(s, event->actor, result.effects);
    return LEVEL_REFUSAL_NONE;
}

static const char *const actor_texts[] = {
    [LEVEL_ACTOR_HYPERVISOR] = "raised by the hypervisor",
    [LEVEL_ACTOR_DETECTOR] = "raised by a detector or a rule",
    [LEVEL_ACTOR_OPERATOR] = "raised by an operator",
    [LEVEL_ACTOR_ADMINISTRATORS] = "raised by the administrators",
};

// The page has been raised; now the level becomes durable. One that cannot is Offline: the running
// mark stays, so that the next launch finds it so.
static void persist(struct supervisor *s, enum level_actor actor)
{
    struct error err;
    if (s->stop_only || s->state.fd < 0 || s->state_broken || s->level.level <= s->state.level ||
        launch_persist(s, s->level.level, 0, actor_texts[actor], &err) == 0)
        return;
    fprintf(stderr, "guillotine: ALARM: %s: the VM is isolated\n", err.text);
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = LEVEL_ACTOR_HYPERVISOR,
        .target = LEVEL_OFFLINE,
    };
    if (s->process.level_own)
        happen(s, &event);
}

enum level_refusal supervisor_set_level(struct supervisor *s, enum level_actor actor,
                                        enum level level)
{
    const struct level_event event = {.kind = LEVEL_EVENT_SET, .actor = actor, .target = level};
    if (!s->process.level_own && s->state.fd < 0)
        return LEVEL_REFUSAL_INVALID; // there is nothing to isolate
    if (!s->process.level_own) {
        // The VMM is gone, and what is found now still counts.
        s->level.level = level > s->level.level ? level : s->level.level;
        persist(s, actor);
        return LEVEL_REFUSAL_NONE;
    }
    enum level_refusal refusal = happen(s, &event);
    // An ordinary stop may have raised the page to the same level before.
    persist(s, actor);
    return refusal;
}

void supervisor_stop(struct supervisor *s)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = LEVEL_ACTOR_OPERATOR,
        .target = LEVEL_OFFLINE,
    };
    s->stop_only = true;
    if (s->process.level_own)
        happen(s, &event);
    s->stop_only = false;
}

static void effect_failed(struct supervisor *s, const char *what)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_EFFECT_FAILED,
        .actor = LEVEL_ACTOR_HYPERVISOR,
    };
    fprintf(stderr, "guillotine: ALARM: %s: the VMM is killed\n", what);
    s->level_asked = false;
    happen(s, &event);
    persist(s, LEVEL_ACTOR_HYPERVISOR);
    clients_take_level(s);
}

void levels_take_done(struct supervisor *s, const struct vmm_level *done)
{
    if (!s->level_asked || done->number != s->level_number)
        return; // of an order that a newer one has overtaken
    s->level_asked = false;
    bool pauses = s->level.hold || s->level.level >= LEVEL_SEVERED;
    s->paused_vcpus = pauses ? s->process.config.vcpus : 0;
    if (done->quiet_pollers < s->process.config.poller_count ||
        (pauses && done->paused_vcpus < s->process.config.vcpus)) {
        effect_failed(s, "vCPUs or ports did not come to rest");
        return;
    }
    clients_take_level(s);
}

void levels_take_ready(struct supervisor *s)
{
    if (s->level.level > LEVEL_STANDARD && s->level.level < LEVEL_OFFLINE)
        ask_vmm(s);
}

void levels_serve(struct supervisor *s)
{
    if (s->level_asked && !s->stopping && !s->ended &&
        clock_now_ns(&clock_host) >= s->level_deadline_ns)
        effect_failed(s, "the VMM did not confirm its level in time");
}
