// SPDX-License-Identifier: Apache-2.0
// The cell SDK: what a program that runs in a Guillotine cell can do.
//
// A cell has no kernel, no clock and no device: only memory, vCPUs and the ports it was granted.
// Programs define `int main(int argc, char **argv)`; it runs on vCPU 0 and its result is the exit
// status. Link with guillotine-cell.pc (docs/first-cell.md). From musl's libc.a everything works
// that makes no system call and uses no locale: strings, mathematics, snprintf, qsort, strtod.
#ifndef GUILLOTINE_CELL_H
#define GUILLOTINE_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cell_abi.h"
#include "port_abi.h"

// The boot info page: memory map, instruction sets, weights, arguments.
const struct cell_boot_info *cell_boot(void);

// Ends the cell with a status (0 to 63 reach the operator unchanged).
_Noreturn void cell_exit(uint32_t status);

// Takes zeroed memory from the heap; it is never given back. `alignment` is a power of two. NULL if
// the heap is used up. Call from vCPU 0 only.
void *cell_allocate(size_t size, size_t alignment);

// Bytes of heap that cell_allocate can still give.
size_t cell_heap_left(void);

// Runs `function(argument, worker)` on every vCPU, workers numbered from 0, and returns when all
// are done. Call from vCPU 0 only. Idle vCPUs spin for a while, then park.
void cell_run(void (*function)(void *argument, unsigned worker), void *argument);

// A program that wants vCPUs 1 and up for itself defines this; the default serves cell_run.
void cell_vcpu_main(unsigned vcpu);

// This vCPU's event count as last published; the fabric raises it on completions, other vCPUs with
// cell_unpark.
uint32_t cell_event_count(unsigned vcpu);

// Sleeps while the event count is `seen`. May return early: look again at what you wait for. The
// order is: read the count, look for work, park with that count.
void cell_park(uint32_t seen);

// Raises the event count of a vCPU and wakes it.
void cell_unpark(unsigned vcpu);

// The port that was granted under this name, or NULL.
const struct port_table_entry *cell_find_port(const char *name);

// A client of one queue of a port, with many requests outstanding; replies come in any order. One
// client for each queue, on one vCPU at a time. Only the first four fields are for others to read.
struct cell_queue {
    const struct port_table_entry *entry;
    uint32_t depth;         // most requests outstanding
    uint32_t request_bytes; // largest payload of a request
    uint32_t reply_bytes;   // largest payload of a reply
    const struct port_queue_layout *layout;
    uint64_t slots; // memory of all requests and replies
    uint32_t slot_bytes;
    uint32_t request_offset; // of the header, from the start of a slot
    uint32_t reply_offset;
    uint16_t index;
    uint16_t next_available; // requests sent
    uint16_t published;      // of them, those that the port was shown
    uint16_t last_used;      // replies taken
    uint16_t used_seen;      // the port's count of replies when last looked
    uint16_t next_slot;      // of the next request
    uint16_t free_count;
    uint16_t free_slots[VIRTQ_MAX_SIZE / 2];
};

// A reply. `payload` stays valid until the next request is sent.
struct cell_reply {
    uint64_t cookie; // of its request
    uint32_t status; // enum port_status; PORT_STATUS_CLOSED also if the port dropped the request
    uint32_t length; // payload bytes
    const void *payload;
};

// Binds to queue `index` of a granted port. Each queue has an equal share of the port's memory;
// small `request_bytes` and `reply_bytes` leave room for more requests. At most `depth` are
// outstanding (0: as many as fit); queue->depth says how many it became. More than
// entry->in_flight are no use for rates, but hide gaps between sending and taking. Returns 0, or
// -1 if there is no such port or queue, if it takes no payloads of these sizes, or if there is no
// room for one. Whoever used the queue before must have no request outstanding.
int cell_queue_open(struct cell_queue *queue, const char *name, unsigned index,
                    size_t request_bytes, size_t reply_bytes, unsigned depth);

// Adds a request; `payload` is copied. Returns 0, or -1 if `depth` are outstanding or the payload
// is too long. The port is shown it with the next cell_queue_flush, cell_queue_wait, or
// cell_queue_poll that has to look at the port: requests that are sent together are shown together.
int cell_queue_send(struct cell_queue *queue, uint32_t operation, uint32_t argument,
                    const void *payload, size_t length, uint64_t cookie);

// The memory where the next request's payload will lie, or NULL if `depth` are outstanding. Fill up
// to queue->request_bytes of it and give it to cell_queue_send as `payload`: nothing is copied.
void *cell_queue_buffer(struct cell_queue *queue);

// Shows the port all requests sent so far, and rings its doorbell if it sleeps.
void cell_queue_flush(struct cell_queue *queue);

// Takes the next reply. Returns 1, or 0 if none is there yet.
int cell_queue_poll(struct cell_queue *queue, struct cell_reply *reply);

// Returns when a reply is there, or at once if nothing is outstanding: spins for a while, then
// parks. Call it on the vCPU whose events the queue raises, entry->queues[index].vcpu; others poll.
void cell_queue_wait(struct cell_queue *queue);

// A client of a port that sends one request at a time through its first queue. Call from vCPU 0
// only. Several may be bound to one port, if no cell_queue uses its first queue.
struct cell_port {
    struct cell_queue queue;
};

// Binds to a granted port. Returns 0, or -1 if there is none of that name or its queue has fewer
// than 2 entries.
int cell_port_open(struct cell_port *port, const char *name);

// Sends one request and waits for its reply. `payload` of at most entry->max_request_bytes is
// copied out, up to `reply_size` bytes of the reply are copied in and *reply_length set. Returns
// the status (enum port_status; PORT_STATUS_CLOSED also if the port dropped the request), or -1 if
// the payload or `reply_size` exceeds what the port takes.
int cell_port_call(struct cell_port *port, uint32_t operation, uint32_t argument,
                   const void *payload, size_t length, void *reply, size_t reply_size,
                   size_t *reply_length);

// Sends one message to the operator through a message port. Returns a port status, or -1 if it is
// too long.
int cell_message_send(struct cell_port *port, const void *data, size_t length);

// Waits for the operator's next message. Returns a port status; PORT_STATUS_TOO_LARGE if the
// message does not fit into `size` bytes: it stays for the next call.
int cell_message_receive(struct cell_port *port, void *data, size_t size, size_t *length);

// Writes all of `data` to the console port. Returns 0 or a port status; -1 without a console.
int cell_console_write(const void *data, size_t length);

// Reads 1 to `size` bytes from the console. Returns the number, 0 at the end of the input, -1 on
// error.
long cell_console_read(void *data, size_t size);

// Writes a terminated string and a newline to the console.
void cell_print(const char *text);

#endif
