// SPDX-License-Identifier: Apache-2.0
// The isolation level as a pure function.
#include "level_control.h"

#include <string.h>

// What each level does (DESIGN.md, section 9).
static const uint32_t effects_of_level[LEVEL_COUNT] = {
    [LEVEL_STANDARD] = 0,
    [LEVEL_PROBATION] = LEVEL_EFFECT_TIGHTEN_PORTS | LEVEL_EFFECT_DURABLE_AUDIT,
    [LEVEL_SEVERED] = LEVEL_EFFECT_CLOSE_PORTS | LEVEL_EFFECT_KILL_BACKENDS |
                      LEVEL_EFFECT_PAUSE_VCPUS | LEVEL_EFFECT_DURABLE_AUDIT,
    [LEVEL_OFFLINE] = LEVEL_EFFECT_CLOSE_PORTS | LEVEL_EFFECT_KILL_BACKENDS | LEVEL_EFFECT_END_VMM |
                      LEVEL_EFFECT_SEAL_MEMORY | LEVEL_EFFECT_SCRUB_MEMORY |
                      LEVEL_EFFECT_CUT_REVERSIBLY | LEVEL_EFFECT_DURABLE_AUDIT,
    [LEVEL_DECAPITATION] = LEVEL_EFFECT_CLOSE_PORTS | LEVEL_EFFECT_KILL_BACKENDS |
                           LEVEL_EFFECT_END_VMM | LEVEL_EFFECT_SCRUB_MEMORY |
                           LEVEL_EFFECT_CUT_REVERSIBLY | LEVEL_EFFECT_CUT_FOR_GOOD |
                           LEVEL_EFFECT_DURABLE_AUDIT,
    [LEVEL_IMMOLATION] =
        LEVEL_EFFECT_CLOSE_PORTS | LEVEL_EFFECT_KILL_BACKENDS | LEVEL_EFFECT_END_VMM |
        LEVEL_EFFECT_SCRUB_MEMORY | LEVEL_EFFECT_DESTROY_KEYS | LEVEL_EFFECT_CUT_REVERSIBLY |
        LEVEL_EFFECT_CUT_FOR_GOOD | LEVEL_EFFECT_DESTROY | LEVEL_EFFECT_DURABLE_AUDIT,
};

// The highest level that an actor may raise to.
static const enum level highest_of_actor[LEVEL_ACTOR_COUNT] = {
    [LEVEL_ACTOR_HYPERVISOR] = LEVEL_OFFLINE,
    [LEVEL_ACTOR_DETECTOR] = LEVEL_OFFLINE,
    [LEVEL_ACTOR_OPERATOR] = LEVEL_OFFLINE,
    [LEVEL_ACTOR_ADMINISTRATORS] = LEVEL_IMMOLATION,
};

uint32_t level_effects(enum level level)
{
    // What is not a level is treated as the one that every failure leads to.
    return effects_of_level[level < LEVEL_COUNT ? level : LEVEL_OFFLINE];
}

static struct level_result refuse(const struct level_state *state, enum level_refusal refusal)
{
    return (struct level_result){*state, 0, refusal};
}

// Puts a level in force. Any open proposal is answered by it.
static struct level_result set(const struct level_state *state, enum level level)
{
    struct level_state next = *state;
    next.level = level;
    next.proposed = false;
    // A hold is part of nothing that ends the VMM.
    if (level >= LEVEL_OFFLINE)
        next.hold = false;
    return (struct level_result){next, level_effects(level), LEVEL_REFUSAL_NONE};
}

static enum level_refusal check_lowering(const struct level_state *state,
                                         const struct level_event *event,
                                         const struct level_quorum *quorum)
{
    if (event->actor != LEVEL_ACTOR_ADMINISTRATORS)
        return LEVEL_REFUSAL_LOWERING;
    if (state->level == LEVEL_IMMOLATION)
        return LEVEL_REFUSAL_ABSORBING;
    if (!quorum->lower)
        return LEVEL_REFUSAL_NO_KEYS;
    if (event->signatures < quorum->lower)
        return LEVEL_REFUSAL_SIGNATURES;
    if (state->level == LEVEL_DECAPITATION && (event->target != LEVEL_OFFLINE || !event->repaired))
        return LEVEL_REFUSAL_REPAIR;
    return LEVEL_REFUSAL_NONE;
}

static enum level_refusal check_raising(const struct level_event *event,
                                        const struct level_quorum *quorum)
{
    if (event->target > highest_of_actor[event->actor])
        return LEVEL_REFUSAL_BEYOND_ACTOR;
    if (event->actor != LEVEL_ACTOR_ADMINISTRATORS)
        return LEVEL_REFUSAL_NONE;
    if (!quorum->raise)
        return LEVEL_REFUSAL_NO_KEYS;
    return event->signatures < quorum->raise ? LEVEL_REFUSAL_SIGNATURES : LEVEL_REFUSAL_NONE;
}

