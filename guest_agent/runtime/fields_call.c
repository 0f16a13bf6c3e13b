// SPDX-License-Identifier: Apache-2.0
// One request made of fields, and its reply.
#include "fields_call.h"

#include <string.h>

#define NUMBER_SIZE 20u

struct fields_call fields_call_start(struct cell_port *port)
{
    queue_attach(&port->queue); // others may be bound to the same port
    return (struct fields_call){.queue = &port->queue, .payload = cell_queue_buffer(&port->queue)};
}

void fields_call_bytes(struct fields_call *call, uint32_t field, const void *bytes, size_t length)
{
    if (!bytes)
        return;
    if (!call->payload || length > call->queue->request_bytes ||
        !port_fields_append(call->payload, call->queue->request_bytes, &call->used, field, bytes,
                            (uint32_t)length))
        call->payload = NULL;
}

void fields_call_text(struct fields_call *call, uint32_t field, const char *text)
{
    fields_call_bytes(call, field, text, text ? strlen(text) : 0);
}

void fields_call_number(struct fields_call *call, uint32_t field, uint64_t number)
{
    char digits[NUMBER_SIZE];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    fields_call_bytes(call, field, digits + at, sizeof(digits) - at);
}

int fields_call_finish(struct fields_call *call, uint32_t operation, uint32_t argument,
                       struct port_fields *fields)
{
    struct cell_reply answer;
    memset(fields, 0, sizeof(*fields));
    if (!call->payload ||
        cell_queue_send(call->queue, operation, argument, call->payload, call->used, 0))
        return -1;
    while (!cell_queue_poll(call->queue, &answer))
        cell_queue_wait(call->queue);
    if (port_fields_read(fields, answer.payload, answer.length))
        return (int)answer.status;
    memset(fields, 0, sizeof(*fields));
    return answer.status ? (int)answer.status : -1;
}
