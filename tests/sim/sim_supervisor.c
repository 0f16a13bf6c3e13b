// SPDX-License-Identifier: Apache-2.0
// The simulated supervisor: the turns of its loop around the real containment core and the real
// heartbeat watches, in the order of monitor/supervisor.c and monitor/supervisor_heartbeat.c.
#include <string.h>

#include "failsafe_sim.h"

static void show(void *context, enum level level, bool hold)
{
    (void)context;
    if (w.sabotage == SABOTAGE_PAGE_NOT_SHOWN && level == LEVEL_SEVERED)
        return;
    atomic_store(&w.supervisor_page.hold, hold);
    atomic_store(&w.supervisor_page.level, level);
}

// As vm_state_persist.
static bool persist(void *context, const struct level_state *state)
{
    (void)context;
    struct sim_supervisor *s = &w.supervisor;
    if (w.power_cut)
        return true; // there is nobody any more whom it could help
    // What a quorum lowers may be on disk before anybody hears of it.
    if (state->level < w.durable)
        w.durable = state->level;
    s->record.level = state->level;
    if (s->last_sequence > s->record.sequence && w.sabotage != SABOTAGE_SEQUENCE_FORGOTTEN)
        s->record.sequence = s->last_sequence;
    if (w.sabotage != SABOTAGE_NOT_DURABLE && !sim_disk_write(&s->record))
        return w.power_cut;
    w.durable = w.acknowledged = state->level;
    if (s->order && s->order->order.to == state->level)
        orders_spent(s->order);
    return true;
}

static bool ask(void *context, const struct level_state *state, uint32_t number)
{
    (void)context;
    if (!w.vmm.runs)
        return false;
    const struct sim_message message = {
        .number = number,
        .level = state->level,
        .hold = state->hold,
    };
    sim_send(&w.to_vmm, TIMER_TO_VMM, &message);
    return true;
}

static void end(void *context, bool kill)
{
    (void)context;
    if (kill)
        w.supervisor.kills = w.sabotage != SABOTAGE_NOT_KILLED;
    else if (w.vmm.runs) {
        const struct sim_message message = {.level = LEVEL_OFFLINE, .number = UINT32_MAX};
        sim_send(&w.to_vmm, TIMER_TO_VMM, &message);
    } else {
        w.supervisor.kills = true;
    }
}

static bool carry(void *context, enum level_effect effect)
{
    (void)context;
    if ((effect == LEVEL_EFFECT_SEAL_MEMORY || effect == LEVEL_EFFECT_SCRUB_MEMORY) && w.vmm.runs)
        sim_fail("memory is scrubbed under a VMM that runs");
    return !sim_chance(20);
}

static void raise_alarm(void *context, const char *text)
{
    (void)context;
    sim_trace("ALARM: %s", text);
}

static void record(void *context, const struct level_event *event, const struct level_state *before,
                   const struct level_result *result)
{
    (void)context;
    sim_trace("event %d by %d: %s to %s%s%s", (int)event->kind, (int)event->actor,
              level_name(before->level), level_name(result->state.level),
              result->refusal ? ": " : "",
              result->refusal ? level_refusal_text(result->refusal) : "");
}

static const struct containment_ops ops = {
    .show = show,
    .persist = persist,
    .ask = ask,
    .end = end,
    .carry = carry,
    .alarm = raise_alarm,
    .record = record,
};

void supervisor_launch(const struct state_record *record)
{
    struct sim_supervisor *s = &w.supervisor;
    enum level level = (enum level)record->level;
    memset(s, 0, sizeof(*s));
    s->record = *record;
    s->last_sequence = record->sequence;
    memset(&w.supervisor_page, 0, sizeof(w.supervisor_page));
    s->runs = true;
    s->launched_at = level;
    containment_init(&s->containment, &ops, NULL, &sim_clock, level);
    s->containment.quorum = (struct level_quorum){.keys = 7, .raise = 3, .lower = 5};
    sim_at(TIMER_SUPERVISOR, w.now_ns + sim_delay());
}

// The loop has ended: kill, reap, forensics, and the process is gone.
static void finish(void)
{
    struct sim_supervisor *s = &w.supervisor;
    sim_trace("the run ends");
    sim_vmm_gone();
    w.timers[TIMER_WATCHDOG] = w.timers[TIMER_CONTROL] = w.timers[TIMER_VMM_END] = NEVER;
    w.to_vmm.count = w.to_supervisor.count = 0;
    containment_vmm_gone(&s->containment);
    if (w.power_cut)
        return;
    // An orderly end: the mark goes, the level stays. If that cannot be written the mark stays.
    s->record.running = false;
    sim_disk_write(&s->record);
    s->runs = false;
    w.timers[TIMER_SUPERVISOR] = NEVER;
    sim_at(TIMER_RELAUNCH, w.now_ns + sim_random(600 * NS_PER_S));
}

static void go_offline(void)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = LEVEL_ACTOR_HYPERVISOR,
        .target = LEVEL_OFFLINE,
    };
    containment_happen(&w.supervisor.containment, &event);
    sim_require(LEVEL_OFFLINE);
    w.supervisor.kills = true;
}

