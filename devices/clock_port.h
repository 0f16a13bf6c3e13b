// SPDX-License-Identifier: Apache-2.0
// The clock backend: time in ticks, no finer than the VM file grants.
#ifndef DEVICES_CLOCK_PORT_H
#define DEVICES_CLOCK_PORT_H

#include "clock.h"
#include "error.h"
#include "port_backend.h"
#include "vmm_protocol.h"

// Tick 0 is when the port was made, tick n comes n times the resolution later, delayed by at most
// the jitter. Both operations count the same ticks: two phases would be a finer clock.
struct clock_port {
    const struct clock *clock; // borrowed
    uint64_t resolution_ns;
    uint64_t jitter_ns;
    uint8_t jitter_key[16];
    bool quantises_replies;
    uint64_t start_ns;      // boot-time clock: tick 0
    uint64_t start_wall_ns; // Unix time then, rounded down to a multiple of the resolution
    uint64_t waiting_tick;  // at which a request was last told to wait
};

// State: struct clock_port.
extern const struct port_backend clock_backend;

// Makes the state of a clock whose tick 0 is now. The caller wipes the seed in `options`. Returns
// 0, or -1 with *err set if the options are out of range.
int clock_port_init(struct clock_port *port, const struct vmm_clock_options *options,
                    const struct clock *clock, struct error *err);

#endif
