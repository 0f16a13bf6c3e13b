// SPDX-License-Identifier: Apache-2.0
// The supervisor's levels: what containment decides, carried out on a real VM.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fd_message.h"
#include "supervisor_internal.h"

// The shortest way out of guest mode: vCPU threads look at the page before they enter again. The
// VMM names the threads; whatever it names, only threads of its own get the signal, and the
// confirmation is asked for all the same. Without the right to signal it, the message does it.
static void kick_vcpus(const struct supervisor *s)
{
    for (unsigned i = 0; s->ready && i < s->process.config.vcpus; i++)
        syscall(SYS_tgkill, s->process.pid, s->ready_message.vcpu_tids[i], SIGUSR1);
}

static void show(void *context, enum level level, bool hold)
{
    struct supervisor *s = context;
    if (!s->process.level_own)
        return; // nothing is left that could look at it; what is found now is durable all the same
    s->decided_ns = clock_now_ns(&clock_host);
    // Nothing passes before the log is open.
    atomic_store(&s->process.level_own->hold, hold || !s->log_checked);
    atomic_store(&s->process.level_own->level, level);
    if (s->process.pid > 0 && (level >= LEVEL_SEVERED || hold))
        kick_vcpus(s);
    // Pollers and backends that sleep drop what is in flight.
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        vmm_process_wake(&s->process, i);
        backends_wake(s, i);
    }
}

static const char *const actor_texts[] = {
    [LEVEL_ACTOR_HYPERVISOR] = "raised by the hypervisor",
    [LEVEL_ACTOR_DETECTOR] = "raised by a detector or a rule",
    [LEVEL_ACTOR_OPERATOR] = "raised by an operator",
    [LEVEL_ACTOR_ADMINISTRATORS] = "set by the administrators",
};

static bool persist(void *context, const struct level_state *state)
{
    struct supervisor *s = context;
    struct error err;
    const char *reason = s->reason[0] ? s->reason : actor_texts[s->actor];
    uint64_t sequence = s->last_sequence ? *s->last_sequence : 0;
    if (launch_persist(s, state->level, sequence, reason, &err) == 0)
        return true;
    fprintf(stderr, "guillotine: ALARM: %s: %s\n", s->vm.name, err.text);
    return false;
}

static bool ask(void *context, const struct level_state *state, uint32_t number)
{
    struct supervisor *s = context;
    struct error err;
    struct vmm_level order = {
        .level = state->level,
        .hold = state->hold,
        .number = number,
        .sequence = s->last_sequence ? *s->last_sequence : 0,
    };
    vmm_message_init(&order.message, VMM_MESSAGE_LEVEL, sizeof(order));
    int result = s->orders.lowers
                     ? orders_ask(s, &order, &err)
                     : fd_message_send(s->process.channel, &order, sizeof(order), NULL, 0, &err);
    return result == 0 || supervisor_hears_an_end(&err);
}

// Killing is what vmm_process_end does once the loop has ended.
static void end(void *context, bool kill)
{
    struct supervisor *s = context;
    struct vmm_message message;
    struct error err;
    if (!kill) {
        vmm_message_init(&message, VMM_MESSAGE_STOP, sizeof(message));
        kill = fd_message_send(s->process.channel, &message, sizeof(message), NULL, 0, &err) < 0 &&
               !supervisor_hears_an_end(&err);
    }
    if (!kill || s->ended)
        return;
    s->outcome = RUN_STOPPED;
    s->ended = true;
}

static bool carry(void *context, enum level_effect effect)
{
    struct supervisor *s = context;
    // Those of the actuators are not carried here.
    if (effect == LEVEL_EFFECT_KILL_BACKENDS)
        backends_kill_all(s);
    if (effect == LEVEL_EFFECT_SEAL_MEMORY)
        return forensics_seal(s);
    if (effect == LEVEL_EFFECT_SCRUB_MEMORY)
        return forensics_scrub(s);
    if (effect == LEVEL_EFFECT_DESTROY_KEYS)
        return forensics_destroy_keys(s);
    return effects_begin(s, effect);
}

static void raise_alarm(void *context, const char *text)
{
    struct supervisor *s = context;
    fprintf(stderr, "guillotine: ALARM: %s: %s: the VMM is killed\n", s->vm.name, text);
}

