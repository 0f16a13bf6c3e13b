// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of an http port: its kind and operations. Its backend is a program of its own.
#ifndef DEVICES_HTTP_PORT_H
#define DEVICES_HTTP_PORT_H

#include "port_backend.h"

#define HTTP_OPERATIONS 4u

extern const struct port_operation http_operations[HTTP_OPERATIONS];

// Without hooks: requests go to the process.
extern const struct port_backend http_port;

#endif
