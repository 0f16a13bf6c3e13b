// SPDX-License-Identifier: Apache-2.0
// The sequence of an action. A device is believed only when it has said the same for a while: the
// reply to the order decides nothing, so that a lost one does no harm and a false one no good.
#include "actuator_fire.h"

#include <stdio.h>
#include <string.h>

#include "actuator_arming.h"
#include "escape.h"

#define POLL_MIN_MS 20u
#define POLL_MAX_MS 250u

// An attempt on one actuator.
struct attempt {
    const struct actuator_fire *fire;
    const struct actuator *actuator;
    const struct actuator_driver *driver;
    uint32_t number;
    uint64_t end_ns;
    enum actuator_state state; // as last read
};

static enum actuator_state wanted_state(enum actuator_action action)
{
    return action == ACTUATOR_RESTORE ? ACTUATOR_STATE_ON : ACTUATOR_STATE_OFF;
}

static void emit(const struct attempt *attempt, enum actuator_event_kind kind, const char *detail)
{
    struct actuator_event event = {
        .kind = kind,
        .action = attempt->fire->action,
        .driver = attempt->actuator->kind,
        .simulated = attempt->driver->simulated,
        .attempt = attempt->number,
        .state = attempt->state,
        .confirmed = kind == ACTUATOR_EVENT_CONFIRMED,
    };
    memcpy(event.actuator, attempt->actuator->name, sizeof(event.actuator));
    escape_message(event.detail, sizeof(event.detail), detail);
    attempt->fire->emit(attempt->fire->context, &event);
}

static struct actuator_call call_until(const struct attempt *attempt, uint64_t share)
{
    const struct actuator_fire *fire = attempt->fire;
    uint64_t end_ns = clock_now_ns(fire->clock) + attempt->actuator->timeout_ms * NS_PER_MS / share;
    return (struct actuator_call){
        .actuator = attempt->actuator,
        .action = fire->action,
        .clock = fire->clock,
        .deadline_ns = end_ns < attempt->end_ns ? end_ns : attempt->end_ns,
        .state_dir = fire->state_dir,
        .allow_host_cut = fire->allow_host_cut,
    };
}

static int read_back(struct attempt *attempt, struct error *err)
{
    // A quarter of the time-out each: one that hangs leaves room for others.
    const struct actuator_call call = call_until(attempt, 4);
    attempt->state = ACTUATOR_STATE_UNKNOWN;
    return attempt->driver->read_back(&call, &attempt->state, err);
}

static uint64_t poll_ns(const struct actuator *actuator)
{
    uint64_t ms = actuator->settle_ms / 4;
    ms = ms < POLL_MIN_MS ? POLL_MIN_MS : ms;
    return (ms > POLL_MAX_MS ? POLL_MAX_MS : ms) * NS_PER_MS;
}

// Reads back until the device has said the wanted thing without a break for settle_ms. `patient`:
// it may take its time before it says so first.
static int confirm(struct attempt *attempt, bool patient, struct error *err)
{
    const struct actuator_fire *fire = attempt->fire;
    enum actuator_state wanted = wanted_state(fire->action);
    uint64_t settle_ns = attempt->actuator->settle_ms * NS_PER_MS;
    uint64_t since_ns = 0;
    bool said = false;
    char verdict[sizeof(err->text)] = "";
    for (;;) {
        struct error inner = {0};
        int result = read_back(attempt, &inner);
        uint64_t now = clock_now_ns(fire->clock);
        if (result == 0 && attempt->state == wanted) {
            since_ns = said ? since_ns : now;
            said = true;
            if (now - since_ns >= settle_ns && now <= attempt->end_ns)
                return 0;
        } else if (said && result == 0 && attempt->state != ACTUATOR_STATE_UNKNOWN) {
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "the read-back said %s, then %s: it is not believed",
                             actuator_state_name(wanted), actuator_state_name(attempt->state));
        } else {
            said = false;
        }
        // A reading in the last moments would only be cut short. It is worth its time if the device
        // has said the right thing already.
        uint64_t reserve_ns = said ? 0 : attempt->actuator->timeout_ms * NS_PER_MS / 8;
        bool late = now + reserve_ns >= attempt->end_ns;
        if (result == 0)
            snprintf(verdict, sizeof(verdict), "the read-back says %s",
                     said ? "so for too short a time" : actuator_state_name(attempt->state));
        else
            snprintf(verdict, sizeof(verdict), "read-back: %s", inner.text);
        if (late || (!patient && !said))
            return error_set(err, EXIT_STATUS_FAILURE, 0, "%s", verdict);
        uint64_t pause = poll_ns(attempt->actuator);
        if (pause > attempt->end_ns - now)
            pause = attempt->end_ns - now;
        fire->sleep_ns(fire->context, pause);
    }
}

