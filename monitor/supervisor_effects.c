// SPDX-License-Identifier: Apache-2.0
// Effects of a level outside the VM: the actuators.
//
// They begin at once, beside the loop, and are waited for when the VM is gone: a supervisor that
// ends tells how it went. One that fails falls back to the reversible ones; the level never rises
// by itself because of it.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "escape.h"
#include "supervisor_internal.h"

static const struct {
    enum level_effect effect;
    enum actuator_action action;
} actions[EFFECT_ACTIONS] = {
    {LEVEL_EFFECT_CUT_REVERSIBLY, ACTUATOR_CUT},
    {LEVEL_EFFECT_CUT_FOR_GOOD, ACTUATOR_CUT_FOR_GOOD},
    {LEVEL_EFFECT_DESTROY, ACTUATOR_DESTROY},
};

static void on_event(void *context, const struct actuator_event *event)
{
    struct supervisor *s = context;
    char detail[ACTUATOR_DETAIL_SIZE * ESCAPE_MAX_EXPANSION];
    escape_message(detail, sizeof(detail), event->detail);
    if (event->kind == ACTUATOR_EVENT_FAILED)
        fprintf(stderr, "guillotine: actuator %s: %s: %s\n", event->actuator,
                actuator_action_name(event->action), detail);
    if (event->kind > ACTUATOR_EVENT_FAILED)
        return;
    const struct audit_record record = {
        .type = AUDIT_ACTUATOR,
        .port = AUDIT_NO_PORT,
        .argument = event->action,
        .level = (uint8_t)s->containment.state.level,
        .detail = (uint32_t)event->kind + 1,
    };
    // Who it was, and what it says: of `armed` that is the reason that a person gave.
    char text[sizeof(event->actuator) + sizeof(detail) + 16];
    struct error err;
    int length = snprintf(text, sizeof(text), "%s%s%s%s", event->actuator,
                          event->simulated ? " (simulated)" : "", detail[0] ? ": " : "", detail);
    if (audit_log_append_data(&s->audit, &record, text, (uint32_t)length, &err) == 0)
        return;
    s->error = err;
    supervisor_fail(s, RUN_ISOLATED);
}

static bool begin(struct supervisor *s, unsigned index)
{
    struct error err;
    const struct actuator_request request = {
        .config = s->actuators,
        .state_dir = s->state_dir,
        .action = actions[index].action,
        .allow_host_cut = s->allow_host_cut,
        .clock = &clock_host,
        .on_event = on_event,
        .context = s,
    };
    if (s->effects_begun & actions[index].effect)
        return true;
    s->effects_begun |= actions[index].effect;
    if (actuator_start(&s->effects[index], &request, &err) == 0)
        return true;
    fprintf(stderr, "guillotine: actuators: %s\n", err.text);
    return false;
}

bool effects_begin(struct supervisor *s, enum level_effect effect)
{
    for (unsigned i = 0; i < EFFECT_ACTIONS; i++) {
        if (actions[i].effect == effect)
            return begin(s, i);
    }
    return true;
}

void effects_make_up(const struct supervisor *s)
{
    struct error err = {0};
    const struct actuator_request request = {
        .config = s->actuators,
        .state_dir = s->state_dir,
        .action = ACTUATOR_CUT,
        .allow_host_cut = s->allow_host_cut,
        .clock = &clock_host,
    };
    if (actuator_run_to_end(&request, &err) < 0)
        fprintf(stderr, "guillotine: ALARM: %s: its last run did not end cleanly, and %s\n",
                s->vm.name, err.text);
}

// Waits for one run. Its deadline bounds this.
static bool await(struct actuator_run *run)
{
    struct pollfd fds[ACTUATOR_RUN_FDS];
    if (!run->pid)
        return run->confirmed;
    while (!actuator_serve(run)) {
        uint64_t now = clock_now_ns(&clock_host);
        uint64_t deadline = actuator_deadline_ns(run);
        uint64_t left_ms = deadline > now ? (deadline - now) / NS_PER_MS + 1 : 0;
        actuator_watch(run, fds);
        if (poll(fds, ACTUATOR_RUN_FDS, left_ms < 1000 ? (int)left_ms : 1000) < 0 && errno != EINTR)
            break;
    }
    actuator_end(run);
    return run->confirmed;
}

void effects_finish(struct supervisor *s)
{
    for (unsigned i = 0; i < EFFECT_ACTIONS; i++) {
        if (!(s->effects_begun & ~s->effects_done & actions[i].effect))
            continue;
        s->effects_done |= actions[i].effect;
        if (await(&s->effects[i]))
            continue;
        fprintf(stderr, "guillotine: ALARM: %s: %s is not confirmed\n", s->vm.name,
                actuator_action_name(actions[i].action));
        // The reversible ones are better than nothing. They run once.
        if (actions[i].action != ACTUATOR_CUT && begin(s, 0) && !await(&s->effects[0]))
            fprintf(stderr, "guillotine: ALARM: %s: nor are the reversible actuators\n",
                    s->vm.name);
    }
}
