// SPDX-License-Identifier: Apache-2.0
// The life of a level: order of page, VMM, disk and effects; deadlines; failures.
#include <criterion/criterion.h>
#include <string.h>

#include "containment.h"

#define LOG 256

// Everything that containment asked for, in order, as letters: s show, p persist, a ask, e end,
// k kill, ! alarm, r record, c carry.
static struct {
    struct containment c;
    char log[LOG];
    unsigned used;
    enum level shown;
    bool held;
    enum level durable;
    uint32_t carried;
    uint64_t now_ns;
    bool persist_fails, ask_fails;
    uint32_t failing_effect;
} w;

static void note(char letter)
{
    cr_assert(w.used < LOG - 1, "endless");
    w.log[w.used++] = letter;
}

static void world_show(void *context, enum level level, bool hold)
{
    (void)context;
    w.shown = level;
    w.held = hold;
    note('s');
}

static bool world_persist(void *context, const struct level_state *state)
{
    (void)context;
    note('p');
    if (w.persist_fails)
        return false;
    w.durable = state->level;
    return true;
}

static bool world_ask(void *context, const struct level_state *state, uint32_t number)
{
    (void)context;
    (void)state;
    (void)number;
    note('a');
    return !w.ask_fails;
}

static void world_end(void *context, bool kill)
{
    (void)context;
    note(kill ? 'k' : 'e');
}

static bool world_carry(void *context, enum level_effect effect)
{
    (void)context;
    note('c');
    w.carried |= effect;
    return !(effect & w.failing_effect);
}

static void world_alarm(void *context, const char *text)
{
    (void)context;
    cr_assert(text[0]);
    note('!');
}

static void world_record(void *context, const struct level_event *event,
                         const struct level_state *before, const struct level_result *result)
{
    (void)context;
    (void)event;
    (void)before;
    (void)result;
    note('r');
}

static const struct containment_ops ops = {
    .show = world_show,
    .persist = world_persist,
    .ask = world_ask,
    .end = world_end,
    .carry = world_carry,
    .alarm = world_alarm,
    .record = world_record,
};

static uint64_t world_now(const struct clock *clock)
{
    (void)clock;
    return w.now_ns;
}

static const struct clock clock_world = {.now_ns = world_now, .wall_ns = world_now};

static void begin(enum level level)
{
    memset(&w, 0, sizeof(w));
    w.now_ns = NS_PER_S;
    containment_init(&w.c, &ops, NULL, &clock_world, level);
    w.c.quorum = (struct level_quorum){.keys = 7, .raise = 3, .lower = 5};
    w.durable = level;
    containment_vmm_ready(&w.c);
    w.c.asked = false;
    memset(w.log, 0, sizeof(w.log));
    w.used = 0;
}

static enum level_refusal set(enum level_actor actor, enum level level, unsigned signatures)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = actor,
        .target = level,
        .signatures = signatures,
    };
    return containment_happen(&w.c, &event);
}

Test(containment, raising_shuts_the_gate_before_it_asks_and_asks_before_it_waits_for_a_disk)
{
    begin(LEVEL_STANDARD);
    cr_assert_eq(set(LEVEL_ACTOR_OPERATOR, LEVEL_SEVERED, 0), LEVEL_REFUSAL_NONE);
    cr_assert_str_eq(w.log, "sarpc");
    cr_assert_eq(w.shown, LEVEL_SEVERED);
    cr_assert_eq(w.durable, LEVEL_SEVERED);
    cr_assert_eq(w.carried, LEVEL_EFFECT_KILL_BACKENDS);
}

Test(containment, lowering_is_durable_before_it_is_shown)
{
    begin(LEVEL_SEVERED);
    cr_assert_eq(set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_STANDARD, 5), LEVEL_REFUSAL_NONE);
    cr_assert_str_eq(w.log, "prsa");
    cr_assert_eq(w.shown, LEVEL_STANDARD);
}

