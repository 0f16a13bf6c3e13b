// SPDX-License-Identifier: Apache-2.0
// Runs a program to its end and leaves none of its descendants behind. For guillotine-actuator,
// which becomes the parent of orphans (actuator_process_prepare).
#ifndef MONITOR_ACTUATOR_PROCESS_H
#define MONITOR_ACTUATOR_PROCESS_H

#include <stdint.h>

#include "clock.h"
#include "error.h"

// Most that a program may print; more ends it.
#define ACTUATOR_OUTPUT_MAX_BYTES 65536u
#define ACTUATOR_FIRST_LINE_SIZE  128

// What a program printed, as it is: untrusted. Only the first lines are kept.
struct actuator_output {
    char out[ACTUATOR_FIRST_LINE_SIZE];
    char err[ACTUATOR_FIRST_LINE_SIZE];
};

// Makes this process the parent of all its orphaned descendants. Call once.
int actuator_process_prepare(struct error *err);

// Runs `arguments` (NULL-ended; no shell) in a session of its own with no environment but PATH and
// no descriptor but its own three. By `deadline_ns` it and everything that it started has ended.
// Returns its exit status, or -1: it could not be started, was killed, did not end in time, or
// printed too much.
int actuator_process_run(const char *const *arguments, const struct clock *clock,
                         uint64_t deadline_ns, struct actuator_output *output, struct error *err);

#endif
