// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a serve port: its kind and operations. Its backend is a program of its own.
#ifndef DEVICES_SERVE_PORT_H
#define DEVICES_SERVE_PORT_H

#include "port_backend.h"

#define SERVE_OPERATIONS 3u

// Bytes of a piece or an answer besides its text, at most.
#define SERVE_HEAD_BYTES 256u

extern const struct port_operation serve_operations[SERVE_OPERATIONS];

// Without hooks: requests go to the process.
extern const struct port_backend serve_port;

#endif
