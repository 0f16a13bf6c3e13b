// SPDX-License-Identifier: Apache-2.0
// Runs guillotine-actuator beside the supervisor's loop: started, watched, never waited for.
//
//     actuator_start -> { poll what actuator_watch names until actuator_deadline_ns;
//                         actuator_serve } until actuator_is_over -> actuator_end
#ifndef MONITOR_ACTUATOR_RUN_H
#define MONITOR_ACTUATOR_RUN_H

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

#include "actuator_event.h"
#include "clock.h"

// Descriptors that a run wants polled.
#define ACTUATOR_RUN_FDS 2

struct actuator_request {
    const char *config;    // from actuator_config_find; "" or NULL: simulated ones
    const char *state_dir; // arming notes, simulated states
    const char *only;      // the one actuator to use, or NULL
    enum actuator_action action;
    bool allow_host_cut;
    const struct clock *clock;
    // Called from actuator_serve for each event, and once more at the end with a SUMMARY, which
    // this side makes up if the program gave none. May be NULL.
    void (*on_event)(void *context, const struct actuator_event *event);
    void *context;
};

struct actuator_run {
    struct actuator_request request; // texts are not kept
    pid_t pid;                       // 0: none runs
    int pidfd;
    int output;
    uint64_t deadline_ns; // boot-time clock
    unsigned lines;
    size_t used; // of `line`
    char line[ACTUATOR_LINE_MAX];
    bool silent; // its output has ended
    bool summarized;
    bool over;
    // After the end. `confirmed` needs the summary of the program and its exit status.
    struct actuator_event summary;
    bool confirmed;
};

// Starts the program without waiting for what it does. Refuses a configuration that is no good, so
// that a supervisor learns of it at once. Returns 0, or -1 with nothing to end.
int actuator_start(struct actuator_run *run, const struct actuator_request *request,
                   struct error *err);

// Names what to poll for; descriptors are -1 if nothing runs.
void actuator_watch(const struct actuator_run *run, struct pollfd fds[ACTUATOR_RUN_FDS]);

// When the program is killed; UINT64_MAX if none runs. Generous: twice the documented bound.
uint64_t actuator_deadline_ns(const struct actuator_run *run);

// Takes what the program said, whether polled for or not; never blocks. A program that says too
// much, something malformed, or is late, is killed. Returns true once, when the run is over.
bool actuator_serve(struct actuator_run *run);

// Kills what still runs, with its group, and releases everything; the results stay. Harmless on a
// run that was never started but is zeroed.
void actuator_end(struct actuator_run *run);

// Lets the program finish alone and releases everything: a supervisor that has to go does not stop
// a cut. Nobody learns how it ends.
void actuator_detach(struct actuator_run *run);

// For commands: starts, serves to the end, ends. Returns 0 if the action is confirmed.
int actuator_run_to_end(const struct actuator_request *request, struct error *err);

#endif
