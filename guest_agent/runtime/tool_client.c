// SPDX-License-Identifier: Apache-2.0
// The client of a tool port. Requests are built where the port reads them; replies stay where it
// wrote them.
#include <guillotine/tool.h>

#include <string.h>

#include "port_fields_abi.h"
#include "queue_client.h"

// Sends what was built and finds the result in the reply.
static int finish(struct cell_queue *queue, uint32_t operation, uint32_t argument,
                  const uint8_t *payload, uint32_t length, const char **text, size_t *text_length)
{
    struct cell_reply answer;
    struct port_fields fields;
    *text = "";
    *text_length = 0;
    if (cell_queue_send(queue, operation, argument, payload, length, 0))
        return -1;
    while (!cell_queue_poll(queue, &answer))
        cell_queue_wait(queue);
    if (!answer.length)
        return (int)answer.status;
    if (!port_fields_read(&fields, answer.payload, answer.length))
        return -1;
    const struct port_field *result = &fields.field[TOOL_FIELD_RESULT];
    if (result->bytes) {
        *text = (const char *)result->bytes;
        *text_length = result->length;
    }
    return (int)answer.status;
}

int cell_tool_list(struct cell_port *port, uint32_t first, const char **text, size_t *length)
{
    queue_attach(&port->queue); // others may be bound to the same port
    return finish(&port->queue, TOOL_LIST, first, NULL, 0, text, length);
}

int cell_tool_call(struct cell_port *port, const char *tool, const char *arguments,
                   const char **text, size_t *length)
{
    queue_attach(&port->queue);
    struct cell_queue *queue = &port->queue;
    uint8_t *payload = cell_queue_buffer(queue);
    uint32_t used = 0;
    if (!payload || strlen(tool) > queue->request_bytes ||
        strlen(arguments) > queue->request_bytes ||
        !port_fields_append(payload, queue->request_bytes, &used, TOOL_FIELD_TOOL, tool,
                            (uint32_t)strlen(tool)) ||
        !port_fields_append(payload, queue->request_bytes, &used, TOOL_FIELD_ARGUMENTS, arguments,
                            (uint32_t)strlen(arguments)))
        return -1;
    return finish(queue, TOOL_CALL, 0, payload, used, text, length);
}