static int try_once(struct attempt *attempt)
{
    const struct actuator_fire *fire = attempt->fire;
    struct error fired_error = {0};
    struct error err = {0};
    char detail[sizeof(err.text) + ACTUATOR_DETAIL_SIZE];
    attempt->end_ns = clock_now_ns(fire->clock) + attempt->actuator->timeout_ms * NS_PER_MS;
    attempt->state = ACTUATOR_STATE_UNKNOWN;
    const struct actuator_call call = call_until(attempt, 2);
    enum actuator_fired fired = attempt->driver->fire(&call, &fired_error);
    if (fired == ACTUATOR_FIRED_DONE) {
        emit(attempt, ACTUATOR_EVENT_FIRED, "");
    } else if (fired == ACTUATOR_FIRED_LOST) {
        snprintf(detail, sizeof(detail), "unsure: %s", fired_error.text);
        emit(attempt, ACTUATOR_EVENT_FIRED, detail);
    }
    if (confirm(attempt, fired != ACTUATOR_FIRED_REFUSED, &err) == 0) {
        emit(attempt, ACTUATOR_EVENT_CONFIRMED, "");
        return 0;
    }
    snprintf(detail, sizeof(detail), "%.120s%s%s",
             fired == ACTUATOR_FIRED_DONE ? "" : fired_error.text,
             fired == ACTUATOR_FIRED_DONE ? "" : "; ", err.text);
    emit(attempt, ACTUATOR_EVENT_FAILED, detail);
    return -1;
}

// What has to be true before anything is fired. The note is used up here, once for all attempts of
// this fire.
static int permit(const struct attempt *attempt, struct error *err)
{
    const struct actuator_fire *fire = attempt->fire;
    const struct actuator *actuator = attempt->actuator;
    struct actuator_arming arming;
    if (!(attempt->driver->actions & 1u << fire->action))
        return error_set(err, EXIT_STATUS_USAGE, 0, "driver %s cannot %s", attempt->driver->name,
                         actuator_action_name(fire->action));
    if (actuator->this_host && fire->action != ACTUATOR_RESTORE && !fire->allow_host_cut)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "this would cut the host itself: refused without --allow-host-cut");
    if (actuator->class == ACTUATOR_REVERSIBLE)
        return 0;
    if (actuator_arming_consume(fire->state_dir, fire->config, actuator, fire->clock, &arming, err))
        return -1;
    emit(attempt, ACTUATOR_EVENT_ARMED, arming.reason);
    return 0;
}

static int use(struct attempt *attempt, uint32_t *attempts)
{
    const struct actuator_fire *fire = attempt->fire;
    struct error err = {0};
    if (permit(attempt, &err)) {
        emit(attempt, ACTUATOR_EVENT_FAILED, err.text);
        return -1;
    }
    for (attempt->number = 1;; attempt->number++) {
        ++*attempts;
        if (try_once(attempt) == 0)
            return 0;
        if (attempt->number > attempt->actuator->retries)
            return -1;
        fire->sleep_ns(fire->context, ACTUATOR_RETRY_PAUSE_MS * NS_PER_MS);
    }
}

static int check(struct attempt *attempt)
{
    struct error err = {0};
    attempt->end_ns =
        clock_now_ns(attempt->fire->clock) + attempt->actuator->timeout_ms * NS_PER_MS;
    int result = read_back(attempt, &err);
    emit(attempt, ACTUATOR_EVENT_STATE, result ? err.text : "");
    return result == 0 && attempt->state != ACTUATOR_STATE_UNKNOWN ? 0 : -1;
}

static void summarize(const struct actuator_fire *fire, struct actuator_event *summary,
                      unsigned used, unsigned good)
{
    summary->kind = ACTUATOR_EVENT_SUMMARY;
    summary->action = fire->action;
    if (!used)
        snprintf(summary->detail, sizeof(summary->detail), "no actuator is configured for %s",
                 actuator_action_name(fire->action));
    else
        snprintf(summary->detail, sizeof(summary->detail), "%u of %u actuators confirmed", good,
                 used);
    fire->emit(fire->context, summary);
}

int actuator_fire(const struct actuator_fire *fire)
{
    const bool all = fire->action == ACTUATOR_RESTORE || fire->action == ACTUATOR_CHECK;
    struct actuator_event summary = {0};
    unsigned used = 0;
    unsigned good = 0;
    for (uint32_t i = 0; i < fire->config->count && (all || !good); i++) {
        const struct actuator *actuator = &fire->config->list[i];
        struct attempt attempt = {fire, actuator, fire->drivers[actuator->kind], 0, 0, 0};
        if (!actuator_action_concerns(fire->action, actuator->class) ||
            (fire->only && strcmp(fire->only, actuator->name)))
            continue;
        used++;
        int result =
            fire->action == ACTUATOR_CHECK ? check(&attempt) : use(&attempt, &summary.attempt);
        if (result)
            continue;
        good++;
        memcpy(summary.actuator, actuator->name, sizeof(summary.actuator));
        summary.driver = actuator->kind;
        summary.simulated = summary.simulated || attempt.driver->simulated;
        summary.state = attempt.state;
    }
    summary.confirmed = good && (!all || good == used);
    summarize(fire, &summary, used, good);
    return summary.confirmed ? 0 : -1;
}
