// SPDX-License-Identifier: Apache-2.0
// The isolation level as a pure function: state and event in, state and effects out.
//
// Who wants what is decided here, in one table; that an order's signatures are valid, distinct and
// fresh, and that effects become real, is the caller's business. Nothing here can fail: an event
// that is not allowed leaves the state alone and says why.
#ifndef POLICY_LEVEL_CONTROL_H
#define POLICY_LEVEL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "level.h"

// Who or what acts.
enum level_actor {
    LEVEL_ACTOR_HYPERVISOR,     // violations, failures, lost heartbeats: the fail-safe paths
    LEVEL_ACTOR_DETECTOR,       // or a rule of policy
    LEVEL_ACTOR_OPERATOR,       // one person on the control socket
    LEVEL_ACTOR_ADMINISTRATORS, // an order with signatures
    LEVEL_ACTOR_COUNT,
};

// How many of the administrators' keys an order needs. All zero: there is no key set, levels only
// rise.
struct level_quorum {
    uint32_t keys;  // in the set
    uint32_t raise; // to raise to any level
    uint32_t lower; // to lower
};

enum level_event_kind {
    LEVEL_EVENT_SET,           // the actor wants `target`
    LEVEL_EVENT_PROPOSE,       // administrators open a proposal for `target`
    LEVEL_EVENT_WITHDRAW,      // the proposal is withdrawn, or its time is over
    LEVEL_EVENT_HOLD,          // something has to be established again
    LEVEL_EVENT_RELEASE,       // it is
    LEVEL_EVENT_EFFECT_FAILED, // an effect of the level in force could not be carried out
    LEVEL_EVENT_COUNT,
};

struct level_event {
    enum level_event_kind kind;
    enum level_actor actor;
    enum level target;   // of SET and PROPOSE
    uint32_t signatures; // distinct valid keys of the set behind a SET of administrators
    bool repaired;       // with a signed statement that the irreversible cut was repaired
};

struct level_state {
    enum level level;
    bool hold;
    bool proposed;       // a proposal to raise is open
    enum level proposal; // its target
};

// What a level does, beyond the gate that every page of level.h is.
enum level_effect {
    LEVEL_EFFECT_CLOSE_PORTS = 1u << 0, // in-flight requests dropped
    LEVEL_EFFECT_KILL_BACKENDS = 1u << 1,
    LEVEL_EFFECT_PAUSE_VCPUS = 1u << 2,
    LEVEL_EFFECT_END_VMM = 1u << 3,
    LEVEL_EFFECT_SEAL_MEMORY = 1u << 4, // for forensics, before it is scrubbed
    LEVEL_EFFECT_SCRUB_MEMORY = 1u << 5,
    LEVEL_EFFECT_DESTROY_KEYS = 1u << 6,
    LEVEL_EFFECT_CUT_REVERSIBLY = 1u << 7,
    LEVEL_EFFECT_CUT_FOR_GOOD = 1u << 8,
    LEVEL_EFFECT_DESTROY = 1u << 9,
    LEVEL_EFFECT_TIGHTEN_PORTS = 1u << 10, // Probation: marked ports only, tighter limits
    LEVEL_EFFECT_DURABLE_AUDIT = 1u << 11, // durable before the effect, payloads in full
    LEVEL_EFFECT_KILL_VMM = 1u << 12,      // an effect failed: SIGKILL
    LEVEL_EFFECT_ALARM = 1u << 13,
};

// Why an event changed nothing.
enum level_refusal {
    LEVEL_REFUSAL_NONE,
    LEVEL_REFUSAL_NO_CHANGE,    // the level is in force already
    LEVEL_REFUSAL_BEYOND_ACTOR, // higher than this actor may raise
    LEVEL_REFUSAL_LOWERING,     // this actor may never lower
    LEVEL_REFUSAL_SIGNATURES,   // too few
    LEVEL_REFUSAL_NO_KEYS,      // no key set: levels only rise
    LEVEL_REFUSAL_ABSORBING,    // from Immolation nothing lowers
    LEVEL_REFUSAL_REPAIR,       // from Decapitation: only to Offline, with a repair statement
    LEVEL_REFUSAL_NO_PROPOSAL,
    LEVEL_REFUSAL_INVALID,     // not a level, or not an event
    LEVEL_REFUSAL_NOT_DURABLE, // the disk fails: Offline instead
};

struct level_result {
    struct level_state state;
    uint32_t effects; // enum level_effect of the new level; 0 if nothing changed
    enum level_refusal refusal;
};

// Effects that a level has while it is in force. A higher level has all of what a lower one does
// that still makes sense.
uint32_t level_effects(enum level level);

// The transition. `quorum` may be all zero.
struct level_result level_transition(const struct level_state *state,
                                     const struct level_event *event,
                                     const struct level_quorum *quorum);

// Why, in words that fit behind "refused: ".
const char *level_refusal_text(enum level_refusal refusal);

// Parses a level's name. Returns LEVEL_COUNT if it is none.
enum level level_parse(const char *name);

#endif
