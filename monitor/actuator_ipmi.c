// SPDX-License-Identifier: Apache-2.0
// The IPMI actuator: chassis power through ipmitool.
#include <stdio.h>
#include <string.h>

#include "actuator_driver.h"
#include "actuator_ipmi.h"
#include "actuator_process.h"
#include "escape.h"
#include "secret_file.h"

#define COUNT(array)    (sizeof(array) / sizeof((array)[0]))
#define DEFAULT_PROGRAM "/usr/bin/ipmitool"

void actuator_ipmi_arguments(const struct actuator *actuator, const char *order,
                             struct actuator_ipmi_arguments *arguments)
{
    const char *const fixed[] = {
        actuator->program ? actuator->program : DEFAULT_PROGRAM,
        "-I",
        "lanplus",
        "-H",
        actuator->host,
        "-p",
        arguments->port,
        "-U",
        actuator->user,
        "-f", // never on the command line, where every user could read it
        actuator->password_file,
        "-N", // our own deadline stands behind these
        "1",
        "-R",
        "2",
    };
    size_t count = COUNT(fixed);
    _Static_assert(COUNT(fixed) + 6 <= COUNT(arguments->list), "two options, three words, the end");
    snprintf(arguments->port, sizeof(arguments->port), "%u", actuator->port);
    memcpy(arguments->list, fixed, sizeof(fixed));
    if (actuator->cipher_suite) {
        snprintf(arguments->cipher_suite, sizeof(arguments->cipher_suite), "%u",
                 actuator->cipher_suite);
        arguments->list[count++] = "-C";
        arguments->list[count++] = arguments->cipher_suite;
    }
    arguments->list[count++] = "chassis";
    arguments->list[count++] = "power";
    arguments->list[count++] = order;
    arguments->list[count] = NULL;
}

static int run(const struct actuator_call *call, const char *order, struct actuator_output *output,
               struct error *err)
{
    struct actuator_ipmi_arguments arguments;
    if (secret_file_read(call->actuator->password_file, NULL, 0, 0, err))
        return -1;
    actuator_ipmi_arguments(call->actuator, order, &arguments);
    return actuator_process_run(arguments.list, call->clock, call->deadline_ns, output, err);
}

static int complain(const struct actuator_output *output, int status, struct error *err)
{
    char message[ACTUATOR_FIRST_LINE_SIZE];
    const char *text = output->err[0] ? output->err : output->out;
    escape_line(message, sizeof(message), text, strlen(text));
    return error_set(err, EXIT_STATUS_FAILURE, 0, "ipmitool ended with status %d: %s", status,
                     message);
}

static enum actuator_fired ipmi_fire(const struct actuator_call *call, struct error *err)
{
    struct actuator_output output = {0};
    int status = run(call, call->action == ACTUATOR_RESTORE ? "on" : "off", &output, err);
    if (status == 0)
        return ACTUATOR_FIRED_DONE;
    if (status > 0)
        complain(&output, status, err);
    return ACTUATOR_FIRED_LOST;
}

static int ipmi_read_back(const struct actuator_call *call, enum actuator_state *state,
                          struct error *err)
{
    struct actuator_output output = {0};
    int status = run(call, "status", &output, err);
    if (status < 0)
        return -1;
    if (status == 0 && !strcmp(output.out, "Chassis Power is off"))
        *state = ACTUATOR_STATE_OFF;
    else if (status == 0 && !strcmp(output.out, "Chassis Power is on"))
        *state = ACTUATOR_STATE_ON;
    else
        return complain(&output, status, err);
    return 0;
}

const struct actuator_driver actuator_ipmi = {
    .name = "ipmi",
    .actions = 1u << ACTUATOR_CUT | 1u << ACTUATOR_RESTORE,
    .fire = ipmi_fire,
    .read_back = ipmi_read_back,
};
