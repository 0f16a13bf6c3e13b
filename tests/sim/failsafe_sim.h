// SPDX-License-Identifier: Apache-2.0
// The simulated world: one supervisor, one VMM, a disk, people, and trouble.
#ifndef TESTS_FAILSAFE_SIM_H
#define TESTS_FAILSAFE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "containment.h"
#include "heartbeat.h"
#include "level.h"
#include "level_order.h"
#include "state_file.h"

#define NEVER UINT64_MAX

// A period of the VM file's upper end, so that 72 hours are 17,000 beats and not 1,000,000.
#define PERIOD_NS   (60 * NS_PER_S)
#define INTERVAL_NS (PERIOD_NS / 4)

// How late a thread that is woken may run, and a message may come.
#define JITTER_MAX_NS  (50 * NS_PER_MS)
#define MESSAGE_MAX_NS (5 * NS_PER_MS)

// From SIGKILL until the kernel has torn the VM down.
#define KILL_MAX_NS (20 * NS_PER_MS)

// Whoever watches looks every quarter of a period, and forgives one late look.
#define BEAT_BOUND_NS (2 * PERIOD_NS + INTERVAL_NS + 2 * JITTER_MAX_NS)

enum timer {
    TIMER_SUPERVISOR,
    TIMER_TO_SUPERVISOR,
    TIMER_WATCHDOG,
    TIMER_CONTROL,
    TIMER_TO_VMM,
    TIMER_VMM_END,
    TIMER_FAULT,
    TIMER_CONTINUE,
    TIMER_PEOPLE,
    TIMER_RELAUNCH,
    TIMER_DEBTS,
    TIMER_COUNT,
};

// What demands a level.
enum cause {
    CAUSE_DETECTOR,
    CAUSE_OPERATOR,
    CAUSE_ADMINISTRATORS,
    CAUSE_PROPOSAL,
    CAUSE_VIOLATION,
    CAUSE_VMM_SILENT,
    CAUSE_VMM_DEAF, // it does not carry levels out
    CAUSE_SUPERVISOR_SILENT,
    CAUSE_SUPERVISOR_DEAD,
    CAUSE_VMM_DEAD,
    CAUSE_BOTH_STOPPED,
    CAUSE_OPERATOR_SILENT,
    CAUSE_DISK_FAILED,
    CAUSE_POWER_CUT,
    CAUSE_COUNT,
};
extern const char *const cause_names[CAUSE_COUNT];

// Ways to break the world, each of which the debts have to find: what else would they be good for?
enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_PAGE_NOT_SHOWN,
    SABOTAGE_NOT_DURABLE,
    SABOTAGE_BEATS_IGNORED,
    SABOTAGE_NO_WATCHDOG,
    SABOTAGE_NOT_KILLED,
    SABOTAGE_MARK_FORGOTTEN, // the running mark is not written
    SABOTAGE_LOWERED,        // a level falls by itself
    SABOTAGE_NO_DEATH_SIGNAL,
    SABOTAGE_WATCHDOG_NOT_WATCHED,
    SABOTAGE_SYNC_LIES,          // fdatasync returns without having done anything
    SABOTAGE_SEQUENCE_FORGOTTEN, // of accepted orders, over a launch
    SABOTAGE_ORDER_UNCHECKED,    // expired ones count
    SABOTAGE_COUNT,
};

#define MAX_DEBTS 64
#define BUCKETS   40

struct debt {
    bool open;
    bool gate_paid;
    enum cause cause;
    enum level level;
    uint64_t since_ns;
    uint64_t gate_by_ns;
    uint64_t run_by_ns;
    uint64_t run_bound_ns;
};

struct cause_statistics {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[BUCKETS]; // bucket k: below 2^k microseconds
};

#define QUEUE 64
struct sim_message {
    uint64_t at_ns;
    uint32_t number; // of a level question; 0: a beat
    uint32_t level;
    bool hold;
    bool true_now;
    uint64_t beat;
};

struct sim_queue {
    struct sim_message messages[QUEUE];
    unsigned count;
};

struct sim_supervisor {
    bool runs;
    bool stopped; // SIGSTOP
    bool vmm_ready;
    bool kills; // the loop ends: the VMM is killed
    struct containment containment;
    struct heartbeat_watch page, channel, person;
    uint64_t asked, answered, asked_ns;
    uint64_t person_beats;
    bool watching;
    enum level launched_at;
    struct state_record record; // as this process believes it to be on disk
    uint64_t last_sequence;
    const struct sim_order *order; // that is being carried out
};

struct sim_vmm {
    bool runs;
    bool stopped;      // SIGSTOP
    bool control_hung; // one thread that does nothing any more
    bool watchdog_hung;
    bool deaf; // vCPUs do not leave guest mode
    bool ending;
    struct heartbeat_watch supervisor, control; // of the watchdog
    struct heartbeat_watch watchdog;            // of the control thread
    uint64_t control_beat;
};

#define STATE_PAGES 2

// One file: what reads see, and what a power cut leaves.
struct sim_file {
    bool exists;
    bool named; // durably
    bool dirty[STATE_PAGES];
    size_t length, durable_length;
    uint8_t cached[STATE_FILE_BYTES];
    uint8_t durable[STATE_FILE_BYTES];
};

