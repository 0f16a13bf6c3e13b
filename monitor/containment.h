// SPDX-License-Identifier: Apache-2.0
// The life of a level: what happens around level_transition so that a level is true, in which
// order, by when, and what follows if it is not.
//
// No system call, no memory, no clock of its own: whoever drives it supplies them (the supervisor
// the real ones, the simulation ones that fail). Raising: the page first, so that gates shut at
// once, then the VMM, then the disk, then the rest. Lowering: the disk first, so that a crash in
// between leaves the higher level.
#ifndef MONITOR_CONTAINMENT_H
#define MONITOR_CONTAINMENT_H

#include "clock.h"
#include "level_control.h"

// From the raised page to the VMM's confirmation: two passes of a poller and the vCPUs.
#define CONTAINMENT_CONFIRM_NS (150 * NS_PER_MS)

// From the order to end until the VMM is killed (DESIGN.md section 3).
#define CONTAINMENT_END_NS (100 * NS_PER_MS)

// The longest time from a decision until the model cannot run: not confirmed, killed. What the
// kernel needs to tear the VM down, and the driver's delay in calling containment_serve, come on
// top.
#define CONTAINMENT_BOUND_NS (CONTAINMENT_CONFIRM_NS + CONTAINMENT_END_NS)

// A lowering that took too long to sign changes nothing.
#define CONTAINMENT_PROPOSAL_NS (15 * 60 * NS_PER_S)

struct containment;

// What the driver does. All of it may be asked twice: effects are idempotent.
struct containment_ops {
    // Publishes level and hold: gates act on it when this returns.
    void (*show)(void *context, enum level level, bool hold);
    // Makes the level durable. False: it may or may not be.
    bool (*persist)(void *context, const struct level_state *state);
    // Asks the VMM to make a level below Offline true; the answer is containment_confirm.
    bool (*ask)(void *context, const struct level_state *state, uint32_t number);
    // Asks the VMM to end, or kills it.
    void (*end)(void *context, bool kill);
    // Carries out, or begins, one effect of enum level_effect that is not the VMM's.
    bool (*carry)(void *context, enum level_effect effect);
    // Something that a person has to know.
    void (*alarm)(void *context, const char *text);
    // For the audit log: before and after; equal if it was refused.
    void (*record)(void *context, const struct level_event *event, const struct level_state *before,
                   const struct level_result *result);
};

enum containment_vmm {
    CONTAINMENT_VMM_STARTING, // cannot be asked yet; nothing of the model runs
    CONTAINMENT_VMM_RUNNING,
    CONTAINMENT_VMM_ENDING, // asked to end, killed after end_deadline_ns
    CONTAINMENT_VMM_GONE,
};

struct containment {
    const struct containment_ops *ops;
    void *context;
    const struct clock *clock;
    struct level_quorum quorum;
    struct level_state state;
    enum containment_vmm vmm;
    bool asked; // the VMM owes a confirmation until confirm_deadline_ns
    bool killed;
    bool stopped;    // the run ends, whatever the level
    uint32_t number; // of the last question
    uint64_t confirm_deadline_ns;
    uint64_t end_deadline_ns;
    uint64_t proposal_deadline_ns;
    uint32_t carried; // effects that wait for the VMM's end and are done
};

// Starts at a level, which is shown. `ops`, `context` and `clock` are borrowed.
void containment_init(struct containment *c, const struct containment_ops *ops, void *context,
                      const struct clock *clock, enum level level);

// Something happens. When it returns without a refusal, the gate is as the new level wants it and
// the level is durable; the rest is on its way and bounded by CONTAINMENT_BOUND_NS.
enum level_refusal containment_happen(struct containment *c, const struct level_event *event);

// Ends the VM without a change of its level: the gate shuts for this run only.
void containment_stop(struct containment *c);

// Publishes level and hold again.
void containment_show(struct containment *c);

// The VMM can be asked from now on, and is, unless the level is Standard.
void containment_vmm_ready(struct containment *c);

// The VMM's answer. `true_now`: everything that the level wants of it is. Answers to an older
// question are ignored. Returns true if it was the one that is waited for.
bool containment_confirm(struct containment *c, uint32_t number, bool true_now);

// The VMM is gone, by itself or killed: what had to wait for that is carried out, in the order
// seal, scrub, destroy keys. A VMM that nobody asked to end is an event of its own, which the
// driver reports before.
void containment_vmm_gone(struct containment *c);

// Looks at the deadlines. Call it when containment_deadline_ns has come, or oftener.
void containment_serve(struct containment *c);

// When containment_serve has something to do, or UINT64_MAX.
uint64_t containment_deadline_ns(const struct containment *c);

#endif
