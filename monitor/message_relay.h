// SPDX-License-Identifier: Apache-2.0
// The operator's end of a message port.
#ifndef MONITOR_MESSAGE_RELAY_H
#define MONITOR_MESSAGE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "shared_ring.h"

struct message_relay {
    struct shared_ring output; // messages of the model: consumer end
    struct shared_ring input;  // messages for the model: producer end
    uint32_t largest;          // that the model can send, in bytes
    uint32_t most_severity;    // that it can give a message: 0 unless the port is a log
};

// True if there is room for a message. If not, the VMM will wake us.
bool message_relay_has_room(struct message_relay *relay, uint32_t length);

// Puts a message into the ring, whole; there is room. *wake is set if the VMM waits for it.
void message_relay_send(struct message_relay *relay, const void *data, uint32_t length, bool *wake);

// Bytes of the model's next message: 0 or more, or -1 if none is there, or -2 if what the VMM put
// into the ring cannot be a message. Sets a wake-up if none is there. *severity, unless NULL, is
// set to that of a log's message.
int64_t message_relay_next(struct message_relay *relay, uint32_t *severity);

// Takes the next message, of the length that message_relay_next said.
void message_relay_take(struct message_relay *relay, void *data, uint32_t length, bool *wake);

#endif
