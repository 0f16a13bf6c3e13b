// SPDX-License-Identifier: Apache-2.0
// Carries out an action: fire, confirm by reading back, retry, fall back to the next actuator.
#ifndef MONITOR_ACTUATOR_FIRE_H
#define MONITOR_ACTUATOR_FIRE_H

#include "actuator_driver.h"

struct actuator_fire {
    const struct actuator_config *config;
    const struct actuator_driver *const *drivers; // by enum actuator_kind
    enum actuator_action action;
    const char *only; // the one actuator to use, or NULL
    const char *state_dir;
    bool allow_host_cut;
    const struct clock *clock;
    void (*sleep_ns)(void *context, uint64_t ns);
    void (*emit)(void *context, const struct actuator_event *event);
    void *context;
};

// Carries out the action and emits what happens, with a summary at the end. A cut, a cut for good
// and a destruction are done when one actuator of the class is confirmed; they are tried in the
// order of the list. Restoring is done when all reversible ones are confirmed, a check when all
// could be read. Takes at most actuator_config_bound_ms. Returns 0 if it is done, else -1.
int actuator_fire(const struct actuator_fire *fire);

#endif
