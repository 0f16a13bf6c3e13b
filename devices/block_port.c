// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a block port.
#include "block_port.h"

#define RANGE_BYTES ((uint32_t)sizeof(struct block_range))

const struct port_operation block_operations[BLOCK_OPERATIONS] = {
    {BLOCK_READ, RANGE_BYTES, PORT_MAX_BYTES, "read"},
    {BLOCK_WRITE, PORT_MAX_BYTES, 0, "write"},
    {BLOCK_FLUSH, 0, 0, "flush"},
    {BLOCK_DISCARD, RANGE_BYTES, 0, "discard"},
    {BLOCK_WRITE_ZEROES, RANGE_BYTES, 0, "write-zeroes"},
};

const struct port_backend block_port = {
    .kind = PORT_KIND_BLOCK,
    .name = "block",
    .operations = block_operations,
    .operation_count = BLOCK_OPERATIONS,
};
