// SPDX-License-Identifier: Apache-2.0
// The simulated VMM: control thread, watchdog and vCPUs, as in vmm/control.c and vmm/watchdog.c.
#include <string.h>

#include "failsafe_sim.h"

#define END_NS (100 * NS_PER_MS)

void sim_send(struct sim_queue *queue, enum timer timer, const struct sim_message *message)
{
    // A full socket buffer refuses; both sides treat that as a message that never came.
    if (queue->count == QUEUE)
        return;
    struct sim_message *copy = &queue->messages[queue->count];
    *copy = *message;
    copy->at_ns = w.now_ns + (sim_chance(20) ? sim_random(MESSAGE_MAX_NS) : sim_random(50000));
    // A stream keeps its order.
    if (queue->count && copy->at_ns < queue->messages[queue->count - 1].at_ns)
        copy->at_ns = queue->messages[queue->count - 1].at_ns;
    queue->count++;
    sim_sooner(timer, queue->messages[0].at_ns);
}

bool sim_take(struct sim_queue *queue, enum timer timer, struct sim_message *message)
{
    if (!queue->count || queue->messages[0].at_ns > w.now_ns)
        return false;
    *message = queue->messages[0];
    memmove(queue->messages, queue->messages + 1, --queue->count * sizeof(queue->messages[0]));
    if (queue->count)
        sim_sooner(timer,
                   queue->messages[0].at_ns > w.now_ns ? queue->messages[0].at_ns : w.now_ns);
    return true;
}

void vmm_launch(void)
{
    memset(&w.vmm, 0, sizeof(w.vmm));
    memset(&w.vmm_page, 0, sizeof(w.vmm_page));
    w.to_vmm.count = w.to_supervisor.count = 0;
    w.vmm.runs = true;
    heartbeat_watch_start(&w.vmm.supervisor, PERIOD_NS, atomic_load(&w.supervisor_page.beat), true,
                          w.now_ns);
    heartbeat_watch_start(&w.vmm.control, PERIOD_NS, 0, false, w.now_ns);
    heartbeat_watch_start(&w.vmm.watchdog, PERIOD_NS, 0, false, w.now_ns);
    sim_at(TIMER_CONTROL, w.now_ns + sim_delay());
    sim_at(TIMER_WATCHDOG, w.now_ns + sim_delay());
    w.supervisor.vmm_ready = true;
    containment_vmm_ready(&w.supervisor.containment);
}

// Offline by itself, and the end: by the control thread, or by SIGKILL.
static void isolate(const char *why)
{
    sim_trace("the VMM isolates itself: %s", why);
    atomic_store(&w.vmm_page.level, LEVEL_OFFLINE);
    w.vmm.deaf = false; // a signal, not a flag
    sim_require(LEVEL_OFFLINE);
    w.vmm.ending = true;
    sim_sooner(TIMER_VMM_END,
               w.now_ns + (w.vmm.control_hung ? END_NS + sim_random(KILL_MAX_NS) : sim_delay()));
}

void watchdog_turn(void)
{
    struct sim_vmm *vmm = &w.vmm;
    if (!vmm->runs || vmm->stopped || vmm->watchdog_hung)
        return;
    if (!vmm->ending && w.sabotage != SABOTAGE_NO_WATCHDOG) {
        enum heartbeat_state supervisor =
            heartbeat_watch_check(&vmm->supervisor, atomic_load(&w.supervisor_page.beat), w.now_ns);
        enum heartbeat_state control =
            heartbeat_watch_check(&vmm->control, vmm->control_beat, w.now_ns);
        if (supervisor != HEARTBEAT_ALIVE || control != HEARTBEAT_ALIVE) {
            isolate(supervisor == HEARTBEAT_LATE   ? "it was stopped"
                    : supervisor == HEARTBEAT_LOST ? "the supervisor is silent"
                                                   : "the control thread is stuck");
            return;
        }
    }
    atomic_fetch_add(&w.vmm_page.beat, 1);
    sim_at(TIMER_WATCHDOG, w.now_ns + INTERVAL_NS + sim_delay());
}

// The control thread watches the watchdog, and nobody else.
void control_turn(void)
{
    struct sim_vmm *vmm = &w.vmm;
    if (!vmm->runs || vmm->stopped || vmm->control_hung)
        return;
    vmm->control_beat++;
    if (!vmm->ending && w.sabotage != SABOTAGE_WATCHDOG_NOT_WATCHED &&
        heartbeat_watch_check(&vmm->watchdog, atomic_load(&w.vmm_page.beat), w.now_ns) !=
            HEARTBEAT_ALIVE) {
        isolate("the watchdog is stuck");
        return;
    }
    sim_at(TIMER_CONTROL, w.now_ns + INTERVAL_NS + sim_delay());
}

void vmm_receive(void)
{
    struct sim_vmm *vmm = &w.vmm;
    struct sim_message message;
    if (!vmm->runs || vmm->stopped || vmm->control_hung || vmm->ending ||
        !sim_take(&w.to_vmm, TIMER_TO_VMM, &message))
        return;
    if (message.number == UINT32_MAX) { // stop
        atomic_store(&w.vmm_page.level, LEVEL_OFFLINE);
        vmm->ending = true;
        sim_at(TIMER_VMM_END, w.now_ns + sim_delay());
        return;
    }
    if (!message.number) {
        sim_send(&w.to_supervisor, TIMER_TO_SUPERVISOR, &message);
        return;
    }
    // Lowering was checked by the core; orders and signatures have tests of their own.
    atomic_store(&w.vmm_page.level, message.level);
    message.true_now = !(vmm->deaf && message.level >= LEVEL_SEVERED);
    sim_send(&w.to_supervisor, TIMER_TO_SUPERVISOR, &message);
}

void vmm_end(void)
{
    if (!w.vmm.runs)
        return;
    // SIGKILL works on a process that is stopped, too.
    sim_vmm_gone();
    w.timers[TIMER_WATCHDOG] = w.timers[TIMER_CONTROL] = NEVER;
    supervisor_vmm_died();
}

void vmm_supervisor_died(void)
{
    if (!w.vmm.runs || w.vmm.stopped || w.vmm.ending)
        return;
    if (w.vmm.control_hung)
        return; // the watchdog finds out
    isolate("the supervisor is gone");
}
