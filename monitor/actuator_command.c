// SPDX-License-Identifier: Apache-2.0
// The command actuator: programs of the configuration fire, restore and read back.
#include <string.h>

#include "actuator_driver.h"
#include "actuator_process.h"
#include "escape.h"

static int run(char *const *arguments, const struct actuator_call *call,
               struct actuator_output *output, struct error *err)
{
    return actuator_process_run((const char *const *)arguments, call->clock, call->deadline_ns,
                                output, err);
}

static enum actuator_fired command_fire(const struct actuator_call *call, struct error *err)
{
    const struct actuator *actuator = call->actuator;
    struct actuator_output output = {0};
    char message[ACTUATOR_FIRST_LINE_SIZE];
    int status = run(call->action == ACTUATOR_RESTORE ? actuator->restore : actuator->fire, call,
                     &output, err);
    if (status == 0)
        return ACTUATOR_FIRED_DONE;
    if (status > 0) {
        escape_line(message, sizeof(message), output.err, strlen(output.err));
        error_fill(err, EXIT_STATUS_FAILURE, 0, "the command ended with status %d%s%s", status,
                   *message ? ": " : "", message);
    }
    // It ran, for a while at least: nobody knows what it did.
    return ACTUATOR_FIRED_LOST;
}

static int command_read_back(const struct actuator_call *call, enum actuator_state *state,
                             struct error *err)
{
    struct actuator_output output = {0};
    int status = run(call->actuator->read_back, call, &output, err);
    if (status < 0)
        return -1;
    if (status == 0 && !strcmp(output.out, "off"))
        *state = ACTUATOR_STATE_OFF;
    else if (status == 0 && !strcmp(output.out, "on"))
        *state = ACTUATOR_STATE_ON;
    else
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "the command has to print on or off and end with status 0 (it was %d)",
                         status);
    return 0;
}

const struct actuator_driver actuator_command = {
    .name = "command",
    .actions = 1u << ACTUATOR_CUT | 1u << ACTUATOR_RESTORE | 1u << ACTUATOR_CUT_FOR_GOOD |
               1u << ACTUATOR_DESTROY,
    .fire = command_fire,
    .read_back = command_read_back,
};
