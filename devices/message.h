// SPDX-License-Identifier: Apache-2.0
// The message and log backends: whole messages between a port and two rings that the supervisor
// serves. A log has one direction; the other ring says that the log takes no more.
#ifndef DEVICES_MESSAGE_H
#define DEVICES_MESSAGE_H

#include "message_frame.h"
#include "port_backend.h"
#include "shared_ring.h"

struct message {
    struct shared_ring output; // producer end
    struct shared_ring input;  // consumer end
    int wake_fd;               // eventfd of the supervisor, borrowed
    unsigned pending_sends;
    unsigned pending_receives;
    const struct port_request *oldest_receive; // the only one that may receive, if any waits
    uint64_t needed;                           // room that the oldest send waits for
    bool output_blocked; // a message of this batch did not fit: later ones must not overtake it
    bool unannounced;
    bool produced;
    bool consumed;
};

// State: struct message, with both rings mapped.
extern const struct port_backend message_backend;
extern const struct port_backend log_backend;

#endif
