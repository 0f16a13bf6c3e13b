// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a block port.
#ifndef DEVICES_BLOCK_PORT_H
#define DEVICES_BLOCK_PORT_H

#include "port_backend.h"

#define BLOCK_OPERATIONS 5u
extern const struct port_operation block_operations[BLOCK_OPERATIONS];

extern const struct port_backend block_port;

#endif
