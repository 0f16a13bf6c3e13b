// SPDX-License-Identifier: Apache-2.0
// One request made of fields, built where the port reads it, and its reply.
#ifndef RUNTIME_FIELDS_CALL_H
#define RUNTIME_FIELDS_CALL_H

#include <stddef.h>

#include "port_fields_abi.h"
#include "queue_client.h"

// A request that is being built. Fields ascend.
struct fields_call {
    struct cell_queue *queue;
    uint8_t *payload; // NULL: it cannot be built
    uint32_t used;
};

struct fields_call fields_call_start(struct cell_port *port);

// Appends a field; one without bytes is left out. What does not fit fails the call as a whole.
void fields_call_bytes(struct fields_call *call, uint32_t field, const void *bytes, size_t length);
void fields_call_text(struct fields_call *call, uint32_t field, const char *text);
void fields_call_number(struct fields_call *call, uint32_t field, uint64_t number);

// Sends the request, waits, and finds the fields of its reply, which stay where the port wrote
// them until the next request. Returns the reply's status, or -1 if the request could not be sent
// or the reply makes no sense; the fields are empty then.
int fields_call_finish(struct fields_call *call, uint32_t operation, uint32_t argument,
                       struct port_fields *fields);

#endif
