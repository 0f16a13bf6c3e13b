// SPDX-License-Identifier: Apache-2.0
// What guillotine-actuator gives up before it talks to a device. A list of what is denied: glibc,
// libcurl and OpenSSL need more, and other things with each release, than can be named.
#include "actuator_filter.h"

#include <string.h>

#include "sandbox_deny.h"

int actuator_filter_enter(bool programs, struct error *err)
{
    return sandbox_deny(programs ? 0 : SANDBOX_DENY_PROGRAMS, err);
}

int actuator_filter_enter_for(const struct actuator_config *config, enum actuator_action action,
                              const char *only, struct error *err)
{
    bool programs = false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct actuator *actuator = &config->list[i];
        if (!actuator_action_concerns(action, actuator->class) ||
            (only && strcmp(only, actuator->name)))
            continue;
        if (actuator->kind == ACTUATOR_COMMAND)
            return 0;
        programs = programs || actuator->kind == ACTUATOR_IPMI;
    }
    return actuator_filter_enter(programs, err);
}
