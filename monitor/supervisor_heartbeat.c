// SPDX-License-Identifier: Apache-2.0
// Signs of life: the supervisor gives its own, and watches those of VMM, operator and machine.
//
// It beats while it takes turns: the loop runs at least four times in a period, so whatever holds
// the loop up is missed by the VMM, by systemd and by the watchdog of the hardware alike.
#include "supervisor_heartbeat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "fatal_signal.h"
#include "fd_message.h"
#include "supervisor_internal.h"

// Between two looks at the memory controllers.
#define MACHINE_INTERVAL_NS NS_PER_S
// From the word that it may enter the model to the VMM's that it did: milliseconds, on a sound
// host.
#define READY_NS (20 * NS_PER_S)

static _Alignas(64) uint8_t signal_stack[FATAL_SIGNAL_STACK_BYTES];

static int reboot_host(void)
{
    return reboot(RB_AUTOBOOT);
}

void heartbeats_init(struct supervisor *s)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    if (!h->clock)
        h->clock = &clock_host;
    if (!h->reboot)
        h->reboot = reboot_host;
    if (!h->machine_root)
        h->machine_root = MACHINE_CHECK_ROOT;
    h->machine.root = h->service.fd = h->device.fd = -1;
}

// From the first moment on at which there is a gate to shut.
static int handle_signals(struct supervisor *s, struct error *err)
{
    const struct fatal_signal_action offline = {
        .word = &s->process.level_own->level,
        .value = LEVEL_OFFLINE,
        .cause = &s->process.level_own->cause,
        .cause_base = LEVEL_CAUSE_SIGNAL,
        .cause_memory = LEVEL_CAUSE_MEMORY_ERROR,
    };
    return fatal_signal_use_stack(signal_stack, err) < 0 ? -1 : fatal_signal_install(&offline, err);
}

int heartbeats_open(struct supervisor *s, struct error *err)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    if (s->vm.on_failure == VM_ON_FAILURE_REBOOT && !h->allow_host_cut)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the VM file says on_failure: reboot: restarting this host needs "
                         "--allow-host-cut");
    h->period_ns = s->process.config.heartbeat_period_ns;
    h->turn_ns = clock_now_ns(h->clock);
    machine_check_open(&h->machine, h->machine_root); // none: a host that counts no errors
    if (handle_signals(s, err) < 0 || service_notify_open(&h->service, err) < 0)
        return -1;
    return h->watchdog_path ? watchdog_device_open(&h->device, h->watchdog_path, err) : 0;
}

static void record(struct supervisor *s, enum audit_heartbeat who, uint64_t argument)
{
    const struct audit_record entry = {
        .type = AUDIT_HEARTBEAT,
        .port = AUDIT_NO_PORT,
        .argument = argument,
        .level = (uint8_t)s->containment.state.level,
        .detail = who,
    };
    supervisor_record(s, &entry);
}

static void tell_service(struct supervisor *s)
{
    char status[sizeof(s->error.text) + 32];
    snprintf(status, sizeof(status), "STATUS=offline: %s", s->error.text);
    service_notify_send(&s->heartbeat.service, status);
}

// The gate first, then the log. The VMM is not asked to stop but killed when the loop ends: who is
// silent answers nothing, and what a stopped supervisor knows of it is old.
static void lose(struct supervisor *s, enum audit_heartbeat who, uint64_t argument,
                 const char *text)
{
    if (s->ended)
        return;
    s->heartbeat.lost = true;
    error_set(&s->error, EXIT_STATUS_ISOLATED, 0, "%s", text);
    supervisor_fail(s, RUN_ISOLATED);
    record(s, who, argument);
    tell_service(s);
}

static void start_watching(struct supervisor *s, uint64_t now_ns)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    h->watching = true;
    h->asked_ns = now_ns;
    heartbeat_watch_start(&h->page, h->period_ns, atomic_load(&s->process.level_vmm->beat), false,
                          now_ns);
    heartbeat_watch_start(&h->channel, h->period_ns, h->answered, false, now_ns);
    heartbeat_watch_start(&h->person, s->vm.heartbeat_operator_period_ms * NS_PER_MS,
                          h->person_beats, false, now_ns);
    char status[64 + VM_NAME_SIZE];
    snprintf(status, sizeof(status), "READY=1\nSTATUS=%s runs", s->vm.name);
    service_notify_send(&h->service, status);
}

