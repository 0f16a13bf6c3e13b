// SPDX-License-Identifier: Apache-2.0
// One request at a time: calls of a port, and console and messages on top of them.
#include "queue_client.h"

#include <string.h>

const struct port_table_entry *cell_find_port(const char *name)
{
    const struct cell_boot_info *info = cell_boot();
    const struct port_table_entry *table = (const struct port_table_entry *)(info + 1);
    for (unsigned i = 0; i < info->port_count; i++) {
        if (!strcmp(table[i].name, name))
            return &table[i];
    }
    return NULL;
}

int cell_port_open(struct cell_port *port, const char *name)
{
    const struct port_table_entry *entry = cell_find_port(name);
    if (!entry)
        return -1;
    return cell_queue_open(&port->queue, name, 0, entry->max_request_bytes, entry->max_reply_bytes,
                           1);
}

int cell_port_call(struct cell_port *port, uint32_t operation, uint32_t argument,
                   const void *payload, size_t length, void *reply, size_t reply_size,
                   size_t *reply_length)
{
    struct cell_queue *queue = &port->queue;
    struct cell_reply answer;
    if (reply_size > queue->reply_bytes)
        return -1;
    queue_attach(queue); // others may be bound to the same port
    if (queue_send(queue, operation, argument, payload, length, 0, reply_size) < 0)
        return -1;
    while (!cell_queue_poll(queue, &answer))
        cell_queue_wait(queue);
    size_t got = answer.length < reply_size ? answer.length : reply_size;
    if (got)
        memcpy(reply, answer.payload, got);
    if (reply_length)
        *reply_length = got;
    return (int)answer.status;
}

int cell_message_send(struct cell_port *port, const void *data, size_t length)
{
    return cell_port_call(port, MESSAGE_SEND, 0, data, length, NULL, 0, NULL);
}

int cell_message_receive(struct cell_port *port, void *data, size_t size, size_t *length)
{
    if (size > port->queue.reply_bytes)
        size = port->queue.reply_bytes;
    return cell_port_call(port, MESSAGE_RECEIVE, 0, NULL, 0, data, size, length);
}

static struct cell_port console;

static struct cell_port *open_console(void)
{
    if (!console.queue.entry && cell_port_open(&console, "console") < 0)
        return NULL;
    return &console;
}

int cell_console_write(const void *data, size_t length)
{
    struct cell_port *port = open_console();
    const char *at = data;
    if (!port)
        return -1;
    while (length) {
        size_t part = length < port->queue.request_bytes ? length : port->queue.request_bytes;
        int status = cell_port_call(port, CONSOLE_WRITE, 0, at, part, NULL, 0, NULL);
        if (status)
            return status;
        at += part;
        length -= part;
    }
    return 0;
}

long cell_console_read(void *data, size_t size)
{
    struct cell_port *port = open_console();
    size_t length = 0;
    if (!port)
        return -1;
    if (size > port->queue.reply_bytes)
        size = port->queue.reply_bytes;
    int status = cell_port_call(port, CONSOLE_READ, (uint32_t)size, NULL, 0, data, size, &length);
    return status ? -1 : (long)length;
}

void cell_print(const char *text)
{
    cell_console_write(text, strlen(text));
    cell_console_write("\n", 1);
}
