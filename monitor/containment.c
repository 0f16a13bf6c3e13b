// SPDX-License-Identifier: Apache-2.0
// The life of a level.
#include "containment.h"

// Effects that have to wait until nothing can run or write any more, in their order.
static const enum level_effect after_the_end[] = {
    LEVEL_EFFECT_SEAL_MEMORY,
    LEVEL_EFFECT_SCRUB_MEMORY,
    LEVEL_EFFECT_DESTROY_KEYS,
};

// Effects that do not depend on the VMM, the most urgent first.
static const enum level_effect at_once[] = {
    LEVEL_EFFECT_KILL_BACKENDS,
    LEVEL_EFFECT_CUT_REVERSIBLY,
    LEVEL_EFFECT_CUT_FOR_GOOD,
    LEVEL_EFFECT_DESTROY,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void fail(struct containment *c, const char *what);

static void end(struct containment *c, bool kill)
{
    c->asked = false;
    if (c->vmm == CONTAINMENT_VMM_GONE || (c->vmm == CONTAINMENT_VMM_ENDING && !kill))
        return;
    c->end_deadline_ns = kill ? UINT64_MAX : clock_now_ns(c->clock) + CONTAINMENT_END_NS;
    c->killed = c->killed || kill;
    c->vmm = CONTAINMENT_VMM_ENDING;
    c->ops->end(c->context, kill);
}

static void ask(struct containment *c)
{
    c->asked = true;
    c->confirm_deadline_ns = clock_now_ns(c->clock) + CONTAINMENT_CONFIRM_NS;
    if (!c->ops->ask(c->context, &c->state, ++c->number))
        fail(c, "the VMM takes no orders any more");
}

static void carry_after_the_end(struct containment *c)
{
    uint32_t effects = level_effects(c->state.level);
    for (unsigned i = 0; i < COUNT(after_the_end); i++) {
        if (!(effects & ~c->carried & after_the_end[i]))
            continue;
        c->carried |= after_the_end[i];
        // The VMM is gone: there is nothing left that could be killed instead.
        if (!c->ops->carry(c->context, after_the_end[i]))
            c->ops->alarm(c->context, "an effect of the level failed after the VMM had ended");
    }
}

// For a VMM that ends the gate stays shut, even if the level is lowered in the meantime.
static void show(struct containment *c)
{
    bool ends = (c->stopped || c->vmm >= CONTAINMENT_VMM_ENDING) && c->state.level < LEVEL_OFFLINE;
    c->ops->show(c->context, ends ? LEVEL_OFFLINE : c->state.level, c->state.hold);
}

// The VMM's part of a state. Nothing here waits for a disk.
static void move_vmm(struct containment *c, uint32_t effects)
{
    if (effects & LEVEL_EFFECT_END_VMM)
        end(c, effects & LEVEL_EFFECT_KILL_VMM);
    else if (c->vmm == CONTAINMENT_VMM_RUNNING)
        ask(c);
}

// The rest of it.
static void carry(struct containment *c, uint32_t effects)
{
    bool failed = false;
    for (unsigned i = 0; i < COUNT(at_once); i++) {
        if (effects & at_once[i] && !c->ops->carry(c->context, at_once[i]))
            failed = true;
    }
    if (c->vmm == CONTAINMENT_VMM_GONE)
        carry_after_the_end(c);
    if (failed && !(effects & LEVEL_EFFECT_ALARM))
        fail(c, "an effect of the level failed");
}

// What could not be done gently is done by force. At most Offline by itself, and it cannot recurse:
// the effects that it applies carry LEVEL_EFFECT_ALARM.
static void fail(struct containment *c, const char *what)
{
    static const struct level_quorum nobody = {0};
    const struct level_event event = {
        .kind = LEVEL_EVENT_EFFECT_FAILED,
        .actor = LEVEL_ACTOR_HYPERVISOR,
    };
    struct level_state before = c->state;
    struct level_result result = level_transition(&c->state, &event, &nobody);
    c->state = result.state;
    show(c);
    move_vmm(c, result.effects);
    c->ops->alarm(c->context, what);
    // If even this cannot be written, the running mark on disk says Offline.
    c->ops->persist(c->context, &c->state);
    c->ops->record(c->context, &event, &before, &result);
    carry(c, result.effects);
}

void containment_init(struct containment *c, const struct containment_ops *ops, void *context,
                      const struct clock *clock, enum level level)
{
    *c = (struct containment){
        .ops = ops,
        .context = context,
        .clock = clock,
        .state = {.level = level},
        .confirm_deadline_ns = UINT64_MAX,
        .end_deadline_ns = UINT64_MAX,
        .proposal_deadline_ns = UINT64_MAX,
    };
    ops->show(context, level, false);
}

// True if the change lets the model do more than before.
static bool loosens(const struct level_state *before, const struct level_state *after)
{
    return after->level < before->level || (before->hold && !after->hold);
}

// What the state does is under way before the disk is: a crash in between finds the running mark.
static enum level_refusal tighten(struct containment *c, const struct level_event *event,
                                  const struct level_state *before,
                                  const struct level_result *result)
{
    c->state = result->state;
    show(c);
    move_vmm(c, result->effects);
    c->ops->record(c->context, event, before, result);
    // A VMM that could not even be asked is being killed, at Offline.
    if (c->state.level != result->state.level)
        return LEVEL_REFUSAL_NONE;
    // A hold and an open proposal are not kept over an end: the running mark makes that Offline.
    if (c->state.level != before->level && !c->ops->persist(c->context, &c->state)) {
        fail(c, "the level could not be made durable");
        return LEVEL_REFUSAL_NONE;
    }
    carry(c, result->effects);
    return LEVEL_REFUSAL_NONE;
}

static enum level_refusal loosen(struct containment *c, const struct level_event *event,
                                 const struct level_state *before,
                                 const struct level_result *result)
{
    if (result->state.level != before->level && !c->ops->persist(c->context, &result->state)) {
        fail(c, "the level could not be made durable");
        return LEVEL_REFUSAL_NOT_DURABLE;
    }
    c->ops->record(c->context, event, before, result);
    c->state = result->state;
    show(c);
    // A VMM that has ended, or is ending, does not come back by a lower level: it is launched anew.
    move_vmm(c, result->effects);
    return LEVEL_REFUSAL_NONE;
}

enum level_refusal containment_happen(struct containment *c, const struct level_event *event)
{
    struct level_state before = c->state;
    struct level_result result = level_transition(&before, event, &c->quorum);
    if (result.refusal) {
        c->ops->record(c->context, event, &before, &result);
        return result.refusal;
    }
    enum level_refusal refusal = loosens(&before, &result.state)
                                     ? loosen(c, event, &before, &result)
                                     : tighten(c, event, &before, &result);
    c->proposal_deadline_ns =
        c->state.proposed ? clock_now_ns(c->clock) + CONTAINMENT_PROPOSAL_NS : UINT64_MAX;
    return refusal;
}

void containment_stop(struct containment *c)
{
    c->stopped = true;
    show(c);
    end(c, false);
}

void containment_show(struct containment *c)
{
    show(c);
}

void containment_vmm_ready(struct containment *c)
{
    if (c->vmm != CONTAINMENT_VMM_STARTING)
        return;
    c->vmm = CONTAINMENT_VMM_RUNNING;
    if (c->state.level > LEVEL_STANDARD || c->state.hold)
        ask(c);
}

bool containment_confirm(struct containment *c, uint32_t number, bool true_now)
{
    if (!c->asked || number != c->number)
        return false;
    c->asked = false;
    if (!true_now)
        fail(c, "vCPUs or ports did not come to rest");
    return true;
}

void containment_vmm_gone(struct containment *c)
{
    c->vmm = CONTAINMENT_VMM_GONE;
    c->asked = false;
    c->end_deadline_ns = UINT64_MAX;
    carry_after_the_end(c);
}

void containment_serve(struct containment *c)
{
    uint64_t now = clock_now_ns(c->clock);
    if (c->asked && now >= c->confirm_deadline_ns)
        fail(c, "the VMM did not confirm its level in time");
    if (c->vmm == CONTAINMENT_VMM_ENDING && !c->killed && now >= c->end_deadline_ns)
        end(c, true);
    if (c->state.proposed && now >= c->proposal_deadline_ns) {
        const struct level_event event = {
            .kind = LEVEL_EVENT_WITHDRAW,
            .actor = LEVEL_ACTOR_HYPERVISOR,
        };
        containment_happen(c, &event);
    }
}

uint64_t containment_deadline_ns(const struct containment *c)
{
    uint64_t deadline = UINT64_MAX;
    if (c->asked && c->confirm_deadline_ns < deadline)
        deadline = c->confirm_deadline_ns;
    if (c->vmm == CONTAINMENT_VMM_ENDING && !c->killed && c->end_deadline_ns < deadline)
        deadline = c->end_deadline_ns;
    if (c->state.proposed && c->proposal_deadline_ns < deadline)
        deadline = c->proposal_deadline_ns;
    return deadline;
}
