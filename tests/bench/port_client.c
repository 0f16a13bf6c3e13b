// SPDX-License-Identifier: Apache-2.0
// Sends argv[1] requests of 64 bytes to the console, one at a time.
#include <guillotine/cell.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const char payload[64];
    struct cell_port port;
    if (argc != 2 || cell_port_open(&port, "console") < 0)
        return 1;
    for (long left = strtol(argv[1], NULL, 10); left > 0; left--) {
        if (cell_port_call(&port, CONSOLE_WRITE, 0, payload, sizeof(payload), NULL, 0, NULL))
            return 2;
    }
    return 0;
}
