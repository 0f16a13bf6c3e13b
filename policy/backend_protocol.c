// SPDX-License-Identifier: Apache-2.0
// Layout of the memory that VMM and backend process share.
#include "backend_protocol.h"

#define PAGE 4096u
#define LINE 64u

// Sizes of the port ABI; ports/backend_link.c asserts them.
#define REQUEST_HEADER_BYTES 24u
#define REPLY_HEADER_BYTES   16u

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

void backend_layout_init(struct backend_layout *layout, const struct vmm_port_config *port)
{
    uint32_t size = 2;
    while (size < port->in_flight * 2)
        size *= 2;
    uint64_t reply = round_up(REQUEST_HEADER_BYTES + (uint64_t)port->max_request_bytes, LINE);
    uint64_t stride = reply + round_up(REPLY_HEADER_BYTES + (uint64_t)port->max_reply_bytes, LINE);
    *layout = (struct backend_layout){
        .slots = port->in_flight,
        .queue_size = size,
        .descriptors = 0,
        .available = PAGE,
        .used = 2 * PAGE,
        .buffers = 3 * PAGE,
        .stride = stride,
        .reply = reply,
        .bytes = round_up(3 * PAGE + port->in_flight * stride, PAGE),
    };
}
