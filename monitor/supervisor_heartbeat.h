// SPDX-License-Identifier: Apache-2.0
// What the supervisor knows of everybody's signs of life, its own included.
#ifndef MONITOR_SUPERVISOR_HEARTBEAT_H
#define MONITOR_SUPERVISOR_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "heartbeat.h"
#include "machine_check.h"
#include "service_notify.h"
#include "watchdog_device.h"

struct supervisor_heartbeat {
    // Set before the run; zero means what is said here.
    const struct clock *clock; // NULL: the host's
    int (*reboot)(void);       // NULL: reboot(2); -1 if it failed, with errno
    const char *watchdog_path; // NULL: no watchdog of the hardware is used
    const char *machine_root;  // NULL: MACHINE_CHECK_ROOT
    bool allow_host_cut;       // the host may be restarted
    bool lost;          // a loss ended the run: nothing that the model said is shown any more
    bool watching;      // the VM runs
    uint64_t period_ns; // longest silence of the VMM
    uint64_t turn_ns;   // last turn of the loop
    uint64_t beat_ns;   // last beat
    uint64_t asked;     // number of the last question to the VMM's control thread
    uint64_t answered;  // number that it answered last
    uint64_t asked_ns;  // when the last question was sent
    struct heartbeat_watch page;    // beats of the VMM's watchdog
    struct heartbeat_watch channel; // answers of its control thread
    struct heartbeat_watch person;  // beats of an operator
    uint64_t person_beats;
    uint64_t machine_ns; // next look at the memory controllers
    struct machine_check machine;
    struct service_notify service;
    struct watchdog_device device;
};

#endif