Test(containment, a_refusal_changes_nothing_and_is_recorded)
{
    begin(LEVEL_SEVERED);
    cr_assert_eq(set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_STANDARD, 4), LEVEL_REFUSAL_SIGNATURES);
    cr_assert_eq(set(LEVEL_ACTOR_OPERATOR, LEVEL_STANDARD, 9), LEVEL_REFUSAL_LOWERING);
    cr_assert_eq(set(LEVEL_ACTOR_DETECTOR, LEVEL_DECAPITATION, 9), LEVEL_REFUSAL_BEYOND_ACTOR);
    cr_assert_str_eq(w.log, "rrr");
    cr_assert_eq(w.shown, LEVEL_SEVERED);
}

Test(containment, offline_ends_then_kills_then_seals_and_scrubs)
{
    begin(LEVEL_STANDARD);
    set(LEVEL_ACTOR_HYPERVISOR, LEVEL_OFFLINE, 0);
    cr_assert_str_eq(w.log, "serpcc");
    cr_assert_eq(containment_deadline_ns(&w.c), w.now_ns + CONTAINMENT_END_NS);
    w.now_ns += CONTAINMENT_END_NS - 1;
    containment_serve(&w.c);
    cr_assert_str_eq(w.log, "serpcc", "too early");
    w.now_ns += 1;
    containment_serve(&w.c);
    cr_assert_str_eq(w.log, "serpcck");
    containment_serve(&w.c);
    cr_assert_str_eq(w.log, "serpcck", "killed once");
    cr_assert_not(w.carried & (LEVEL_EFFECT_SEAL_MEMORY | LEVEL_EFFECT_SCRUB_MEMORY),
                  "not while something may still write");
    containment_vmm_gone(&w.c);
    cr_assert(w.carried & LEVEL_EFFECT_SEAL_MEMORY);
    cr_assert(w.carried & LEVEL_EFFECT_SCRUB_MEMORY);
    cr_assert_not(w.carried & LEVEL_EFFECT_DESTROY_KEYS);
    cr_assert_eq(containment_deadline_ns(&w.c), UINT64_MAX);
}

Test(containment, what_waited_for_the_end_is_carried_out_once)
{
    begin(LEVEL_STANDARD);
    set(LEVEL_ACTOR_HYPERVISOR, LEVEL_OFFLINE, 0);
    containment_vmm_gone(&w.c);
    unsigned used = w.used;
    containment_vmm_gone(&w.c);
    cr_assert_eq(w.used, used);
    // A higher level adds only what the lower one did not do.
    set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_IMMOLATION, 3);
    cr_assert(w.carried & LEVEL_EFFECT_DESTROY_KEYS);
    cr_assert(w.carried & LEVEL_EFFECT_DESTROY);
}

Test(containment, a_late_or_false_confirmation_is_offline_by_force)
{
    for (int late = 0; late < 2; late++) {
        begin(LEVEL_STANDARD);
        set(LEVEL_ACTOR_OPERATOR, LEVEL_PROBATION, 0);
        uint32_t number = w.c.number;
        cr_assert_not(containment_confirm(&w.c, number - 1, false), "not the one waited for");
        if (late) {
            w.now_ns = containment_deadline_ns(&w.c);
            containment_serve(&w.c);
        } else {
            cr_assert(containment_confirm(&w.c, number, false));
        }
        cr_assert_eq(w.shown, LEVEL_OFFLINE);
        cr_assert_eq(w.durable, LEVEL_OFFLINE);
        cr_assert(strchr(w.log, 'k') && strchr(w.log, '!'));
        cr_assert_not(containment_confirm(&w.c, number, true), "too late");
    }
}

Test(containment, a_disk_that_fails_is_offline_and_never_lower)
{
    for (unsigned from = 0; from < LEVEL_COUNT; from++) {
        for (unsigned to = 0; to < LEVEL_COUNT; to++) {
            begin((enum level)from);
            w.persist_fails = true;
            enum level_refusal refusal = set(LEVEL_ACTOR_ADMINISTRATORS, (enum level)to, 7);
            if (refusal && refusal != LEVEL_REFUSAL_NOT_DURABLE)
                continue;
            unsigned least = from > LEVEL_OFFLINE ? from : LEVEL_OFFLINE;
            cr_assert_geq(w.shown, least, "%u to %u shows %u", from, to, w.shown);
            cr_assert_eq(refusal == LEVEL_REFUSAL_NOT_DURABLE, to < from);
        }
    }
}

