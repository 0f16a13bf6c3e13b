// SPDX-License-Identifier: Apache-2.0
// The control socket of a running VM: one JSON object a line, one answer a line.
//
// {"format":"guillotine-control/1","op":OP} with OP status, quorum or stop; with "level":NAME and
// perhaps "reason":TEXT for isolate; with "port":NAME for port-close, port-open and receive; and
// with "length_bytes":N for send, where N bytes of the message follow the line, as those of a
// signed document do for order, propose and beat. The answer to receive is followed by the bytes of
// the message. A line that begins with "GET /metrics" is answered as HTTP would be, with metrics in
// the text format of Prometheus. The socket is reachable only for its owner (directory mode 0700).
#ifndef MONITOR_CONTROL_SERVER_H
#define MONITOR_CONTROL_SERVER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define CONTROL_FORMAT        "guillotine-control/1"
#define CONTROL_MAX_CLIENTS   8
#define CONTROL_LINE_MAX      2048
#define CONTROL_REASON_SIZE   257
#define CONTROL_ID_SIZE       65
#define CONTROL_ANSWER_MAX    (128u << 10)
#define CONTROL_APPROVALS_MAX (1u << 20) // of an answer that lists held requests
#define CONTROL_MESSAGE_MAX   (1u << 20)
#define CONTROL_SIGNED_MAX    (16u << 10) // of a signed document

enum control_operation {
    CONTROL_NONE,
    CONTROL_STATUS,
    CONTROL_STOP,
    CONTROL_ISOLATE,
    CONTROL_QUORUM,    // what an order has to be bound to
    CONTROL_ORDER,     // a signed order, to be carried out
    CONTROL_PROPOSE,   // a signed order that still looks for signatures
    CONTROL_BEAT,      // a signed token of an operator's console
    CONTROL_APPROVALS, // requests that wait for an approval; with an id: the payload of one
    CONTROL_APPROVE,
    CONTROL_REJECT,
    CONTROL_POLICY,         // a policy document, to be put in force
    CONTROL_POLICY_ORDERED, // the same behind a line with a signed order for it
    CONTROL_PORT_CLOSE,
    CONTROL_PORT_OPEN,
    CONTROL_SEND,
    CONTROL_RECEIVE,
    CONTROL_METRICS,
    CONTROL_BAD, // `error` says why
};

static inline bool control_is_policy(enum control_operation operation)
{
    return operation == CONTROL_POLICY || operation == CONTROL_POLICY_ORDERED;
}

struct control_order {
    enum control_operation operation;
    char port[32];
    char level[16];
    char reason[CONTROL_REASON_SIZE];
    char id[CONTROL_ID_SIZE]; // of a held request
    uint64_t length_bytes;
    char error[256];
};

struct control_client {
    int fd; // -1: free
    size_t used;
    char line[CONTROL_LINE_MAX];
    struct control_order order;
    bool waiting;    // for the answer to `order`
    uint32_t number; // of the order to the VMM that it waits for, or 0
    unsigned port;   // that the order is about
    uint8_t *body;   // of a message for the model, order.length_bytes of them
    size_t body_used;
    char *output; // what the socket did not take yet
    size_t output_length;
    size_t output_done;
    bool closes; // once the output is out
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

// Reads from a client whose descriptor is readable. Returns true once client->order is complete:
// then it waits for control_client_answer. A client that went away has fd -1 afterwards.
bool control_client_read(struct control_client *client);

// Sends one answer line (without newline in `text`), followed by `length` bytes of `data`. What the
// socket does not take at once is kept.
void control_client_answer(struct control_client *client, const char *text, const void *data,
                           size_t length);

// Answers with {"error":TEXT}.
void control_client_refuse(struct control_client *client, const char *text);

// Sends `text` as the body of an HTTP response and closes the connection after it.
void control_client_answer_http(struct control_client *client, const char *text);

// Sends more of what is kept; call when the descriptor is writable.
void control_client_write(struct control_client *client);

// Stops listening, removes the socket and drops the clients.
void control_server_close(struct control_server *server);

// Client side: connects to the VM `name`. Returns the descriptor, or -1.
int control_connect(const char *runtime_dir, const char *name, struct error *err);

// Client side: what to ask. `body` of `body_length` bytes goes with "send".
struct control_question {
    const char *operation;
    const char *port;   // or NULL
    const char *level;  // or NULL
    const char *reason; // or NULL
    const char *id;     // or NULL
    const void *body;
    size_t body_length;
    bool patient; // waits for ever, as for the model's next message
};

// Client side: asks and reads one answer line into `answer`. What came behind the line is left in
// `answer` behind its terminator; *behind says how much. An answer {"error":TEXT} is an error.
int control_ask(int fd, const struct control_question *question, char *answer, size_t size,
                size_t *behind, struct error *err);

#endif
