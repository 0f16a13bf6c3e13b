// SPDX-License-Identifier: Apache-2.0
// The command line of ipmitool; apart, so that a test can look at it.
#ifndef MONITOR_ACTUATOR_IPMI_H
#define MONITOR_ACTUATOR_IPMI_H

#include "actuator_config.h"

// Points into itself and into the actuator.
struct actuator_ipmi_arguments {
    char port[8];
    char cipher_suite[8];
    const char *list[24]; // NULL-ended
};

// Fills the command line for `order`: on, off or status.
void actuator_ipmi_arguments(const struct actuator *actuator, const char *order,
                             struct actuator_ipmi_arguments *arguments);

#endif
