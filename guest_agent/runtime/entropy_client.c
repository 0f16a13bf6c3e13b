// SPDX-License-Identifier: Apache-2.0
// The client of the port named "entropy".
#include <guillotine/entropy.h>

static struct cell_port port;

int cell_entropy_read(void *data, size_t length)
{
    uint8_t *at = data;
    if (!port.queue.entry && cell_port_open(&port, "entropy") < 0)
        return -1;
    while (length) {
        size_t part = length < port.queue.reply_bytes ? length : port.queue.reply_bytes;
        size_t got = 0;
        int status = cell_port_call(&port, ENTROPY_READ, (uint32_t)part, NULL, 0, at, part, &got);
        if (status)
            return status;
        if (got != part)
            return -1;
        at += part;
        length -= part;
    }
    return 0;
}
