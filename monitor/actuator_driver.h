// SPDX-License-Identifier: Apache-2.0
// What a driver of actuators provides; one file each. Only guillotine-actuator links them.
#ifndef MONITOR_ACTUATOR_DRIVER_H
#define MONITOR_ACTUATOR_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "actuator_config.h"
#include "actuator_event.h"
#include "clock.h"

// One call of a driver.
struct actuator_call {
    const struct actuator *actuator;
    enum actuator_action action; // never CHECK when firing
    const struct clock *clock;
    uint64_t deadline_ns; // boot-time clock; the driver returns by then, give or take scheduling
    const char *state_dir;
    bool allow_host_cut;
};

// What became of an order.
enum actuator_fired {
    ACTUATOR_FIRED_DONE,    // the device took it
    ACTUATOR_FIRED_LOST,    // it may have; *err says what happened
    ACTUATOR_FIRED_REFUSED, // it did not happen; *err says why
};

struct actuator_driver {
    const char *name;
    unsigned actions; // a bit for each enum actuator_action that it can carry out
    bool simulated;
    enum actuator_fired (*fire)(const struct actuator_call *call, struct error *err);
    // Asks the device. Returns 0 with *state, or -1. Never answers from memory.
    int (*read_back)(const struct actuator_call *call, enum actuator_state *state,
                     struct error *err);
};

extern const struct actuator_driver actuator_simulated;
extern const struct actuator_driver actuator_command;
extern const struct actuator_driver actuator_link;
extern const struct actuator_driver actuator_redfish;
extern const struct actuator_driver actuator_ipmi;

// Milliseconds until the call's deadline: 0 if it is over, at most `most`.
static inline uint32_t actuator_call_left_ms(const struct actuator_call *call, uint32_t most)
{
    uint64_t now = clock_now_ns(call->clock);
    uint64_t left = call->deadline_ns > now ? (call->deadline_ns - now) / NS_PER_MS : 0;
    return left < most ? (uint32_t)left : most;
}

#endif
