// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a store: its kind and operations. Its backend is a program of its own.
#ifndef DEVICES_STORE_PORT_H
#define DEVICES_STORE_PORT_H

#include "port_backend.h"

#define STORE_OPERATIONS 5u

extern const struct port_operation store_operations[STORE_OPERATIONS];

// Without hooks: requests go to the process.
extern const struct port_backend store_port;

#endif
