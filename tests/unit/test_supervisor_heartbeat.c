// SPDX-License-Identifier: Apache-2.0
// The supervisor's side of heartbeats, with a VMM, an operator and a clock that the test plays.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_record.h"
#include "fd_message.h"
#include "supervisor_internal.h"

#define PERIOD 1000000000ull
#define TURN   (PERIOD / 4)

static struct supervisor s;
static struct shared_ring written; // what goes to the recorder
static struct level_page own, vmm;
static int channel; // the VMM's end
static uint64_t now = PERIOD;
static unsigned reboots;
static char sysfs[] = "/tmp/guillotine-test-XXXXXX";

static uint64_t fake_now(const struct clock *clock)
{
    (void)clock;
    return now;
}

static const struct clock fake_clock = {fake_now, fake_now, NULL};

static int fake_reboot(void)
{
    reboots++;
    return 0;
}

static void setup(void)
{
    struct error err;
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    cr_assert_not_null(mkdtemp(sysfs));
    s.process.channel = pair[0];
    channel = pair[1];
    s.process.level_own = &own;
    levels_init(&s, LEVEL_STANDARD);
    s.process.level_vmm = &vmm;
    s.process.config.heartbeat_period_ns = PERIOD;
    s.heartbeat.clock = &fake_clock;
    s.heartbeat.reboot = fake_reboot;
    s.heartbeat.machine_root = sysfs;
    strcpy(s.vm.name, "test");
    unsetenv("NOTIFY_SOCKET");
    audit_log_init(&s.audit, &fake_clock);
    cr_assert_eq(audit_log_prepare(&s.audit, &err), 0, "%s", err.text);
    cr_assert_eq(shared_ring_map(&written, s.audit.ring_fd, RECORDER_RING_BYTES, &err), 0);
    s.log_checked = true;
    heartbeats_init(&s);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", sysfs);
    cr_assert_eq(system(command), 0);
}

TestSuite(supervisor_heartbeat, .init = setup, .fini = teardown);

static void begin(void)
{
    struct error err;
    cr_assert_eq(heartbeats_open(&s, &err), 0, "%s", err.text);
    s.ready = true;
    heartbeats_serve(&s);
}

static bool take_question(struct vmm_beat *beat)
{
    size_t count = 0;
    return fd_message_receive(channel, beat, sizeof(*beat), NULL, &count, NULL) ==
           (ssize_t)sizeof(*beat);
}

// One turn of the loop, `ns` after the one before.
static void turn(uint64_t ns, bool page, bool answer)
{
    struct vmm_beat beat;
    now += ns;
    if (page)
        atomic_fetch_add(&vmm.beat, 1);
    if (answer && take_question(&beat))
        heartbeats_take_answer(&s, &beat);
    heartbeats_serve(&s);
}

// The last heartbeat record of the log, and that the level is Offline.
static struct audit_record lost(void)
{
    struct audit_record record, found = {0};
    cr_assert(s.ended && s.heartbeat.lost);
    cr_assert_eq(s.outcome, RUN_ISOLATED);
    cr_assert_eq(atomic_load(&own.level), (uint32_t)LEVEL_OFFLINE);
    uint64_t available = shared_ring_available(&written);
    for (uint64_t at = 0; at < available; at += record.size) {
        shared_ring_peek(&written, at, &record, sizeof(record));
        if (record.type == AUDIT_HEARTBEAT)
            found = record;
    }
    cr_assert_eq(found.type, AUDIT_HEARTBEAT, "it stands in the log");
    return found;
}

Test(supervisor_heartbeat, nothing_is_lost_while_everybody_beats)
{
    begin();
    for (unsigned i = 0; i < 1000; i++) {
        turn(TURN, true, true);
        cr_assert_not(s.ended, "turn %u: %s", i, s.error.text);
        cr_assert_leq(heartbeats_deadline_ns(&s), now + TURN);
    }
    cr_assert_eq(atomic_load(&own.beat), 1001u, "each turn is a beat");
    for (unsigned i = 0; i < 1000; i++)
        turn(TURN / 1000, true, true);
    cr_assert_leq(atomic_load(&own.beat), 1003u, "a busy loop does not beat more often");
    cr_assert_geq(atomic_load(&own.beat), 1002u);
    cr_assert_geq(s.heartbeat.answered, 498u, "the control thread was asked again and again");
}

Test(supervisor_heartbeat, silent_page)
{
    begin();
    for (unsigned i = 0; i < 6 && !s.ended; i++)
        turn(TURN, false, true);
    struct audit_record record = lost();
    cr_assert_eq(record.detail, AUDIT_HEARTBEAT_VMM);
    cr_assert_eq(record.argument, PERIOD + TURN);
}

Test(supervisor_heartbeat, silent_control_thread)
{
    begin();
    for (unsigned i = 0; i < 20; i++)
        turn(TURN, true, true);
    for (unsigned i = 0; i < 6 && !s.ended; i++)
        turn(TURN, true, false);
    cr_assert_eq(lost().detail, AUDIT_HEARTBEAT_VMM);
    cr_assert(strstr(s.error.text, "control thread"));
}

Test(supervisor_heartbeat, a_channel_that_takes_no_question)
{
    char filler[1024] = {0};
    begin();
    while (send(s.process.channel, filler, sizeof(filler), MSG_DONTWAIT) > 0)
        continue;
    for (unsigned i = 0; i < 6 && !s.ended; i++)
        turn(TURN, true, false);
    cr_assert_eq(lost().detail, AUDIT_HEARTBEAT_VMM);
}

