// SPDX-License-Identifier: Apache-2.0
// The client of the port named "clock".
#include <guillotine/clock.h>

static struct cell_port port;

static int read_clock(enum clock_operation operation, struct clock_reading *reading)
{
    size_t length = 0;
    if (!port.queue.entry && cell_port_open(&port, "clock") < 0)
        return -1;
    int status = cell_port_call(&port, operation, 0, NULL, 0, reading, sizeof(*reading), &length);
    return status || length == sizeof(*reading) ? status : -1;
}

int cell_clock_now(struct clock_reading *reading)
{
    return read_clock(CLOCK_PORT_NOW, reading);
}

int cell_clock_monotonic(struct clock_reading *reading)
{
    return read_clock(CLOCK_PORT_MONOTONIC, reading);
}
