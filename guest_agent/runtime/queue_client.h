// SPDX-License-Identifier: Apache-2.0
// What the synchronous calls of port_client.c need of a queue beyond cell.h.
#ifndef RUNTIME_QUEUE_CLIENT_H
#define RUNTIME_QUEUE_CLIENT_H

#include <guillotine/cell.h>

// Goes on where the queue's rings are: whoever used the queue before has no request outstanding.
void queue_attach(struct cell_queue *queue);

// cell_queue_send with a reply of at most `reply_bytes` <= queue->reply_bytes.
int queue_send(struct cell_queue *queue, uint32_t operation, uint32_t argument, const void *payload,
               size_t length, uint64_t cookie, size_t reply_bytes);

#endif