static struct level_result change(const struct level_state *state, const struct level_event *event,
                                  const struct level_quorum *quorum)
{
    if (event->target == state->level)
        return refuse(state, LEVEL_REFUSAL_NO_CHANGE);
    enum level_refusal refusal = event->target > state->level
                                     ? check_raising(event, quorum)
                                     : check_lowering(state, event, quorum);
    return refusal ? refuse(state, refusal) : set(state, event->target);
}

// A proposal to raise is doubt: while it is open, min(target, Offline) is in force.
static struct level_result propose(const struct level_state *state, const struct level_event *event,
                                   const struct level_quorum *quorum)
{
    if (event->actor != LEVEL_ACTOR_ADMINISTRATORS || !event->signatures)
        return refuse(state, LEVEL_REFUSAL_SIGNATURES);
    if (!quorum->raise)
        return refuse(state, LEVEL_REFUSAL_NO_KEYS);
    // A proposal to lower changes nothing before it has its signatures.
    if (event->target <= state->level)
        return refuse(state, LEVEL_REFUSAL_NO_CHANGE);
    enum level meanwhile = event->target < LEVEL_OFFLINE ? event->target : LEVEL_OFFLINE;
    struct level_result result = set(state, meanwhile > state->level ? meanwhile : state->level);
    result.state.proposed = true;
    result.state.proposal = event->target;
    return result;
}

// The raise that was proposed did not find its signatures. What it raised in the meantime stays: no
// level falls without a quorum to lower it.
static struct level_result withdraw(const struct level_state *state)
{
    if (!state->proposed)
        return refuse(state, LEVEL_REFUSAL_NO_PROPOSAL);
    struct level_state next = *state;
    next.proposed = false;
    return (struct level_result){next, level_effects(next.level), LEVEL_REFUSAL_NONE};
}

static struct level_result hold(const struct level_state *state, bool on)
{
    if (state->hold == on || state->level >= LEVEL_OFFLINE)
        return refuse(state, LEVEL_REFUSAL_NO_CHANGE);
    struct level_state next = *state;
    next.hold = on;
    uint32_t paused = on ? LEVEL_EFFECT_PAUSE_VCPUS : 0;
    return (struct level_result){next, level_effects(next.level) | paused, LEVEL_REFUSAL_NONE};
}

// No failure raises the level beyond Offline: what cannot be done gently is done by killing, and
// somebody is told.
static struct level_result effect_failed(const struct level_state *state)
{
    struct level_result result =
        set(state, state->level > LEVEL_OFFLINE ? state->level : LEVEL_OFFLINE);
    result.effects |= LEVEL_EFFECT_KILL_VMM | LEVEL_EFFECT_CUT_REVERSIBLY | LEVEL_EFFECT_ALARM;
    return result;
}

struct level_result level_transition(const struct level_state *state,
                                     const struct level_event *event,
                                     const struct level_quorum *quorum)
{
    if (event->actor >= LEVEL_ACTOR_COUNT)
        return refuse(state, LEVEL_REFUSAL_INVALID);
    switch (event->kind) {
    case LEVEL_EVENT_SET:
    case LEVEL_EVENT_PROPOSE:
        if (event->target >= LEVEL_COUNT)
            return refuse(state, LEVEL_REFUSAL_INVALID);
        return event->kind == LEVEL_EVENT_SET ? change(state, event, quorum)
                                              : propose(state, event, quorum);
    case LEVEL_EVENT_WITHDRAW:
        return withdraw(state);
    case LEVEL_EVENT_HOLD:
        return hold(state, true);
    case LEVEL_EVENT_RELEASE:
        return hold(state, false);
    case LEVEL_EVENT_EFFECT_FAILED:
        return effect_failed(state);
    case LEVEL_EVENT_COUNT:
    default:
        return refuse(state, LEVEL_REFUSAL_INVALID);
    }
}

const char *level_refusal_text(enum level_refusal refusal)
{
    static const char *const texts[] = {
        [LEVEL_REFUSAL_NONE] = "nothing",
        [LEVEL_REFUSAL_NO_CHANGE] = "the level is in force already",
        [LEVEL_REFUSAL_BEYOND_ACTOR] = "only the administrators' quorum may raise beyond offline",
        [LEVEL_REFUSAL_LOWERING] = "only the administrators' quorum may lower a level",
        [LEVEL_REFUSAL_SIGNATURES] = "too few administrators signed",
        [LEVEL_REFUSAL_NO_KEYS] = "there is no key set: levels only rise",
        [LEVEL_REFUSAL_ABSORBING] = "nothing lowers from immolation",
        [LEVEL_REFUSAL_REPAIR] = "from decapitation only to offline, with a repair statement",
        [LEVEL_REFUSAL_NO_PROPOSAL] = "no proposal is open",
        [LEVEL_REFUSAL_INVALID] = "that is not a level",
        [LEVEL_REFUSAL_NOT_DURABLE] = "the level could not be made durable: offline instead",
    };
    return refusal < sizeof(texts) / sizeof(texts[0]) ? texts[refusal] : "unknown";
}

enum level level_parse(const char *name)
{
    unsigned level = 0;
    while (level < LEVEL_COUNT && strcmp(name, level_name(level)))
        level++;
    return (enum level)level;
}
