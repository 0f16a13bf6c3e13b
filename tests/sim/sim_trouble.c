// SPDX-License-Identifier: Apache-2.0
// What goes wrong, who wants what, and what follows: faults, people, power.
#include <string.h>

#include "failsafe_sim.h"

const char *const cause_names[CAUSE_COUNT] = {
    [CAUSE_DETECTOR] = "alarm of a detector",
    [CAUSE_OPERATOR] = "operator",
    [CAUSE_ADMINISTRATORS] = "order of administrators",
    [CAUSE_PROPOSAL] = "open proposal",
    [CAUSE_VIOLATION] = "violation",
    [CAUSE_VMM_SILENT] = "threads of the VMM hang",
    [CAUSE_VMM_DEAF] = "vCPUs do not leave guest mode",
    [CAUSE_SUPERVISOR_SILENT] = "supervisor stopped",
    [CAUSE_SUPERVISOR_DEAD] = "supervisor killed",
    [CAUSE_VMM_DEAD] = "VMM killed",
    [CAUSE_BOTH_STOPPED] = "both stopped",
    [CAUSE_OPERATOR_SILENT] = "operator's console silent",
    [CAUSE_DISK_FAILED] = "raise on a disk that fails",
    [CAUSE_POWER_CUT] = "power cut",
};

#define RUN_BOUND_NS (BEAT_BOUND_NS + CONTAINMENT_BOUND_NS + 3 * JITTER_MAX_NS + KILL_MAX_NS)

// Signing and checking take most of the time.
#define SIGNED_PER_MILLE 100

static uint64_t soon(uint64_t mean_ns)
{
    return w.now_ns + 1 + sim_random(2 * mean_ns);
}

static enum level_refusal set(enum level_actor actor, enum level level, unsigned signatures,
                              bool repaired, enum cause cause)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = actor,
        .target = level,
        .signatures = signatures,
        .repaired = repaired,
    };
    return supervisor_event(&event, cause);
}

void world_begin(void)
{
    orders_begin();
    w.uuid.bytes[0] = 1;
    w.durable = w.acknowledged = LEVEL_STANDARD;
    sim_at(TIMER_RELAUNCH, w.now_ns);
    sim_at(TIMER_FAULT, soon(1800 * NS_PER_S));
    sim_at(TIMER_PEOPLE, soon(INTERVAL_NS));
}

// Nothing brings this one back. Another one takes its place, of which the disk knows nothing.
static void replace_vm(void)
{
    sim_trace("immolated: a new VM takes its place");
    memset(w.disk.files, 0, sizeof(w.disk.files));
    w.uuid.bytes[0]++;
    w.durable = w.acknowledged = w.required = LEVEL_STANDARD;
    w.orders.spent_sequence = 0;
}

// As vm_at_rest_order: the administrators meet about a VM that does not run.
static void order_at_rest(struct state_record *record, bool damaged)
{
    const struct level_state state = {.level = (enum level)record->level};
    const struct level_quorum quorum = {.keys = 7, .raise = 3, .lower = 5};
    struct sim_order signed_order;
    struct level_event order = {
        .kind = LEVEL_EVENT_SET,
        .actor = LEVEL_ACTOR_ADMINISTRATORS,
        .target = state.level == LEVEL_DECAPITATION ? LEVEL_OFFLINE : LEVEL_STANDARD,
        .signatures = 3 + (uint32_t)sim_random(5),
        .repaired = sim_chance(500),
    };
    unsigned signatures = order.signatures;
    bool is_signed = sim_chance(SIGNED_PER_MILLE);
    if (is_signed) {
        orders_make(&signed_order, state.level, order.target, signatures, order.repaired,
                    record->sequence);
        if (orders_check(&signed_order, state.level, record->sequence, &order))
            return;
    }
    struct level_result result = level_transition(&state, &order, &quorum);
    if (result.refusal)
        return;
    if (order.signatures < 5 || state.level == LEVEL_IMMOLATION ||
        (state.level == LEVEL_DECAPITATION && !order.repaired))
        sim_fail("an order was accepted that lacks something");
    // It may be on disk before anybody hears of it.
    w.durable = w.required = result.state.level;
    record->level = result.state.level;
    record->running = false;
    if (is_signed && w.sabotage != SABOTAGE_SEQUENCE_FORGOTTEN)
        record->sequence = signed_order.order.sequence;
    if (!(damaged ? sim_disk_repair(record) : sim_disk_write(record)))
        return;
    w.acknowledged = result.state.level;
    if (is_signed)
        orders_spent(&signed_order);
}

// What a launch finds on the disk. False: it has to be tried again.
static bool read_state(struct state_record *record, bool *damaged)
{
    if (!sim_disk_has_state()) {
        *record = (struct state_record){.uuid = w.uuid};
        *damaged = false;
        return sim_disk_create(record);
    }
    *damaged = !sim_disk_read(record);
    enum level level = (enum level)record->level;
    sim_trace("the disk says %s%s%s", level_name(level), *damaged ? ", damaged: " : ": ",
              record->reason);
    if (level < w.durable)
        sim_fail("%s was durable, the disk says %s", level_name(w.durable), level_name(level));
    if (level < w.required && w.required <= LEVEL_OFFLINE)
        sim_fail("%s is required, the disk says %s", level_name(w.required), level_name(level));
    if (record->sequence < w.orders.spent_sequence)
        sim_fail("the sequence number of an accepted order is forgotten");
    w.durable = w.acknowledged = w.required = level;
    return true;
}

