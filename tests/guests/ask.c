// SPDX-License-Identifier: Apache-2.0
// A guest that sends the requests that its arguments are, one after the other, and prints what it
// got: the status, a blank and the reply, each on a line of the console.
//
//   [repeat N] PORT OPERATION ARGUMENT PAYLOAD   ...and so on, four arguments each. A payload "@N"
//                                                stands for N bytes "x". "repeat": all of them N
//                                                times.
#include <guillotine/cell.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 65536

static char payload[LARGEST];
static char reply[LARGEST];

static int ask(char **what)
{
    struct cell_port port;
    size_t length = strlen(what[3]);
    size_t got = 0;
    char line[32];
    if (cell_port_open(&port, what[0]) < 0)
        return -1;
    if (what[3][0] == '@') {
        length = strtoull(what[3] + 1, NULL, 10);
        memset(payload, 'x', length);
    } else {
        memcpy(payload, what[3], length);
    }
    int status = cell_port_call(&port, (uint32_t)strtoul(what[1], NULL, 0),
                                (uint32_t)strtoul(what[2], NULL, 0), payload, length, reply,
                                port.queue.reply_bytes, &got);
    snprintf(line, sizeof(line), "%d ", status);
    return cell_console_write(line, strlen(line)) ||
                   cell_console_write(reply, got < 256 ? got : 256) || cell_console_write("\n", 1)
               ? -1
               : 0;
}

int main(int argc, char **argv)
{
    bool repeats = argc > 2 && !strcmp(argv[1], "repeat");
    unsigned long turns = repeats ? strtoul(argv[2], NULL, 10) : 1;
    for (unsigned long turn = 0; turn < turns; turn++) {
        for (int i = repeats ? 3 : 1; i + 3 < argc; i += 4) {
            if (ask(&argv[i]) < 0)
                return 63;
        }
    }
    return 0;
}
