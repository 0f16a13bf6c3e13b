// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a tool port.
#include "tool_port.h"

const struct port_operation tool_operations[TOOL_OPERATIONS] = {
    {TOOL_LIST, 0, PORT_MAX_BYTES, "list"},
    {TOOL_CALL, PORT_MAX_BYTES, PORT_MAX_BYTES, "call"},
};

const struct port_backend tool_port = {
    .kind = PORT_KIND_TOOL,
    .name = "tool",
    .operations = tool_operations,
    .operation_count = TOOL_OPERATIONS,
};