void world_relaunch(void)
{
    struct state_record record;
    bool damaged;
    if (w.supervisor.runs)
        return;
    sim_at(TIMER_RELAUNCH, soon(600 * NS_PER_S));
    if (w.disk.fails)
        sim_disk_replace();
    if (!read_state(&record, &damaged))
        return;
    if (record.level >= LEVEL_OFFLINE) {
        if (record.level == LEVEL_IMMOLATION)
            replace_vm();
        else
            order_at_rest(&record, damaged);
        return;
    }
    // The mark is durable before anything runs.
    record.running = w.sabotage != SABOTAGE_MARK_FORGOTTEN;
    record.restarts++;
    if (!sim_disk_write(&record) || w.power_cut)
        return;
    w.timers[TIMER_RELAUNCH] = NEVER;
    w.console_silent = false;
    sim_trace("launch at %s", level_name(record.level));
    supervisor_launch(&record);
    vmm_launch();
}

void world_power_cut(void)
{
    w.power_cut = false;
    sim_trace("power cut");
    sim_disk_power_cut();
    sim_demand(CAUSE_POWER_CUT, LEVEL_OFFLINE, 0, 0);
    sim_vmm_gone();
    w.supervisor.runs = false;
    for (unsigned i = 0; i < TIMER_COUNT; i++) {
        if (i != TIMER_FAULT && i != TIMER_PEOPLE)
            w.timers[i] = NEVER;
    }
    w.to_vmm.count = w.to_supervisor.count = 0;
    sim_at(TIMER_RELAUNCH, soon(60 * NS_PER_S));
}

// SIGCONT, and what was stopped finds that time has passed.
void trouble_continue(void)
{
    bool supervisor = w.supervisor.runs && w.supervisor.stopped;
    bool vmm = w.vmm.runs && w.vmm.stopped;
    if (!supervisor && !vmm)
        return;
    sim_trace("continued:%s%s", supervisor ? " supervisor" : "", vmm ? " VMM" : "");
    w.supervisor.stopped = false;
    w.vmm.stopped = false;
    if (supervisor) {
        sim_at(TIMER_SUPERVISOR, w.now_ns + sim_delay());
        sim_sooner(TIMER_TO_SUPERVISOR, w.now_ns + sim_delay());
        if (!w.vmm.runs)
            supervisor_vmm_died();
    }
    if (vmm) {
        if (!w.vmm.watchdog_hung)
            sim_at(TIMER_WATCHDOG, w.now_ns + sim_delay());
        if (!w.vmm.control_hung)
            sim_at(TIMER_CONTROL, w.now_ns + sim_delay());
        sim_sooner(TIMER_TO_VMM, w.now_ns + sim_delay());
        if (!w.supervisor.runs)
            vmm_supervisor_died();
    }
}

static void stop_processes(bool supervisor, bool vmm)
{
    // Half of the stops are shorter than anybody notices.
    uint64_t length_ns = sim_chance(500) ? sim_random(PERIOD_NS / 2) : sim_random(20 * PERIOD_NS);
    w.supervisor.stopped = w.supervisor.stopped || supervisor;
    w.vmm.stopped = w.vmm.stopped || vmm;
    sim_trace("stopped:%s%s for %.1f s", supervisor ? " supervisor" : "", vmm ? " VMM" : "",
              (double)length_ns / 1e9);
    sim_at(TIMER_CONTINUE, w.now_ns + length_ns);
    // Both watchers in the VMM hang and the supervisor stands still: nobody is left who could act.
    // What watches the supervisor (systemd, a hardware watchdog) is not part of this world.
    bool nobody = supervisor && !vmm && w.vmm.control_hung && w.vmm.watchdog_hung;
    if (nobody)
        sim_prolong_debts(length_ns);
    // Who stops only the supervisor leaves the model running; the rest stands still already.
    else if (length_ns > 2 * BEAT_BOUND_NS)
        sim_demand(supervisor && vmm ? CAUSE_BOTH_STOPPED
                   : supervisor      ? CAUSE_SUPERVISOR_SILENT
                                     : CAUSE_VMM_SILENT,
                   LEVEL_OFFLINE, BEAT_BOUND_NS, RUN_BOUND_NS);
}

