// SPDX-License-Identifier: Apache-2.0
// Two-step arming of actuators that cannot be undone: a person leaves a note that expires, and the
// fire itself uses it up, durably, before anything is fired.
//
// Notes are files STATE/actuators/armed/NAME that only their owner can read. One is good for one
// fire of one actuator under the configuration it was made for, in this boot of the machine, until
// both clocks say that its time is over.
#ifndef MONITOR_ACTUATOR_ARMING_H
#define MONITOR_ACTUATOR_ARMING_H

#include <stdbool.h>
#include <stdint.h>

#include "actuator_config.h"
#include "clock.h"

#define ACTUATOR_ARMING_FORMAT  "guillotine-armed/1"
#define ACTUATOR_ARM_MAX_MS     (24ull * 3600 * 1000)
#define ACTUATOR_REASON_SIZE    256
#define ACTUATOR_NOTE_MAX_BYTES 4096u
#define ACTUATOR_BOOT_ID_SIZE   40

struct actuator_arming {
    char reason[ACTUATOR_REASON_SIZE]; // printable ASCII
    uint64_t expires_wall_s;           // Unix time
    uint64_t expires_boot_ms;          // boot-time clock
};

// Opens STATE/actuators, made if it is missing; only its owner may write it. Returns a descriptor
// or -1.
int actuator_folder_open(const char *state_dir, struct error *err);

// Arms for `for_ms` (1 to ACTUATOR_ARM_MAX_MS); a note that is there already is replaced. Refuses
// reversible actuators, which need none. Durable when it returns 0.
int actuator_arm(const char *state_dir, const struct actuator_config *config,
                 const struct actuator *actuator, uint64_t for_ms, const char *reason,
                 const struct clock *clock, struct error *err);

// Looks at the note. Returns 0 if it is good now, else -1 with the reason in *err.
int actuator_arming_look(const char *state_dir, const struct actuator_config *config,
                         const struct actuator *actuator, const struct clock *clock,
                         struct actuator_arming *arming, struct error *err);

// Uses the note up: it is gone for good, whether it was good or not, when this returns. Returns 0
// if the actuator may be fired once. Of several that try at once, one gets it.
int actuator_arming_consume(const char *state_dir, const struct actuator_config *config,
                            const struct actuator *actuator, const struct clock *clock,
                            struct actuator_arming *arming, struct error *err);

// Removes the note. Returns 0 if there is none afterwards.
int actuator_disarm(const char *state_dir, const char *name, struct error *err);

#endif
