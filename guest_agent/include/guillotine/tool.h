// SPDX-License-Identifier: Apache-2.0
// Tools behind a tool port: what there is, and calls.
#ifndef GUILLOTINE_TOOL_H
#define GUILLOTINE_TOOL_H

#include <stddef.h>
#include <stdint.h>

#include <guillotine/cell.h>

// Gets the tools from number `first` on, as many as fit, as a JSON array of objects with name,
// description and inputSchema; "[]" behind the last. *text points into the port's reply buffer, is
// not terminated, and stays valid until the next request. Returns a port status, or -1.
int cell_tool_list(struct cell_port *port, uint32_t first, const char **text, size_t *length);

// Calls a tool with a JSON object of arguments and waits for the result, a JSON object with content
// (text) and isError. PORT_STATUS_INVALID: the arguments are not what is granted; the result says
// why. PORT_STATUS_DENIED: there is no such tool. *text as above. Returns a port status, or -1.
int cell_tool_call(struct cell_port *port, const char *tool, const char *arguments,
                   const char **text, size_t *length);

#endif