struct sim_disk {
    struct sim_file files[2]; // the state file, and its successor while it is being made
    struct sim_file *opened;
    bool fails; // now and then, until the next launch
    uint64_t writes, repairs;
};

// What is wrong with an order of administrators.
enum sim_flaw {
    FLAW_NONE,
    FLAW_WRONG_VM,
    FLAW_DEPLOYMENT,
    FLAW_EXPIRED,
    FLAW_REPLAYED,
    FLAW_DUPLICATE_KEY,
    FLAW_SIGNATURE,
    FLAW_COUNT,
};
extern const char *const flaw_names[FLAW_COUNT];

struct sim_order {
    enum sim_flaw flaw;
    struct level_order order;
    struct level_order_signature signatures[7];
    unsigned count;
};

#define SPENT_ORDERS 4
struct sim_orders {
    struct level_key_set keys;
    uint8_t secrets[7][64];
    struct sim_order spent[SPENT_ORDERS]; // the last ones that were accepted, durably
    unsigned spent_count;
    uint64_t spent_sequence;   // of the last one
    uint64_t seen[FLAW_COUNT]; // over all seeds
};

struct world {
    uint64_t random;
    uint64_t now_ns;
    uint64_t wall_offset_ns;
    uint64_t timers[TIMER_COUNT];
    uint64_t events;
    bool trace;
    enum sabotage sabotage;
    bool failed;
    char failure[256];
    bool power_cut;
    bool console_silent; // the operator's console sends no beats any more
    struct level_page supervisor_page, vmm_page;
    struct sim_supervisor supervisor;
    struct sim_vmm vmm;
    struct sim_disk disk;
    struct sim_queue to_vmm, to_supervisor;
    struct debt debts[MAX_DEBTS];
    bool debt_open_for_required;
    enum level required; // by whoever was entitled to raise, until a quorum lowered it
    enum level
        durable; // what was acknowledged as durable; or what a quorum wanted, if that is lower
    enum level acknowledged;
    struct uuid uuid; // of the VM
    struct sim_orders orders;
    struct cause_statistics statistics[CAUSE_COUNT];
};
extern struct world w;
extern const struct clock sim_clock;

uint64_t sim_random(uint64_t below);
bool sim_chance(unsigned per_mille);
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_at(enum timer timer, uint64_t at_ns);
void sim_sooner(enum timer timer, uint64_t at_ns);
uint64_t sim_delay(void);

// Something demands a level from now on: gate and vCPUs within these bounds.
void sim_demand(enum cause cause, enum level level, uint64_t gate_bound_ns, uint64_t run_bound_ns);
void sim_require(enum level level);
// A quorum lowered it: what was paid by the old level alone is owed again.
void sim_lowered(enum level level);
// For a time nobody could pay.
void sim_prolong_debts(uint64_t by_ns);
// Nothing of the VMM runs any more.
void sim_vmm_gone(void);

// sim_supervisor.c
void supervisor_launch(const struct state_record *record);
void supervisor_turn(void);
void supervisor_receive(void);
void supervisor_vmm_died(void);
// A person, a detector or the hypervisor. Returns what the core says.
enum level_refusal supervisor_event(const struct level_event *event, enum cause cause);

// An order with signatures. `count`: how many. Returns what the checks or the core say.
uint32_t supervisor_order(enum level level, unsigned count, bool repaired, enum cause cause);

// sim_disk.c: the real monitor/state_file.c over this disk. False: it failed, or power did.
bool sim_disk_has_state(void);
bool sim_disk_create(struct state_record *record);
bool sim_disk_write(struct state_record *record);
bool sim_disk_repair(struct state_record *record);
// What a launch reads. False if the file is damaged, which *record says too.
bool sim_disk_read(struct state_record *record);
void sim_disk_power_cut(void);
// A medium that failed is mounted again: what was never written to it is gone.
void sim_disk_replace(void);

// sim_orders.c
void orders_begin(void);
uint64_t orders_now_s(void);
// An order from one level to another one, perhaps with a flaw.
void orders_make(struct sim_order *signed_order, enum level from, enum level to,
                 unsigned signatures, bool repaired, uint64_t last_sequence);
// As level_order_check. Fails the run if a flaw is not found, or one is found that is none.
uint32_t orders_check(const struct sim_order *signed_order, enum level level,
                      uint64_t last_sequence, struct level_event *event);
// An accepted one is durable.
void orders_spent(const struct sim_order *signed_order);

// sim_vmm.c
void vmm_launch(void);
void watchdog_turn(void);
void control_turn(void);
void vmm_receive(void);
void vmm_end(void);
void vmm_supervisor_died(void);
void sim_send(struct sim_queue *queue, enum timer timer, const struct sim_message *message);
bool sim_take(struct sim_queue *queue, enum timer timer, struct sim_message *message);

// sim_trouble.c
void trouble_fault(void);
void trouble_continue(void);
void people_turn(void);
void world_begin(void);
void world_relaunch(void);
void world_power_cut(void);
void world_end(void);

#endif
