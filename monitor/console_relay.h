// SPDX-License-Identifier: Apache-2.0
// Relays the console's rings to standard output and from standard input.
#ifndef MONITOR_CONSOLE_RELAY_H
#define MONITOR_CONSOLE_RELAY_H

#include <stdbool.h>

#include "error.h"
#include "escape.h"
#include "shared_ring.h"

struct console_relay {
    struct shared_ring output; // consumer end
    struct shared_ring input;  // producer end
    int output_fd;             // non-blocking where the kernel lets us, stays open
    int input_fd;              // borrowed, -1 once it ended
    bool terminal;             // output_fd is a terminal: neutralise control sequences
    bool broken;               // nobody reads the output any more (EPIPE)
    struct escape_terminal escape;
    size_t staged_length; // filtered bytes that wait for output_fd
    size_t staged_done;
    char staged[4096 * ESCAPE_MAX_EXPANSION + 16];
};

void console_relay_init(struct console_relay *relay, int input_fd, int output_fd);

// True if bytes wait for the output descriptor to take them.
bool console_relay_has_output(struct console_relay *relay);

// True if the model asked for input and there is some left to read.
bool console_relay_wants_input(struct console_relay *relay);

// Writes once; call when output_fd is writable. *wake is set if the VMM waits for room.
int console_relay_write(struct console_relay *relay, bool *wake, struct error *err);

// Reads once; call when input_fd is readable. *wake is set if the VMM has to hear of it.
void console_relay_read(struct console_relay *relay, bool *wake);

// Writes what is left after the VMM has ended; blocks at most `limit_ms` on a reader that does not
// read, in all.
void console_relay_drain(struct console_relay *relay, int limit_ms);

#endif
