// SPDX-License-Identifier: Apache-2.0
// The control socket of a running VM: one JSON object a line, one answer a line.
//
// Requests: {"format":"guillotine-control/1","op":"status"} and "stop". The socket is reachable
// only for its owner (directory mode 0700).
#ifndef MONITOR_CONTROL_SERVER_H
#define MONITOR_CONTROL_SERVER_H

#include <limits.h>
#include <stddef.h>

#include "error.h"

#define CONTROL_FORMAT      "guillotine-control/1"
#define CONTROL_MAX_CLIENTS 8
#define CONTROL_LINE_MAX    512
#define CONTROL_ANSWER_MAX  8192

enum control_request {
    CONTROL_NONE,
    CONTROL_STATUS,
    CONTROL_STOP,
    CONTROL_BAD,
};

struct control_client {
    int fd; // -1: free
    size_t used;
    char line[CONTROL_LINE_MAX];
};

struct control_server {
    int fd;
    int lock;
    char path[PATH_MAX];
    unsigned next_victim;
    struct control_client clients[CONTROL_MAX_CLIENTS];
};

// Claims `name` under `runtime_dir` and listens on NAME.sock there. Fails if a VM of that name
// runs; what a killed supervisor left behind is replaced.
int control_server_open(struct control_server *server, const char *runtime_dir, const char *name,
                        struct error *err);

// Accepts a waiting client; if all places are taken, one that came earlier is dropped. Returns the
// place, or -1 if nobody waited.
int control_server_accept(struct control_server *server);

// Reads from a client whose descriptor is readable. Returns the request that a complete line
// makes; CONTROL_NONE if the line is not complete or the client went away (then its fd is -1).
enum control_request control_client_read(struct control_client *client);

// Sends one answer line (without newline in `text`). A client that does not take it is dropped.
void control_client_answer(struct control_client *client, const char *text);

// Stops listening, removes the socket and drops the clients.
void control_server_close(struct control_server *server);

// Client side: connects to the VM `name`. Returns the descriptor, or -1.
int control_connect(const char *runtime_dir, const char *name, struct error *err);

// Client side: sends a request ("status", "stop") and reads one answer line into `answer`.
int control_ask(int fd, const char *operation, char *answer, size_t size, struct error *err);

#endif
