// SPDX-License-Identifier: Apache-2.0
// The VMM's watchdog: a thread that depends on nobody else's health.
//
// It beats in the VMM's level page and watches the supervisor's beats, the pollers' epochs and the
// control thread. It takes no lock, waits for no other thread, and never runs in guest mode; its
// core is a hypervisor core, so that the model's threads cannot keep it from running where cores
// are divided. Whatever it misses, it shuts the gate first, then takes the vCPUs out of guest mode,
// then gives the control thread a moment to say why, and then ends the process.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "heartbeat.h"
#include "thread_filter.h"
#include "vmm.h"

// How long the control thread may take to report and to end the process.
#define END_NS (100 * NS_PER_MS)

// How often vCPUs are kicked meanwhile.
#define KICK_AGAIN_NS (5 * NS_PER_MS)

struct watches {
    struct heartbeat_watch supervisor;
    struct heartbeat_watch control;
    struct heartbeat_watch pollers[VMM_MAX_POLLERS];
};

static void start_watches(struct watches *watches, const struct vmm *vmm, uint64_t now_ns)
{
    uint64_t period_ns = vmm->config.heartbeat_period_ns;
    uint64_t beat = atomic_load(&vmm->level_supervisor->beat);
    // One that has beaten is in its loop; one that has not may still be opening files.
    heartbeat_watch_start(&watches->supervisor, period_ns, beat, beat == 0, now_ns);
    heartbeat_watch_start(&watches->control, period_ns, atomic_load(&vmm->control_beat), false,
                          now_ns);
    for (unsigned i = 0; i < vmm->config.poller_count; i++)
        heartbeat_watch_start(&watches->pollers[i], period_ns,
                              atomic_load(&vmm->pollers[i].poller.epoch), false, now_ns);
}

// Looks once at one of the others. `cause` is what its silence means.
static enum level_cause look(struct heartbeat_watch *watch, uint64_t value, uint64_t now_ns,
                             enum level_cause cause)
{
    switch (heartbeat_watch_check(watch, value, now_ns)) {
    case HEARTBEAT_ALIVE:
        return LEVEL_CAUSE_NONE;
    case HEARTBEAT_LATE:
        return LEVEL_CAUSE_STOPPED;
    case HEARTBEAT_LOST:
        break;
    }
    return cause;
}

// A poller that sleeps until there is work begins no pass. Whether it would is found out by waking
// it: whoever does not begin one then is stuck, also if it is stuck in its sleep.
static enum level_cause look_at_poller(struct heartbeat_watch *watch, const struct vmm_poller *own,
                                       uint64_t now_ns)
{
    uint64_t epoch = atomic_load(&own->poller.epoch);
    if (atomic_load(&own->poller.stopped))
        heartbeat_watch_excuse(watch, now_ns); // it was told to end
    if (epoch == watch->value && heartbeat_watch_age_ns(watch, now_ns) >= watch->period_ns / 2) {
        uint64_t one = 1;
        ssize_t ignored = write(own->wake_fd, &one, sizeof(one));
        (void)ignored;
    }
    return look(watch, epoch, now_ns, LEVEL_CAUSE_POLLER_STUCK);
}

static enum level_cause look_at_all(struct watches *watches, const struct vmm *vmm)
{
    uint64_t now_ns = clock_now_ns(&clock_host);
    enum level_cause cause = look(&watches->supervisor, atomic_load(&vmm->level_supervisor->beat),
                                  now_ns, LEVEL_CAUSE_SUPERVISOR_SILENT);
    if (!cause)
        cause = look(&watches->control, atomic_load(&vmm->control_beat), now_ns,
                     LEVEL_CAUSE_CONTROL_STUCK);
    for (unsigned i = 0; i < vmm->config.poller_count && !cause; i++)
        cause = look_at_poller(&watches->pollers[i], &vmm->pollers[i], now_ns);
    return cause;
}

static void nap(uint64_t ns)
{
    const struct timespec time = {
        .tv_sec = (time_t)(ns / NS_PER_S),
        .tv_nsec = (long)(ns % NS_PER_S),
    };
    ppoll(NULL, 0, &time, NULL);
}

// Takes the vCPUs out of guest mode without waiting for them. Unlike vcpus_stop it does not raise
// their event counts: publishing one loops while others do so too. A parked vCPU is not in guest
// mode, the signal ends its sleep, and then it finds `stop`.
static void kick_vcpus(struct vmm *vmm)
{
    for (unsigned i = 0; i < vmm->config.vcpus; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_tgkill, vmm->pid, atomic_load(&vcpu->tid), SIGUSR1);
    }
}

static void isolate(struct vmm *vmm, enum level_cause cause)
{
    const struct vmm_end end = {
        .kind = VMM_END_WATCHDOG,
        .violation = cause,
        .vector = UINT32_MAX,
    };
    atomic_store(&vmm->level_own->level, LEVEL_OFFLINE);
    atomic_store(&vmm->level_own->cause, cause);
    atomic_store(&vmm->stop, 1);
    kick_vcpus(vmm);
    vmm_report(vmm, &end);
    uint64_t deadline_ns = clock_now_ns(&clock_host) + END_NS;
    while (clock_now_ns(&clock_host) < deadline_ns) {
        nap(KICK_AGAIN_NS);
        kick_vcpus(vmm);
    }
    // The control thread ends the process; this thread is still here, so it did not.
    syscall(SYS_kill, vmm->pid, SIGKILL);
}

static void *watchdog_thread(void *argument)
{
    struct vmm *vmm = argument;
    struct watches watches;
    thread_lock_and_wait(vmm, SECCOMP_WATCHDOG, &vmm->watchdog_stack);
    start_watches(&watches, vmm, clock_now_ns(&clock_host));
    enum level_cause cause;
    do {
        atomic_fetch_add(&vmm->level_own->beat, 1);
        nap(heartbeat_interval_ns(vmm->config.heartbeat_period_ns));
        cause = look_at_all(&watches, vmm);
    } while (!cause);
    for (;;)
        isolate(vmm, cause);
    return NULL;
}

int watchdog_start(struct vmm *vmm, struct error *err)
{
    return thread_start(&vmm->watchdog, watchdog_thread, vmm, err);
}
