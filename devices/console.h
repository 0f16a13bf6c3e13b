// SPDX-License-Identifier: Apache-2.0
// The console backend: bytes between a port and two rings that the supervisor serves.
#ifndef DEVICES_CONSOLE_H
#define DEVICES_CONSOLE_H

#include "port_backend.h"
#include "shared_ring.h"

struct console {
    struct shared_ring output; // producer end
    struct shared_ring input;  // consumer end
    int wake_fd;               // eventfd of the supervisor, borrowed
    unsigned pending_writes;
    unsigned pending_reads;
    const struct port_request *oldest_read; // the only one that may read, if any waits
    uint32_t needed;                        // room that the oldest write waits for
    bool output_blocked; // a write of this batch did not fit: later ones must not overtake it
    bool unannounced;    // shown since the supervisor was last woken
    bool produced;
    bool consumed;
};

// State: struct console, with both rings mapped.
extern const struct port_backend console_backend;

#endif
