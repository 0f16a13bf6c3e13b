// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a block port.
#ifndef DEVICES_BLOCK_PORT_H
#define DEVICES_BLOCK_PORT_H

#include "port_backend.h"

// Most bytes of one BLOCK_WRITE_ZEROES. Where a file system cannot make zeros they are written: no
// limit of bytes sees that, so that a request may cost no more than a few of the largest writes.
#define BLOCK_ZEROES_MAX_BYTES (32u << 20)

#define BLOCK_OPERATIONS 5u
extern const struct port_operation block_operations[BLOCK_OPERATIONS];

extern const struct port_backend block_port;

#endif
