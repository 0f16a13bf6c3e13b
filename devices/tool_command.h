// SPDX-License-Identifier: Apache-2.0
// `guillotine tool list|pin`: what a server says of its tools, for an operator to look at.
#ifndef DEVICES_TOOL_COMMAND_H
#define DEVICES_TOOL_COMMAND_H

// The descriptor that the grant is on, when guillotine starts this program as a command.
#define TOOL_COMMAND_FD 3

// Arguments: list or pin, "json" or "text", and for pin the file of pins to write, or "-". Returns
// the exit status.
int tool_command(int argc, char **argv);

#endif
