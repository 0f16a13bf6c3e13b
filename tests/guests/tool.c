// SPDX-License-Identifier: Apache-2.0
// A guest that lists and calls tools as its arguments say; prints a line for each: the status, a
// blank and the result.
//
//   list FIRST | call TOOL ARGUMENTS | repeat N TOOL ARGUMENTS | retry TOOL ARGUMENTS
//   raw OPERATION ARGUMENT HEX (a payload)   ...and so on
#include <guillotine/tool.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(int status, const char *text, size_t length)
{
    char head[16];
    snprintf(head, sizeof(head), "%d ", status);
    cell_console_write(head, strlen(head));
    for (size_t done = 0; done < length;) {
        size_t part = length - done < 4096 ? length - done : 4096;
        cell_console_write(text + done, part);
        done += part;
    }
    cell_console_write("\n", 1);
}

// Waits some milliseconds, without a clock.
static void rest(void)
{
    for (volatile int i = 0; i < 1000000; i++)
        continue;
}

// Calls until the port is up.
static int retry(struct cell_port *port, char **words, const char **text, size_t *length)
{
    int status = PORT_STATUS_DOWN;
    for (int turn = 0; turn < 20000 && status; turn++) {
        status = cell_tool_call(port, words[1], words[2], text, length);
        if (status)
            rest();
    }
    return status;
}

static int raw(struct cell_port *port, char **words, const char **text, size_t *length)
{
    static uint8_t payload[65536];
    static char reply[1024];
    size_t bytes = strlen(words[3]) / 2;
    for (size_t i = 0; i < bytes && i < sizeof(payload); i++) {
        char digits[3] = {words[3][2 * i], words[3][2 * i + 1]};
        payload[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    *text = reply;
    *length = 0;
    int status = cell_port_call(port, (uint32_t)atoi(words[1]), (uint32_t)atoi(words[2]), payload,
                                bytes, reply, sizeof(reply), length);
    *length = 0; // only the status matters
    return status;
}

int main(int argc, char **argv)
{
    struct cell_port port;
    const char *text;
    size_t length;
    if (cell_port_open(&port, "tool") < 0)
        return 63;
    for (int i = 1; i < argc;) {
        if (!strcmp(argv[i], "list") && i + 1 < argc) {
            int status = cell_tool_list(&port, (uint32_t)atoi(argv[i + 1]), &text, &length);
            print(status, text, length);
            i += 2;
        } else if (!strcmp(argv[i], "call") && i + 2 < argc) {
            int status = cell_tool_call(&port, argv[i + 1], argv[i + 2], &text, &length);
            print(status, text, length);
            i += 3;
        } else if (!strcmp(argv[i], "repeat") && i + 3 < argc) {
            for (int turn = 0; turn < atoi(argv[i + 1]); turn++) {
                if (cell_tool_call(&port, argv[i + 2], argv[i + 3], &text, &length))
                    return 62;
            }
            i += 4;
        } else if (!strcmp(argv[i], "retry") && i + 2 < argc) {
            int status = retry(&port, argv + i, &text, &length);
            print(status, text, length);
            i += 3;
        } else if (!strcmp(argv[i], "raw") && i + 3 < argc) {
            int status = raw(&port, argv + i, &text, &length);
            print(status, text, length);
            i += 4;
        } else {
            return 61;
        }
    }
    return 0;
}
