// SPDX-License-Identifier: Apache-2.0
// The operator's end of a message port.
#include "message_relay.h"

#include "message_frame.h"

bool message_relay_has_room(struct message_relay *relay, uint32_t length)
{
    uint64_t needed = sizeof(struct message_frame) + (uint64_t)length;
    return shared_ring_space(&relay->input) >= needed ||
           shared_ring_wait_space(&relay->input, needed);
}

void message_relay_send(struct message_relay *relay, const void *data, uint32_t length, bool *wake)
{
    const struct message_frame frame = {.length = length};
    shared_ring_append(&relay->input, &frame, sizeof(frame));
    shared_ring_append(&relay->input, data, length);
    if (shared_ring_publish(&relay->input))
        *wake = true;
}

int64_t message_relay_next(struct message_relay *relay, uint32_t *severity)
{
    struct message_frame frame;
    uint64_t available = shared_ring_available(&relay->output);
    if (!available && !shared_ring_wait_data(&relay->output))
        return -1;
    available = shared_ring_available(&relay->output);
    if (available == UINT64_MAX || available < sizeof(frame))
        return -2;
    shared_ring_peek(&relay->output, 0, &frame, sizeof(frame));
    if (frame.severity > relay->most_severity || frame.length > relay->largest ||
        frame.length > available - sizeof(frame))
        return -2;
    if (severity)
        *severity = frame.severity;
    return frame.length;
}

void message_relay_take(struct message_relay *relay, void *data, uint32_t length, bool *wake)
{
    shared_ring_peek(&relay->output, sizeof(struct message_frame), data, length);
    if (shared_ring_consume(&relay->output, sizeof(struct message_frame) + length))
        *wake = true;
}
