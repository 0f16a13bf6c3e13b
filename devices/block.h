// SPDX-License-Identifier: Apache-2.0
// The block backend: a raw file, or a block device, as a disk.
//
// No format is looked for: what the file holds is the model's. The size is that of the grant; the
// file never grows.
#ifndef DEVICES_BLOCK_H
#define DEVICES_BLOCK_H

#include "block_grant.h"
#include "port_backend.h"

struct block {
    int fd; // borrowed
    struct block_grant grant;
};

// State: struct block.
extern const struct port_backend block_backend;

#endif