// Asks the control thread for a sign of life, one question at a time. A channel that takes none is
// as good as an answer that does not come.
static void ask(struct supervisor *s, uint64_t now_ns)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    struct error err;
    if (h->answered != h->asked || now_ns - h->asked_ns < heartbeat_interval_ns(h->period_ns))
        return;
    struct vmm_beat beat = {.number = h->asked + 1};
    vmm_message_init(&beat.message, VMM_MESSAGE_BEAT, sizeof(beat));
    if (fd_message_send(s->process.channel, &beat, sizeof(beat), NULL, 0, &err) == 0) {
        h->asked++;
        h->asked_ns = now_ns;
    }
}

void heartbeats_take_answer(struct supervisor *s, const struct vmm_beat *beat)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    if (!h->watching || beat->number != h->asked || h->answered == h->asked) {
        supervisor_lie(s, "the VMM answered a heartbeat that it was not asked for");
        return;
    }
    h->answered = h->asked;
}

// Whose silence it was that made the VMM go Offline by itself.
static enum audit_heartbeat who_was_silent(uint32_t cause)
{
    return cause == LEVEL_CAUSE_SUPERVISOR_SILENT ? AUDIT_HEARTBEAT_SUPERVISOR
                                                  : AUDIT_HEARTBEAT_VMM;
}

// The VMM shows no life. If it said why before it fell silent, that is the reason.
static void lose_vmm(struct supervisor *s, uint64_t age_ns, const char *text)
{
    char reason[128];
    uint32_t cause = atomic_load(&s->process.level_vmm->cause);
    if (cause) {
        snprintf(reason, sizeof(reason), "the VMM went offline by itself: %s",
                 level_cause_text(cause));
        text = reason;
    }
    lose(s, who_was_silent(cause), age_ns, text);
}

static void look_at_vmm(struct supervisor *s, uint64_t now_ns)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    uint64_t late_ns = now_ns - h->page.checked_ns;
    enum heartbeat_state page =
        heartbeat_watch_check(&h->page, atomic_load(&s->process.level_vmm->beat), now_ns);
    enum heartbeat_state channel = heartbeat_watch_check(&h->channel, h->answered, now_ns);
    if (page == HEARTBEAT_LATE || channel == HEARTBEAT_LATE)
        lose(s, AUDIT_HEARTBEAT_SUPERVISOR, late_ns,
             "the supervisor was stopped, or did not get to run, for longer than a heartbeat");
    else if (page == HEARTBEAT_LOST)
        lose_vmm(s, heartbeat_watch_age_ns(&h->page, now_ns),
                 "the VMM's watchdog missed its heartbeats");
    else if (channel == HEARTBEAT_LOST)
        lose_vmm(s, heartbeat_watch_age_ns(&h->channel, now_ns),
                 "the VMM's control thread missed its heartbeats");
}

static void look_at_operator(struct supervisor *s, uint64_t now_ns)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    if (!s->vm.heartbeat_operator_period_ms)
        return;
    if (heartbeat_watch_check(&h->person, h->person_beats, now_ns) != HEARTBEAT_ALIVE)
        lose(s, AUDIT_HEARTBEAT_OPERATOR, heartbeat_watch_age_ns(&h->person, now_ns),
             "the operator's heartbeats are missing");
}

static void look_at_machine(struct supervisor *s, uint64_t now_ns)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    if (now_ns < h->machine_ns)
        return;
    h->machine_ns = now_ns + MACHINE_INTERVAL_NS;
    uint64_t before = h->machine.uncorrected;
    switch (machine_check_look(&h->machine)) {
    case MACHINE_CHECK_NONE:
        break;
    case MACHINE_CHECK_UNCORRECTED:
        lose(s, AUDIT_HEARTBEAT_MACHINE, h->machine.uncorrected - before,
             "the host's memory has an uncorrected error");
        break;
    case MACHINE_CHECK_UNREADABLE:
        lose(s, AUDIT_HEARTBEAT_MACHINE, 0,
             "the host's count of uncorrected memory errors cannot be read any more");
        break;
    }
}