Test(supervisor_heartbeat, answers_that_nobody_asked_for)
{
    struct vmm_beat beat = {.number = 1};
    begin();
    heartbeats_take_answer(&s, &beat);
    cr_assert(s.ended);
    cr_assert_eq(s.outcome, RUN_ISOLATED);
}

Test(supervisor_heartbeat, an_answer_counts_once)
{
    struct vmm_beat beat;
    begin();
    turn(TURN, true, false);
    cr_assert(take_question(&beat));
    heartbeats_take_answer(&s, &beat);
    cr_assert_not(s.ended);
    heartbeats_take_answer(&s, &beat);
    cr_assert(s.ended, "the same number again");
}

Test(supervisor_heartbeat, own_lateness)
{
    begin();
    turn(TURN, true, true);
    turn(TURN + PERIOD + 1, true, true);
    struct audit_record record = lost();
    cr_assert_eq(record.detail, AUDIT_HEARTBEAT_SUPERVISOR);
    cr_assert_eq(record.argument, TURN + PERIOD + 1);
}

Test(supervisor_heartbeat, nothing_is_watched_before_the_vm_runs)
{
    struct error err;
    cr_assert_eq(heartbeats_open(&s, &err), 0);
    turn(100 * PERIOD, false, false);
    cr_assert_not(s.ended);
    cr_assert_eq(atomic_load(&own.beat), 1u, "but it beats");
}

Test(supervisor_heartbeat, a_vmm_that_may_enter_the_model_and_never_says_that_it_did)
{
    struct error err;
    cr_assert_eq(heartbeats_open(&s, &err), 0, "%s", err.text);
    turn(1000 * PERIOD, false, false); // not told yet
    cr_expect_not(s.ended);
    s.entered_ns = now;
    turn(19 * PERIOD, false, false);
    cr_expect_not(s.ended);
    turn(2 * PERIOD, false, false);
    cr_expect(s.ended);
    cr_expect_eq(s.outcome, RUN_FAILED);
    cr_expect_eq(atomic_load(&own.level), (uint32_t)LEVEL_OFFLINE);
}

Test(supervisor_heartbeat, an_operator_who_beats)
{
    s.vm.heartbeat_operator_period_ms = 10000;
    begin();
    for (unsigned i = 0; i < 400; i++) {
        if (i % 39 == 0)
            supervisor_operator_beat(&s);
        turn(TURN, true, true);
        cr_assert_not(s.ended, "turn %u", i);
    }
}

Test(supervisor_heartbeat, an_operator_who_is_gone)
{
    s.vm.heartbeat_operator_period_ms = 10000;
    begin();
    supervisor_operator_beat(&s);
    unsigned turns = 0;
    for (; turns < 100 && !s.ended; turns++)
        turn(TURN, true, true);
    cr_assert_eq(turns, 42u, "10 s after the turn that saw the beat");
    cr_assert_eq(lost().detail, AUDIT_HEARTBEAT_OPERATOR);
}

static void put_count(const char *count)
{
    char text[256];
    snprintf(text, sizeof(text),
             "mkdir -p %s/devices/system/edac/mc/mc0 && echo %s > %s/devices/system/edac/mc/mc0/"
             "ue_count",
             sysfs, count, sysfs);
    cr_assert_eq(system(text), 0);
}

static void break_machine(void)
{
    put_count("0");
    begin();
    for (unsigned i = 0; i < 8; i++)
        turn(TURN, true, true);
    cr_assert_not(s.ended);
    put_count("2");
    for (unsigned i = 0; i < 5 && !s.ended; i++)
        turn(TURN, true, true);
}

Test(supervisor_heartbeat, machine_check_stops)
{
    break_machine();
    struct audit_record record = lost();
    cr_assert_eq(record.detail, AUDIT_HEARTBEAT_MACHINE);
    cr_assert_eq(record.argument, 2u);
    heartbeats_close(&s);
    cr_assert_eq(reboots, 0u, "the VM file does not want it");
}

Test(supervisor_heartbeat, machine_check_restarts_the_host_if_both_want_it)
{
    s.vm.on_failure = VM_ON_FAILURE_REBOOT;
    s.heartbeat.allow_host_cut = true;
    break_machine();
    lost();
    cr_assert_eq(reboots, 0u, "not before everything is on disk");
    heartbeats_close(&s);
    cr_assert_eq(reboots, 1u);
}

Test(supervisor_heartbeat, an_orderly_end_restarts_nothing)
{
    s.vm.on_failure = VM_ON_FAILURE_REBOOT;
    s.heartbeat.allow_host_cut = true;
    begin();
    heartbeats_close(&s);
    cr_assert_eq(reboots, 0u);
}

Test(supervisor_heartbeat, restarting_the_host_needs_permission)
{
    struct error err;
    s.vm.on_failure = VM_ON_FAILURE_REBOOT;
    cr_assert_eq(heartbeats_open(&s, &err), -1);
    cr_assert_eq(err.status, EXIT_STATUS_USAGE);
}

Test(supervisor_heartbeat, the_vmm_s_own_watchdog_and_death)
{
    begin();
    heartbeats_take_end(&s, 0xdeadbeef);
    cr_assert(strstr(s.error.text, "unknown reason"));
    s.ended = false;
    atomic_store(&vmm.cause, LEVEL_CAUSE_SIGNAL + 11);
    heartbeats_take_death(&s);
    cr_assert(s.ended && strstr(s.error.text, "fatal signal"));
    cr_assert_eq(atomic_load(&own.level), (uint32_t)LEVEL_OFFLINE);
}
