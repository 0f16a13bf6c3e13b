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

// A client of one port's first queue. One vCPU at a time.
struct cell_port {
    const struct port_table_entry *entry;
    uint16_t next_available;
    uint16_t last_used;
};

// Binds to a granted port. Returns 0, or -1 if there is none of that name.
int cell_port_open(struct cell_port *port, const char *name);

// Sends one request and waits for its reply. `payload` of at most entry->max_request_bytes is
// copied out, up to `reply_size` bytes of the reply are copied in and *reply_length set. Returns
// the status (enum port_status), or -1 if the payload or `reply_size` exceeds what the port takes,
// or its queue has fewer than 2 entries.
int cell_port_call(struct cell_port *port, uint32_t operation, uint32_t argument,
                   const void *payload, size_t length, void *reply, size_t reply_size,
                   size_t *reply_length);

// Writes all of `data` to the console port. Returns 0 or a port status; -1 without a console.
int cell_console_write(const void *data, size_t length);

// Reads 1 to `size` bytes from the console. Returns the number, 0 at the end of the input, -1 on
// error.
long cell_console_read(void *data, size_t size);

// Writes a terminated string and a newline to the console.
void cell_print(const char *text);

#endif
