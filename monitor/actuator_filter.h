// SPDX-License-Identifier: Apache-2.0
// What guillotine-actuator gives up before it talks to a device.
#ifndef MONITOR_ACTUATOR_FILTER_H
#define MONITOR_ACTUATOR_FILTER_H

#include <stdbool.h>

#include "actuator_config.h"

// Denies the calling thread, and what it starts, the system calls that no device protocol needs:
// of other programs, other processes' memory, kernel modules, mounts, BPF, io_uring. With
// `programs` it may still execute. They fail with EPERM: a cut goes on that stumbles over one.
int actuator_filter_enter(bool programs, struct error *err);

// Same for an action on the configured actuators, or on `only`. A command may be anything, also
// what needs these calls or set-user-ID programs: where one is concerned nothing is denied.
int actuator_filter_enter_for(const struct actuator_config *config, enum actuator_action action,
                              const char *only, struct error *err);

#endif