static void record(void *context, const struct level_event *event, const struct level_state *before,
                   const struct level_result *result)
{
    struct supervisor *s = context;
    struct error err;
    (void)before;
    // Refusals are answered; those of signed orders are recorded with the order.
    if (result->refusal)
        return;
    const struct audit_record entry = {
        .type = AUDIT_LEVEL,
        .port = AUDIT_NO_PORT,
        .argument = event->actor,
        .level = (uint8_t)result->state.level,
        .detail = result->state.level,
    };
    bool has_reason = event->actor == LEVEL_ACTOR_OPERATOR || event->actor == LEVEL_ACTOR_DETECTOR;
    const char *reason = has_reason ? s->reason : "";
    audit_log_append_data(&s->audit, &entry, reason, (uint32_t)strlen(reason), &err);
}

void levels_init(struct supervisor *s, enum level level)
{
    static const struct containment_ops ops = {
        .show = show,
        .persist = persist,
        .ask = ask,
        .end = end,
        .carry = carry,
        .alarm = raise_alarm,
        .record = record,
    };
    containment_init(&s->containment, &ops, s, &clock_host, level);
}

enum level_refusal supervisor_level_event(struct supervisor *s, const struct level_event *event)
{
    // Before there is a page there is nothing to isolate.
    if (!s->containment.ops)
        return LEVEL_REFUSAL_INVALID;
    s->actor = event->actor;
    enum level_refusal refusal = containment_happen(&s->containment, event);
    // Whoever waits for an older level hears of the new one when it is confirmed. A VMM that may
    // enter the model, and has not said so yet, is asked as soon as it has.
    bool starting = s->entered_ns && !s->ready && !s->ended;
    bool confirms =
        s->containment.asked || (starting && s->containment.state.level < LEVEL_OFFLINE);
    if (!refusal && !confirms)
        clients_take_level(s);
    return refusal;
}

enum level_refusal supervisor_set_level(struct supervisor *s, enum level_actor actor,
                                        enum level level)
{
    const struct level_event event = {.kind = LEVEL_EVENT_SET, .actor = actor, .target = level};
    return supervisor_level_event(s, &event);
}

enum level_refusal supervisor_isolate(struct supervisor *s, enum level level, const char *reason)
{
    return supervisor_raise(s, LEVEL_ACTOR_OPERATOR, level, reason);
}

enum level_refusal supervisor_raise(struct supervisor *s, enum level_actor actor, enum level level,
                                    const char *reason)
{
    char before[sizeof(s->reason)];
    memcpy(before, s->reason, sizeof(before));
    snprintf(s->reason, sizeof(s->reason), "%s", reason);
    enum level_refusal refusal = supervisor_set_level(s, actor, level);
    if (refusal)
        memcpy(s->reason, before, sizeof(before));
    return refusal;
}

void supervisor_stop(struct supervisor *s)
{
    if (s->containment.ops)
        containment_stop(&s->containment);
}

void levels_open_gate(struct supervisor *s)
{
    containment_show(&s->containment);
}

void levels_take_done(struct supervisor *s, const struct vmm_level *done)
{
    const struct level_state *state = &s->containment.state;
    bool pauses = state->hold || state->level >= LEVEL_SEVERED;
    bool true_now = done->quiet_pollers >= s->process.config.poller_count &&
                    (!pauses || done->paused_vcpus >= s->process.config.vcpus);
    if (!containment_confirm(&s->containment, done->number, true_now))
        return; // of an order that a newer one has overtaken
    s->paused_vcpus = pauses ? s->process.config.vcpus : 0;
    s->gate_ns = done->shut_ns > s->decided_ns ? done->shut_ns - s->decided_ns : 0;
    s->vcpus_ns = done->paused_ns > s->decided_ns ? done->paused_ns - s->decided_ns : 0;
    // Backends that looked between the supervisor's page and the VMM's found the stricter one.
    for (unsigned i = 0; i < s->vm.port_count; i++)
        backends_wake(s, i);
    clients_take_level(s);
}

void levels_take_ready(struct supervisor *s)
{
    containment_vmm_ready(&s->containment);
    if (!s->containment.asked)
        clients_take_level(s);
}

void levels_take_gone(struct supervisor *s)
{
    if (s->containment.ops)
        containment_vmm_gone(&s->containment);
}

void levels_serve(struct supervisor *s)
{
    bool waited = s->containment.asked;
    if (s->ended)
        return;
    containment_serve(&s->containment);
    if (waited && !s->containment.asked)
        clients_take_level(s);
}

bool supervisor_is_stopping(const struct supervisor *s)
{
    return s->containment.vmm >= CONTAINMENT_VMM_ENDING;
}