static void kill_supervisor(void)
{
    sim_trace("the supervisor is killed");
    w.supervisor.runs = false;
    w.timers[TIMER_SUPERVISOR] = w.timers[TIMER_TO_SUPERVISOR] = NEVER;
    w.to_supervisor.count = 0;
    sim_demand(CAUSE_SUPERVISOR_DEAD, LEVEL_OFFLINE, KILL_MAX_NS, KILL_MAX_NS);
    vmm_supervisor_died();
    // The kernel kills the child of a dead parent, whatever hangs in it (PR_SET_PDEATHSIG).
    if (w.sabotage != SABOTAGE_NO_DEATH_SIGNAL)
        sim_sooner(TIMER_VMM_END, w.now_ns + sim_random(KILL_MAX_NS));
    sim_at(TIMER_RELAUNCH, soon(600 * NS_PER_S) + 10 * PERIOD_NS);
}

static void hang_vmm(void)
{
    unsigned which = (unsigned)sim_random(3);
    w.vmm.control_hung = w.vmm.control_hung || which != 1;
    w.vmm.watchdog_hung = w.vmm.watchdog_hung || which != 0;
    sim_trace("in the VMM hang:%s%s", which != 1 ? " control" : "", which != 0 ? " watchdog" : "");
    sim_demand(CAUSE_VMM_SILENT, LEVEL_OFFLINE, BEAT_BOUND_NS, RUN_BOUND_NS);
}

void trouble_fault(void)
{
    // It seldom comes alone.
    sim_at(TIMER_FAULT, soon(sim_chance(100) ? PERIOD_NS / 2 : 1800 * NS_PER_S));
    if (!w.supervisor.runs || !w.vmm.runs || w.vmm.ending || w.supervisor.stopped ||
        w.vmm.stopped || w.supervisor.kills)
        return;
    enum level level = (enum level)(LEVEL_PROBATION + sim_random(3));
    switch (sim_random(14)) {
    case 0:
    case 1:
        set(LEVEL_ACTOR_DETECTOR, level, 0, false, CAUSE_DETECTOR);
        break;
    case 2:
        set(LEVEL_ACTOR_HYPERVISOR, LEVEL_OFFLINE, 0, false, CAUSE_VIOLATION);
        break;
    case 3:
        hang_vmm();
        break;
    case 4:
        w.vmm.deaf = true;
        set(LEVEL_ACTOR_DETECTOR, LEVEL_SEVERED, 0, false, CAUSE_VMM_DEAF);
        break;
    case 5:
        stop_processes(true, false);
        break;
    case 6:
        stop_processes(false, true);
        break;
    case 7:
        stop_processes(true, true);
        break;
    case 8:
        kill_supervisor();
        break;
    case 9:
        sim_trace("the VMM is killed");
        sim_demand(CAUSE_VMM_DEAD, LEVEL_OFFLINE, 0, 0);
        vmm_end();
        break;
    case 10:
        w.console_silent = true;
        sim_trace("the console falls silent");
        sim_demand(CAUSE_OPERATOR_SILENT, LEVEL_OFFLINE, BEAT_BOUND_NS + INTERVAL_NS,
                   RUN_BOUND_NS + INTERVAL_NS);
        break;
    case 11:
        w.disk.fails = true;
        sim_trace("the disk fails");
        set(LEVEL_ACTOR_OPERATOR, level, 0, false, CAUSE_DISK_FAILED);
        break;
    case 12:
        w.power_cut = true;
        break;
    default:
        // Wall clocks step; nothing that waits may care.
        w.wall_offset_ns += sim_random(2 * 86400 * NS_PER_S) - 86400 * NS_PER_S;
        break;
    }
}

static void propose(enum level level)
{
    const struct level_event event = {
        .kind = LEVEL_EVENT_PROPOSE,
        .actor = LEVEL_ACTOR_ADMINISTRATORS,
        .target = level,
        .signatures = 1,
    };
    supervisor_event(&event, CAUSE_PROPOSAL);
}

// The operator's console beats; now and then somebody wants another level.
void people_turn(void)
{
    sim_at(TIMER_PEOPLE, w.now_ns + INTERVAL_NS + sim_delay());
    if (!w.supervisor.runs || w.supervisor.stopped || !w.vmm.runs)
        return;
    if (!w.console_silent)
        w.supervisor.person_beats++;
    if (!sim_chance(12))
        return;
    enum level level = (enum level)sim_random(LEVEL_COUNT);
    switch (sim_random(6)) {
    case 0:
        set(LEVEL_ACTOR_OPERATOR, level, 7, true, CAUSE_OPERATOR);
        break;
    case 1:
        propose(level);
        break;
    default:
        // Anything from nobody to all of them; some really sign.
        if (sim_chance(SIGNED_PER_MILLE))
            supervisor_order(level, (unsigned)sim_random(8), sim_chance(500), CAUSE_ADMINISTRATORS);
        else
            set(LEVEL_ACTOR_ADMINISTRATORS, level, (uint32_t)sim_random(8), sim_chance(500),
                CAUSE_ADMINISTRATORS);
        break;
    }
}

void world_end(void)
{
    if (!w.failed && w.supervisor.runs && !w.supervisor.stopped &&
        w.supervisor.containment.state.level < w.required)
        sim_fail("the supervisor believes %s, required is %s",
                 level_name(w.supervisor.containment.state.level), level_name(w.required));
}
