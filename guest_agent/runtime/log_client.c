// SPDX-License-Identifier: Apache-2.0
// The client of the port named "log".
#include <guillotine/log.h>

static struct cell_port port;

int cell_log_write(enum log_severity severity, const char *text, size_t length)
{
    if (!port.queue.entry && cell_port_open(&port, "log") < 0)
        return -1;
    return cell_port_call(&port, LOG_WRITE, severity, text, length, NULL, 0, NULL);
}