static void look_at_beats(void)
{
    struct sim_supervisor *s = &w.supervisor;
    if (!s->watching) {
        s->watching = true;
        s->asked_ns = w.now_ns;
        heartbeat_watch_start(&s->page, PERIOD_NS, atomic_load(&w.vmm_page.beat), false, w.now_ns);
        heartbeat_watch_start(&s->channel, PERIOD_NS, s->answered, false, w.now_ns);
        heartbeat_watch_start(&s->person, PERIOD_NS, s->person_beats, false, w.now_ns);
    }
    if (heartbeat_watch_check(&s->page, atomic_load(&w.vmm_page.beat), w.now_ns) !=
            HEARTBEAT_ALIVE ||
        heartbeat_watch_check(&s->channel, s->answered, w.now_ns) != HEARTBEAT_ALIVE ||
        heartbeat_watch_check(&s->person, s->person_beats, w.now_ns) != HEARTBEAT_ALIVE) {
        sim_trace("a heartbeat is lost");
        go_offline();
        return;
    }
    if (s->answered == s->asked && w.now_ns - s->asked_ns >= INTERVAL_NS) {
        const struct sim_message message = {.beat = ++s->asked};
        s->asked_ns = w.now_ns;
        sim_send(&w.to_vmm, TIMER_TO_VMM, &message);
    }
}

static void plan_turn(void)
{
    struct sim_supervisor *s = &w.supervisor;
    uint64_t next = w.now_ns + INTERVAL_NS;
    uint64_t deadline = containment_deadline_ns(&s->containment);
    if (deadline < next)
        next = deadline < w.now_ns ? w.now_ns : deadline;
    sim_at(TIMER_SUPERVISOR, next + sim_delay());
}

void supervisor_turn(void)
{
    struct sim_supervisor *s = &w.supervisor;
    if (!s->runs || s->stopped)
        return;
    atomic_fetch_add(&w.supervisor_page.beat, 1);
    if (w.sabotage == SABOTAGE_LOWERED && sim_chance(1))
        atomic_store(&w.supervisor_page.level, LEVEL_STANDARD);
    if (s->vmm_ready && w.sabotage != SABOTAGE_BEATS_IGNORED &&
        s->containment.vmm < CONTAINMENT_VMM_ENDING && !s->kills)
        look_at_beats();
    if (!w.power_cut)
        containment_serve(&s->containment);
    if (s->kills && !w.power_cut) {
        // Killing takes the kernel a moment, in which vCPUs may still run.
        if (w.vmm.runs && !w.vmm.ending) {
            w.vmm.ending = true;
            sim_at(TIMER_VMM_END, w.now_ns + sim_random(KILL_MAX_NS));
        } else if (!w.vmm.runs) {
            finish();
            return;
        }
    }
    plan_turn();
}

void supervisor_receive(void)
{
    struct sim_supervisor *s = &w.supervisor;
    struct sim_message message;
    if (!s->runs || s->stopped || !sim_take(&w.to_supervisor, TIMER_TO_SUPERVISOR, &message))
        return;
    if (message.number)
        containment_confirm(&s->containment, message.number, message.true_now);
    else
        s->answered = message.beat;
    sim_sooner(TIMER_SUPERVISOR, w.now_ns);
}

// The channel closed, or the pidfd says so.
void supervisor_vmm_died(void)
{
    struct sim_supervisor *s = &w.supervisor;
    if (!s->runs || s->stopped)
        return;
    if (s->containment.vmm < CONTAINMENT_VMM_ENDING)
        go_offline();
    s->kills = true;
    sim_sooner(TIMER_SUPERVISOR, w.now_ns + sim_delay());
}

enum level_refusal supervisor_event(const struct level_event *event, enum cause cause)
{
    struct sim_supervisor *s = &w.supervisor;
    if (!s->runs || s->stopped || w.power_cut)
        return LEVEL_REFUSAL_INVALID;
    struct level_state before = s->containment.state;
    bool disk_failed = w.disk.fails;
    // The gate is shut when the decision is made; the vCPUs follow.
    uint64_t bound = CONTAINMENT_BOUND_NS + 3 * JITTER_MAX_NS + KILL_MAX_NS;
    enum level_refusal refusal = containment_happen(&s->containment, event);
    enum level now = s->containment.state.level;
    if (now > before.level) {
        sim_demand(disk_failed ? CAUSE_DISK_FAILED : cause, now, 0, bound);
        if (!w.power_cut)
            sim_require(now);
    } else if (now < before.level) {
        // Only what a quorum has lowered may be lower.
        if (event->actor != LEVEL_ACTOR_ADMINISTRATORS || event->signatures < 5)
            sim_fail("a level fell without five signatures");
        sim_lowered(now);
        if (!w.power_cut && w.acknowledged != now)
            sim_fail("a lower level is in force before it is durable");
    }
    if (before.level == LEVEL_IMMOLATION && now != LEVEL_IMMOLATION)
        sim_fail("immolation ended");
    sim_sooner(TIMER_SUPERVISOR, w.now_ns + sim_delay());
    return refusal;
}

// As supervisor_take_order.
uint32_t supervisor_order(enum level level, unsigned count, bool repaired, enum cause cause)
{
    struct sim_supervisor *s = &w.supervisor;
    struct sim_order signed_order;
    struct level_event event;
    enum level from = s->containment.state.level;
    if (level == from)
        return LEVEL_REFUSAL_NO_CHANGE;
    orders_make(&signed_order, from, level, count, repaired, s->last_sequence);
    uint32_t refusal = orders_check(&signed_order, from, s->last_sequence, &event);
    if (!refusal)
        refusal = level_transition(&s->containment.state, &event, &s->containment.quorum).refusal;
    if (refusal)
        return refusal;
    s->last_sequence = signed_order.order.sequence;
    s->order = &signed_order;
    refusal = supervisor_event(&event, cause);
    s->order = NULL;
    return refusal;
}