Test(containment, a_vmm_that_cannot_be_asked_is_killed)
{
    begin(LEVEL_STANDARD);
    w.ask_fails = true;
    set(LEVEL_ACTOR_OPERATOR, LEVEL_SEVERED, 0);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    cr_assert_eq(w.durable, LEVEL_OFFLINE);
    cr_assert(strchr(w.log, 'k'));
}

Test(containment, a_failing_effect_ends_in_offline_and_does_not_recurse)
{
    begin(LEVEL_STANDARD);
    w.failing_effect = LEVEL_EFFECT_KILL_BACKENDS | LEVEL_EFFECT_CUT_REVERSIBLY;
    set(LEVEL_ACTOR_OPERATOR, LEVEL_SEVERED, 0);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    cr_assert(strchr(w.log, 'k'));
    begin(LEVEL_STANDARD);
    w.failing_effect = UINT32_MAX;
    set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_IMMOLATION, 3);
    cr_assert_eq(w.shown, LEVEL_IMMOLATION, "no failure lowers");
    containment_vmm_gone(&w.c);
    cr_assert(strchr(w.log, '!'));
}

Test(containment, a_stop_shuts_the_gate_for_the_run_and_leaves_the_level)
{
    begin(LEVEL_PROBATION);
    containment_stop(&w.c);
    cr_assert_str_eq(w.log, "se");
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    cr_assert_eq(w.c.state.level, LEVEL_PROBATION);
    cr_assert_eq(w.durable, LEVEL_PROBATION);
    // Nothing opens it again, neither up nor down.
    set(LEVEL_ACTOR_OPERATOR, LEVEL_SEVERED, 0);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_STANDARD, 5);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    cr_assert_eq(w.durable, LEVEL_STANDARD);
    containment_vmm_gone(&w.c);
    cr_assert_not(w.carried & LEVEL_EFFECT_SEAL_MEMORY);
}

Test(containment, lowering_while_the_vmm_ends_does_not_open_its_gate)
{
    begin(LEVEL_STANDARD);
    set(LEVEL_ACTOR_OPERATOR, LEVEL_OFFLINE, 0);
    set(LEVEL_ACTOR_ADMINISTRATORS, LEVEL_STANDARD, 5);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    containment_vmm_gone(&w.c);
    set(LEVEL_ACTOR_OPERATOR, LEVEL_PROBATION, 0);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
}

Test(containment, an_open_proposal_holds_its_level_until_it_is_over)
{
    begin(LEVEL_STANDARD);
    const struct level_event propose = {
        .kind = LEVEL_EVENT_PROPOSE,
        .actor = LEVEL_ACTOR_ADMINISTRATORS,
        .target = LEVEL_IMMOLATION,
        .signatures = 1,
    };
    cr_assert_eq(containment_happen(&w.c, &propose), LEVEL_REFUSAL_NONE);
    cr_assert_eq(w.shown, LEVEL_OFFLINE);
    containment_vmm_gone(&w.c);
    cr_assert_eq(containment_deadline_ns(&w.c), w.now_ns + CONTAINMENT_PROPOSAL_NS);
    w.now_ns += CONTAINMENT_PROPOSAL_NS;
    containment_serve(&w.c);
    cr_assert_not(w.c.state.proposed);
    cr_assert_eq(w.shown, LEVEL_OFFLINE, "what is more restrictive stays");
    cr_assert_eq(containment_deadline_ns(&w.c), UINT64_MAX);
}

Test(containment, a_vm_that_starts_above_standard_is_asked_as_soon_as_it_can_be)
{
    memset(&w, 0, sizeof(w));
    containment_init(&w.c, &ops, NULL, &clock_world, LEVEL_SEVERED);
    cr_assert_str_eq(w.log, "s");
    set(LEVEL_ACTOR_OPERATOR, LEVEL_OFFLINE, 0);
    cr_assert_str_eq(w.log, "sserpcc", "even one that has not begun");
    memset(&w, 0, sizeof(w));
    containment_init(&w.c, &ops, NULL, &clock_world, LEVEL_SEVERED);
    containment_vmm_ready(&w.c);
    containment_vmm_ready(&w.c);
    cr_assert_str_eq(w.log, "sa");
}
