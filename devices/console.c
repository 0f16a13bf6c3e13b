// SPDX-License-Identifier: Apache-2.0
// The console backend: bytes between a port and two rings that the supervisor serves.
//
// The VMM holds no terminal: the supervisor writes the bytes, and neutralises control sequences
// where a person would see them.
#include "console.h"

#include <unistd.h>

static const struct port_operation console_operations[] = {
    {CONSOLE_WRITE, CONSOLE_MAX_REQUEST, 0, "write"},
    {CONSOLE_READ, 0, CONSOLE_MAX_REPLY, "read"},
};

static bool try_write(struct console *console, struct port_request *request)
{
    if (console->output_blocked || shared_ring_space(&console->output) < request->length) {
        if (!console->output_blocked)
            console->needed = request->length; // the oldest one
        console->output_blocked = true;
        return false;
    }
    shared_ring_append(&console->output, request->payload, request->length);
    console->produced = true;
    return true;
}

static bool try_read(struct console *console, struct port_request *request)
{
    // Order matters: a producer sets `closed` after its last bytes.
    bool closed = atomic_load_explicit(&console->input.header->closed, memory_order_acquire);
    uint64_t available = shared_ring_available(&console->input);
    if (available == UINT64_MAX) {
        request->status = PORT_STATUS_BROKEN;
        return true;
    }
    if (!available) {
        // Standard input is read only on demand: a model that reads nothing takes nothing.
        if (!closed &&
            !atomic_load_explicit(&console->input.header->consumer_waiting, memory_order_relaxed)) {
            console->consumed = true; // wakes the supervisor in flush()
            if (shared_ring_wait_data(&console->input))
                return try_read(console, request);
        }
        return closed; // a reply without bytes is the end of the input
    }
    uint32_t wanted =
        request->argument < request->reply_capacity ? request->argument : request->reply_capacity;
    if (available < wanted)
        wanted = (uint32_t)available;
    shared_ring_peek(&console->input, 0, request->reply, wanted);
    // Release at once, wake in flush().
    if (shared_ring_consume(&console->input, wanted))
        console->consumed = true;
    request->reply_length = wanted;
    return true;
}

static enum port_progress console_resume(void *state, struct port_request *request)
{
    struct console *console = state;
    if (request->operation == CONSOLE_READ) {
        // Resumed in arrival order: the first that waits becomes the oldest, and only it reads.
        if (!console->oldest_read)
            console->oldest_read = request;
        if (console->oldest_read != request || !try_read(console, request))
            return PORT_PENDING;
        console->oldest_read = NULL;
        console->pending_reads--;
        return PORT_DONE;
    }
    if (!try_write(console, request))
        return PORT_PENDING;
    console->pending_writes--;
    return PORT_DONE;
}

static enum port_progress console_submit(void *state, struct port_request *request)
{
    struct console *console = state;
    switch (request->operation) {
    case CONSOLE_WRITE:
        if (!console->pending_writes && try_write(console, request))
            return PORT_DONE;
        console->pending_writes++;
        return PORT_PENDING;
    case CONSOLE_READ:
        if (!request->argument || !request->reply_capacity) {
            request->status = PORT_STATUS_INVALID;
            return PORT_DONE;
        }
        if (!console->pending_reads && try_read(console, request))
            return PORT_DONE;
        if (!console->pending_reads++)
            console->oldest_read = request;
        return PORT_PENDING;
    default:
        // The fabric passes only operations of the table above.
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
}

static void wake_supervisor(const struct console *console)
{
    uint64_t one = 1;
    ssize_t ignored = write(console->wake_fd, &one, sizeof(one));
    (void)ignored;
}

static void console_flush(void *state)
{
    struct console *console = state;
    if (console->produced) {
        shared_ring_show(&console->output);
        console->unannounced = true;
    }
    // The supervisor waits for room or for the model to ask: it is asleep.
    if (console->consumed)
        wake_supervisor(console);
    console->produced = console->consumed = console->output_blocked = false;
}

static void console_notify(void *state)
{
    struct console *console = state;
    if (console->unannounced && shared_ring_consumer_waits(&console->output))
        wake_supervisor(console);
    console->unannounced = false;
}

// The flag is a question too: the supervisor reads standard input only while it is set. If it was
// not set any more, the supervisor may be asleep without watching its input. Returns true if bytes
// are there.
static bool ask_for_input(struct console *console)
{
    _Atomic uint32_t *asked = &console->input.header->consumer_waiting;
    bool was_set = atomic_exchange(asked, 1);
    if (shared_ring_available(&console->input)) {
        atomic_store_explicit(asked, 0, memory_order_relaxed);
        return true;
    }
    if (!was_set)
        wake_supervisor(console);
    return false;
}

static bool console_prepare_sleep(void *state, uint64_t *wake_ns)
{
    struct console *console = state;
    bool ready = false;
    (void)wake_ns;
    // Only for reads that wait: input that nobody asked for stays with whoever has it.
    if (console->pending_reads)
        ready = ask_for_input(console) ||
                atomic_load_explicit(&console->input.header->closed, memory_order_acquire);
    if (console->pending_writes && shared_ring_wait_space(&console->output, console->needed))
        ready = true;
    return ready;
}

static void console_forget(void *state)
{
    struct console *console = state;
    console->pending_writes = console->pending_reads = 0;
    console->oldest_read = NULL;
}

const struct port_backend console_backend = {
    .kind = PORT_KIND_CONSOLE,
    .name = "console",
    .operations = console_operations,
    .operation_count = sizeof(console_operations) / sizeof(console_operations[0]),
    .submit = console_submit,
    .resume = console_resume,
    .flush = console_flush,
    .notify = console_notify,
    .prepare_sleep = console_prepare_sleep,
    .forget = console_forget,
};
