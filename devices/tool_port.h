// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a tool port: its kind and operations. Its backend is a program of its own.
#ifndef DEVICES_TOOL_PORT_H
#define DEVICES_TOOL_PORT_H

#include "port_backend.h"

#define TOOL_OPERATIONS 2u

extern const struct port_operation tool_operations[TOOL_OPERATIONS];

// Without hooks: requests go to the process.
extern const struct port_backend tool_port;

#endif