void supervisor_operator_beat(struct supervisor *s)
{
    s->heartbeat.person_beats++;
}

void heartbeats_serve(struct supervisor *s)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    uint64_t now_ns = clock_now_ns(h->clock);
    h->turn_ns = now_ns;
    // Not in each turn of a busy loop: the pollers look at this page for every request, and each
    // store takes it from their caches.
    if (now_ns - h->beat_ns >= heartbeat_interval_ns(h->period_ns) / 2) {
        h->beat_ns = now_ns;
        atomic_fetch_add(&s->process.level_own->beat, 1);
    }
    service_notify_beat(&h->service, now_ns);
    watchdog_device_beat(&h->device, now_ns);
    // What is being ended has deadlines of its own.
    if (supervisor_is_stopping(s) || s->ended)
        return;
    if (!s->ready) {
        // From here on it may enter the model; it beats only once it has said that it did.
        if (s->entered_ns && now_ns - s->entered_ns > READY_NS) {
            error_set(&s->error, EXIT_STATUS_INTERNAL, 0,
                      "the VMM did not say in time that it runs the model");
            supervisor_fail_silent(s);
        }
        return;
    }
    if (!h->watching)
        start_watching(s, now_ns);
    look_at_vmm(s, now_ns);
    detectors_count_doorbells(s, now_ns);
    look_at_operator(s, now_ns);
    look_at_machine(s, now_ns);
    if (!s->ended)
        ask(s, now_ns);
}

uint64_t heartbeats_deadline_ns(const struct supervisor *s)
{
    const struct supervisor_heartbeat *h = &s->heartbeat;
    uint64_t deadline_ns = h->turn_ns + heartbeat_interval_ns(h->period_ns);
    if (h->service.interval_ns && h->service.next_ns < deadline_ns)
        deadline_ns = h->service.next_ns;
    if (h->device.fd >= 0 && h->device.next_ns < deadline_ns)
        deadline_ns = h->device.next_ns;
    return deadline_ns;
}

void heartbeats_take_end(struct supervisor *s, uint32_t cause)
{
    s->heartbeat.lost = true;
    s->outcome = RUN_ISOLATED;
    error_set(&s->error, EXIT_STATUS_ISOLATED, 0, "the VMM went offline by itself: %s",
              level_cause_text(cause));
    record(s, who_was_silent(cause), 0);
    tell_service(s);
}

void heartbeats_take_death(struct supervisor *s)
{
    if (s->ended)
        return;
    uint32_t cause = atomic_load(&s->process.level_vmm->cause);
    if (cause)
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0, "the VMM ended without a report: %s",
                  level_cause_text(cause));
    else
        error_set(&s->error, EXIT_STATUS_INTERNAL, 0, "the VMM ended without a report");
    s->heartbeat.lost = s->ready;
    supervisor_fail_silent(s);
    // Somebody's silence, and not a signal or a bad page.
    if (cause && cause < LEVEL_CAUSE_SIGNAL && cause != LEVEL_CAUSE_MEMORY_ERROR)
        record(s, who_was_silent(cause), 0);
    tell_service(s);
}

static bool must_restart(const struct supervisor *s)
{
    return s->heartbeat.lost && s->vm.on_failure == VM_ON_FAILURE_REBOOT &&
           s->heartbeat.allow_host_cut;
}

void heartbeats_rest(struct supervisor *s)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    service_notify_send(&h->service, "STOPPING=1");
    if (!must_restart(s))
        watchdog_device_close(&h->device, true);
}

void heartbeats_close(struct supervisor *s)
{
    struct supervisor_heartbeat *h = &s->heartbeat;
    bool restart = must_restart(s);
    service_notify_close(&h->service);
    machine_check_close(&h->machine);
    // The watchdog of the hardware restarts a host that does not restart itself.
    watchdog_device_close(&h->device, !restart);
    if (!restart)
        return;
    fprintf(stderr, "guillotine: ALARM: on_failure: the host restarts\n");
    sync();
    if (h->reboot() < 0)
        fprintf(stderr, "guillotine: ALARM: the host does not restart: %s\n", strerror(errno));
}
