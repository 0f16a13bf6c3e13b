// SPDX-License-Identifier: Apache-2.0
// A watchdog of the hardware (Documentation/watchdog/watchdog-api.rst): it resets the host if the
// supervisor stops writing to it.
#ifndef MONITOR_WATCHDOG_DEVICE_H
#define MONITOR_WATCHDOG_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct watchdog_device {
    int fd;               // -1: none
    uint64_t interval_ns; // between two writes
    uint64_t next_ns;
};

// Opens the device, which starts it, and reads its time-out back: it is written to four times in
// that time, and at least every second. A time-out of less than two seconds is refused. What is not
// a watchdog (a FIFO in a test) has none; a note on standard error says so.
int watchdog_device_open(struct watchdog_device *device, const char *path, struct error *err);

// Writes, if it is due at `now_ns` (boot-time clock). Never blocks.
void watchdog_device_beat(struct watchdog_device *device, uint64_t now_ns);

// Closes the device. After an orderly end the magic character stops it first; else it goes on
// running and resets the host.
void watchdog_device_close(struct watchdog_device *device, bool orderly);

#endif
