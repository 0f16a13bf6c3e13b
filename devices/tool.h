// SPDX-License-Identifier: Apache-2.0
// The tool backend: requests of the model for the tools of one server.
#ifndef DEVICES_TOOL_H
#define DEVICES_TOOL_H

#include "mcp_client.h"
#include "port_backend.h"

// State: struct mcp_client, open.
extern const struct port_backend tool_backend;

#endif
