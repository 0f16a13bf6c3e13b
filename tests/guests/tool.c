// SPDX-License-Identifier: Apache-2.0
// A guest that lists and calls tools as its arguments say; prints a line for each: the status, a
// blank and the result.
//
//   list FIRST | call TOOL ARGUMENTS | repeat N TOOL ARGUMENTS   ...and so on
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
        } else {
            return 61;
        }
    }
    return 0;
}
