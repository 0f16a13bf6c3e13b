// SPDX-License-Identifier: Apache-2.0
// Deterministic simulation of the fail-safe: days of alarms, lost heartbeats, crashes, bad quorums,
// clock steps and failing disks, on a clock of its own, with the containment core and the heartbeat
// watches that the programs use. A seed decides everything; the same seed does the same again.
//
//   failsafe-sim [--seeds N] [--first SEED] [--hours H] [--tap]
//   failsafe-sim --seed SEED [--hours H] --trace
//
// Whatever demands a level starts a debt: the gate must be shut, and the model must not run, within
// the bound that docs/levels.md gives for that cause. What was paid must stay paid until a valid
// quorum lowers the level. What the disk said was durable must be there after a power cut.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failsafe_sim.h"

struct world w;

uint64_t sim_random(uint64_t below)
{
    // xorshift64*; the low bits are the weak ones.
    w.random ^= w.random >> 12;
    w.random ^= w.random << 25;
    w.random ^= w.random >> 27;
    return ((w.random * 0x2545f4914f6cdd1dull) >> 16) % below;
}

bool sim_chance(unsigned per_mille)
{
    return sim_random(1000) < per_mille;
}

void sim_trace(const char *format, ...)
{
    va_list arguments;
    if (!w.trace)
        return;
    printf("# %12.6f s  ", (double)w.now_ns / 1e9);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void sim_fail(const char *format, ...)
{
    va_list arguments;
    if (w.failed)
        return;
    w.failed = true;
    va_start(arguments, format);
    vsnprintf(w.failure, sizeof(w.failure), format, arguments);
    va_end(arguments);
    sim_trace("FAILURE: %s", w.failure);
}

static uint64_t sim_now(const struct clock *clock)
{
    (void)clock;
    return w.now_ns;
}

// Unix time at the beginning: steps lead nowhere near 0.
#define WALL_NS (1800000000 * NS_PER_S)

static uint64_t sim_wall(const struct clock *clock)
{
    (void)clock;
    return WALL_NS + w.now_ns + w.wall_offset_ns;
}

const struct clock sim_clock = {.now_ns = sim_now, .wall_ns = sim_wall};

void sim_at(enum timer timer, uint64_t at_ns)
{
    w.timers[timer] = at_ns;
}

void sim_sooner(enum timer timer, uint64_t at_ns)
{
    if (at_ns < w.timers[timer])
        w.timers[timer] = at_ns;
}

// A thread that is woken runs a little later; on a loaded machine, a lot.
uint64_t sim_delay(void)
{
    return sim_chance(20) ? sim_random(JITTER_MAX_NS) : sim_random(200 * NS_PER_US);
}

// What the model can do right now, whatever anybody believes.
static bool gate_is_open(void)
{
    const struct level_page *own = &w.supervisor_page;
    const struct level_page *vmm = &w.vmm_page;
    return w.vmm.runs && !w.vmm.stopped && level_gate(own, vmm) == LEVEL_GATE_OPEN;
}

static bool is_offline(void)
{
    return !w.vmm.runs || w.vmm.stopped ||
           level_effective(&w.supervisor_page, &w.vmm_page) >= LEVEL_OFFLINE;
}

static bool model_runs(void)
{
    return w.vmm.runs && !w.vmm.stopped &&
           (w.vmm.deaf || level_effective(&w.supervisor_page, &w.vmm_page) < LEVEL_SEVERED);
}

void sim_demand(enum cause cause, enum level level, uint64_t gate_bound_ns, uint64_t run_bound_ns)
{
    if (!w.vmm.runs || level <= LEVEL_PROBATION)
        return;
    for (unsigned i = 0; i < MAX_DEBTS; i++) {
        struct debt *debt = &w.debts[i];
        if (debt->open)
            continue;
        *debt = (struct debt){
            .open = true,
            .cause = cause,
            .level = level,
            .since_ns = w.now_ns,
            .gate_by_ns = w.now_ns + gate_bound_ns,
            .run_by_ns = w.now_ns + run_bound_ns,
            .run_bound_ns = run_bound_ns,
        };
        sim_trace("%s demands %s", cause_names[cause], level_name(level));
        sim_sooner(TIMER_DEBTS, debt->gate_by_ns);
        sim_sooner(TIMER_DEBTS, debt->run_by_ns);
        return;
    }
    sim_fail("too many open debts");
}

static void pay(struct debt *debt)
{
    struct cause_statistics *of = &w.statistics[debt->cause];
    uint64_t took_ns = w.now_ns - debt->since_ns;
    unsigned bucket = 0;
    while (bucket + 1 < BUCKETS && took_ns >= (1000ull << bucket))
        bucket++;
    debt->open = false;
    of->count++;
    of->buckets[bucket]++;
    if (took_ns > of->max_ns)
        of->max_ns = took_ns;
}

// After every event: what is paid, what is late, and what was paid and is not any more.
static void look_at_debts(void)
{
    bool open = gate_is_open();
    bool runs = model_runs();
    w.timers[TIMER_DEBTS] = NEVER;
    for (unsigned i = 0; i < MAX_DEBTS; i++) {
        struct debt *debt = &w.debts[i];
        if (!debt->open)
            continue;
        // A gate that only Severed shuts may be opened again, by a quorum that knows no better.
        debt->gate_paid = debt->gate_paid || (debt->level < LEVEL_OFFLINE ? !open : is_offline());
        bool run_paid = debt->level >= LEVEL_OFFLINE ? !w.vmm.runs || w.vmm.stopped : !runs;
        if (debt->gate_paid && open)
            sim_fail("%s: the gate opened again", cause_names[debt->cause]);
        if (debt->gate_paid && run_paid) {
            pay(debt);
            continue;
        }
        if (!debt->gate_paid && w.now_ns >= debt->gate_by_ns)
            sim_fail("%s: the gate is open after %.3f s", cause_names[debt->cause],
                     (double)(w.now_ns - debt->since_ns) / 1e9);
        if (!run_paid && w.now_ns >= debt->run_by_ns)
            sim_fail("%s: the model runs after %.3f s", cause_names[debt->cause],
                     (double)(w.now_ns - debt->since_ns) / 1e9);
        if (!debt->gate_paid)
            sim_sooner(TIMER_DEBTS, debt->gate_by_ns);
        if (!run_paid)
            sim_sooner(TIMER_DEBTS, debt->run_by_ns);
    }
    // What the administrators did not lower stays in force.
    if (open && w.required > LEVEL_PROBATION && !w.debt_open_for_required)
        sim_fail("the gate is open although %s is required", level_name(w.required));
}

static void forget_debts(void)
{
    // Everything stands still: all of them are paid.
    for (unsigned i = 0; i < MAX_DEBTS; i++) {
        if (w.debts[i].open)
            pay(&w.debts[i]);
    }
}

void sim_require(enum level level)
{
    if (level > w.required)
        w.required = level;
}

void sim_lowered(enum level level)
{
    w.required = level;
    // What fails behind everybody's back is owed all the same.
    for (unsigned i = 0; i < MAX_DEBTS; i++) {
        if (w.debts[i].open && w.debts[i].level < LEVEL_OFFLINE)
            w.debts[i].open = false;
    }
}

void sim_prolong_debts(uint64_t by_ns)
{
    for (unsigned i = 0; i < MAX_DEBTS; i++) {
        w.debts[i].gate_by_ns += by_ns;
        w.debts[i].run_by_ns += by_ns;
    }
}

void sim_vmm_gone(void)
{
    w.vmm.runs = false;
    forget_debts();
}

static void run_next(void)
{
    enum timer next = TIMER_SUPERVISOR;
    for (unsigned i = 0; i < TIMER_COUNT; i++) {
        if (w.timers[i] < w.timers[next])
            next = (enum timer)i;
    }
    // A message may have waited for somebody who was stopped: time does not go back for it.
    if (w.timers[next] > w.now_ns)
        w.now_ns = w.timers[next];
    w.timers[next] = NEVER;
    w.events++;
    // An open debt for what is required excuses an open gate until it is due.
    w.debt_open_for_required = false;
    for (unsigned i = 0; i < MAX_DEBTS; i++)
        w.debt_open_for_required = w.debt_open_for_required || w.debts[i].open;
    switch (next) {
    case TIMER_SUPERVISOR:
        supervisor_turn();
        break;
    case TIMER_TO_SUPERVISOR:
        supervisor_receive();
        break;
    case TIMER_WATCHDOG:
        watchdog_turn();
        break;
    case TIMER_CONTROL:
        control_turn();
        break;
    case TIMER_TO_VMM:
        vmm_receive();
        break;
    case TIMER_VMM_END:
        vmm_end();
        break;
    case TIMER_FAULT:
        trouble_fault();
        break;
    case TIMER_CONTINUE:
        trouble_continue();
        break;
    case TIMER_PEOPLE:
        people_turn();
        break;
    case TIMER_RELAUNCH:
        world_relaunch();
        break;
    case TIMER_DEBTS:
    case TIMER_COUNT:
    default:
        break;
    }
    for (unsigned i = 0; i < MAX_DEBTS && !w.debt_open_for_required; i++)
        w.debt_open_for_required = w.debts[i].open;
    if (w.power_cut)
        world_power_cut();
    look_at_debts();
}

static void run_seed(uint64_t seed, uint64_t hours, bool trace, enum sabotage sabotage)
{
    struct cause_statistics statistics[CAUSE_COUNT];
    memcpy(statistics, w.statistics, sizeof(statistics));
    uint64_t seen[FLAW_COUNT];
    memcpy(seen, w.orders.seen, sizeof(seen));
    uint64_t events = w.events, writes = w.disk.writes, repairs = w.disk.repairs;
    memset(&w, 0, sizeof(w));
    memcpy(w.statistics, statistics, sizeof(statistics));
    memcpy(w.orders.seen, seen, sizeof(seen));
    w.events = events;
    w.disk.writes = writes;
    w.disk.repairs = repairs;
    w.trace = trace;
    w.sabotage = sabotage;
    // Neighbouring seeds must not begin alike.
    w.random = (seed + 1) * 0x9e3779b97f4a7c15ull;
    w.now_ns = NS_PER_S;
    for (unsigned i = 0; i < TIMER_COUNT; i++)
        w.timers[i] = NEVER;
    world_begin();
    for (uint64_t end = w.now_ns + hours * 3600 * NS_PER_S; w.now_ns < end && !w.failed;)
        run_next();
    world_end();
}

static void print_statistics(const char *prefix)
{
    printf("%s%-34s %9s %10s %10s %10s\n", prefix, "time to isolation, by cause", "count",
           "p50 below", "p99 below", "max");
    for (unsigned i = 0; i < CAUSE_COUNT; i++) {
        const struct cause_statistics *of = &w.statistics[i];
        uint64_t below[2] = {0, 0};
        uint64_t seen = 0;
        for (unsigned k = 0; k < BUCKETS; k++) {
            seen += of->buckets[k];
            if (!below[0] && seen * 2 >= of->count)
                below[0] = 1ull << k;
            if (!below[1] && seen * 100 >= of->count * 99)
                below[1] = 1ull << k;
        }
        if (of->count)
            printf("%s%-34s %9" PRIu64 " %7" PRIu64 " us %7" PRIu64 " us %8.3f s\n", prefix,
                   cause_names[i], of->count, below[0], below[1], (double)of->max_ns / 1e9);
    }
    printf("%s%" PRIu64 " writes of the state file, %" PRIu64 " repairs\n", prefix, w.disk.writes,
           w.disk.repairs);
    for (unsigned i = 0; i < FLAW_COUNT; i++)
        printf("%ssigned orders, %s: %" PRIu64 "\n", prefix, flaw_names[i], w.orders.seen[i]);
}

#define SABOTAGE_SEEDS 300

// Each kind of sabotage has to be found within a few seeds.
static bool check_sabotage(uint64_t hours)
{
    bool all = true;
    for (unsigned kind = 1; kind < SABOTAGE_COUNT; kind++) {
        uint64_t seed = 0;
        do
            run_seed(seed, hours, false, (enum sabotage)kind);
        while (!w.failed && ++seed < SABOTAGE_SEEDS);
        printf("%s %u - sabotage %u is found\n# seed %" PRIu64 ": %s\n", w.failed ? "ok" : "not ok",
               2 + kind, kind, seed, w.failed ? w.failure : "nothing");
        all = all && w.failed;
    }
    return all;
}

static uint64_t number(int argc, char **argv, int index)
{
    char *end;
    if (index >= argc)
        exit(64);
    uint64_t value = strtoull(argv[index], &end, 10);
    if (*end)
        exit(64);
    return value;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 100, first = 0, hours = 72;
    bool trace = false, tap = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seeds"))
            seeds = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--first"))
            first = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--hours"))
            hours = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--seed"))
            first = number(argc, argv, ++i), seeds = 1;
        else if (!strcmp(argv[i], "--trace"))
            trace = true;
        else if (!strcmp(argv[i], "--tap"))
            tap = true;
        else
            return 64;
    }
    if (tap)
        printf("1..%d\n", 2 + SABOTAGE_COUNT - 1);
    uint64_t bad = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run_seed(seed, hours, trace, SABOTAGE_NONE);
        if (!w.failed)
            continue;
        bad++;
        printf("%sseed %" PRIu64 " at %.6f s: %s\n", tap ? "# " : "", seed, (double)w.now_ns / 1e9,
               w.failure);
        if (bad == 5)
            break;
    }
    bool everything_happened = true;
    for (unsigned i = 0; i < CAUSE_COUNT; i++)
        everything_happened = everything_happened && w.statistics[i].count;
    for (unsigned i = 0; i < FLAW_COUNT; i++)
        everything_happened = everything_happened && w.orders.seen[i];
    everything_happened = everything_happened && w.disk.repairs;
    if (tap)
        printf("%s 1 - %" PRIu64 " seeds of %" PRIu64 " simulated hours, %" PRIu64 " events\n",
               bad ? "not ok" : "ok", seeds, hours, w.events);
    print_statistics(tap ? "# " : "");
    if (tap)
        printf("%s 2 - every cause, every flaw of an order and a repair was met\n",
               everything_happened ? "ok" : "not ok");
    bool found = !tap || check_sabotage(hours);
    return bad || !found || (tap && !everything_happened);
}
