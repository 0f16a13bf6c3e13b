// SPDX-License-Identifier: Apache-2.0
// The message and log backends: whole messages between a port and two rings that the supervisor
// serves.
//
// A message for the model waits in the ring until the model posts a buffer for it: nothing is
// written to a guest that did not ask, and the supervisor is held back when the ring is full.
#include "message.h"

#include <unistd.h>

static const struct port_operation message_operations[] = {
    {MESSAGE_SEND, PORT_MAX_BYTES, 0, "send"},
    {MESSAGE_RECEIVE, 0, PORT_MAX_BYTES, "receive"},
};

static const struct port_operation log_operations[] = {
    {LOG_WRITE, LOG_MAX_BYTES, 0, "write"},
};

static bool try_send(struct message *message, struct port_request *request)
{
    const struct message_frame frame = {.length = request->length, .severity = request->tag};
    if (message->output_blocked ||
        shared_ring_space(&message->output) < sizeof(frame) + request->length) {
        if (!message->output_blocked)
            message->needed = sizeof(frame) + request->length; // the oldest one
        message->output_blocked = true;
        return false;
    }
    shared_ring_append(&message->output, &frame, sizeof(frame));
    shared_ring_append(&message->output, request->payload, request->length);
    message->produced = true;
    return true;
}

static bool try_receive(struct message *message, struct port_request *request)
{
    struct message_frame frame;
    uint64_t available = shared_ring_available(&message->input);
    if (!available)
        return false;
    if (available == UINT64_MAX || available < sizeof(frame)) {
        request->status = PORT_STATUS_BROKEN;
        return true;
    }
    shared_ring_peek(&message->input, 0, &frame, sizeof(frame));
    if (frame.length > available - sizeof(frame)) {
        request->status = PORT_STATUS_BROKEN;
        return true;
    }
    if (frame.length > request->reply_capacity) {
        request->status = PORT_STATUS_TOO_LARGE; // the message stays for a larger buffer
        return true;
    }
    shared_ring_peek(&message->input, sizeof(frame), request->reply, frame.length);
    request->reply_length = frame.length;
    if (shared_ring_consume(&message->input, sizeof(frame) + frame.length))
        message->consumed = true;
    return true;
}

static enum port_progress message_resume(void *state, struct port_request *request)
{
    struct message *message = state;
    if (request->operation == MESSAGE_RECEIVE) {
        // Resumed in arrival order: the first that waits becomes the oldest, and only it receives.
        if (!message->oldest_receive)
            message->oldest_receive = request;
        if (message->oldest_receive != request || !try_receive(message, request))
            return PORT_PENDING;
        message->oldest_receive = NULL;
        message->pending_receives--;
        return PORT_DONE;
    }
    if (!try_send(message, request))
        return PORT_PENDING;
    message->pending_sends--;
    return PORT_DONE;
}

static enum port_progress submit_send(struct message *message, struct port_request *request)
{
    if (!message->pending_sends && try_send(message, request))
        return PORT_DONE;
    message->pending_sends++;
    return PORT_PENDING;
}

static enum port_progress message_submit(void *state, struct port_request *request)
{
    struct message *message = state;
    switch (request->operation) {
    case MESSAGE_SEND:
        request->tag = 0; // no severity
        return submit_send(message, request);
    case MESSAGE_RECEIVE:
        if (!message->pending_receives && try_receive(message, request))
            return PORT_DONE;
        if (!message->pending_receives++)
            message->oldest_receive = request;
        return PORT_PENDING;
    default:
        // The fabric passes only operations of the table above.
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
}

// Operation write. The supervisor checks and escapes the text: nobody here looks at it.
static enum port_progress log_submit(void *state, struct port_request *request)
{
    struct message *message = state;
    if (request->operation != LOG_WRITE || request->argument > LOG_SEVERITY_DEBUG) {
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
    if (atomic_load_explicit(&message->input.header->closed, memory_order_relaxed)) {
        request->status = PORT_STATUS_EXHAUSTED; // the file is full
        return PORT_DONE;
    }
    request->tag = request->argument;
    return submit_send(message, request);
}

static void wake_supervisor(const struct message *message)
{
    uint64_t one = 1;
    ssize_t ignored = write(message->wake_fd, &one, sizeof(one));
    (void)ignored;
}

static void message_flush(void *state)
{
    struct message *message = state;
    if (message->produced) {
        shared_ring_show(&message->output);
        message->unannounced = true;
    }
    // The supervisor waits for room: it is asleep, and this happens once each time.
    if (message->consumed)
        wake_supervisor(message);
    message->produced = message->consumed = message->output_blocked = false;
}

static void message_notify(void *state)
{
    struct message *message = state;
    if (message->unannounced && shared_ring_consumer_waits(&message->output))
        wake_supervisor(message);
    message->unannounced = false;
}

static bool message_prepare_sleep(void *state, uint64_t *wake_ns)
{
    struct message *message = state;
    bool ready = false;
    (void)wake_ns;
    if (message->pending_receives)
        ready = shared_ring_wait_data(&message->input);
    if (message->pending_sends && shared_ring_wait_space(&message->output, message->needed))
        ready = true;
    return ready;
}

static void message_forget(void *state)
{
    struct message *message = state;
    message->pending_sends = message->pending_receives = 0;
    message->oldest_receive = NULL;
}

const struct port_backend message_backend = {
    .kind = PORT_KIND_MESSAGE,
    .name = "message",
    .operations = message_operations,
    .operation_count = sizeof(message_operations) / sizeof(message_operations[0]),
    .submit = message_submit,
    .resume = message_resume,
    .flush = message_flush,
    .notify = message_notify,
    .prepare_sleep = message_prepare_sleep,
    .forget = message_forget,
};

_Static_assert((int)LOG_WRITE == (int)MESSAGE_SEND, "resumed as a message is");

const struct port_backend log_backend = {
    .kind = PORT_KIND_LOG,
    .name = "log",
    .operations = log_operations,
    .operation_count = sizeof(log_operations) / sizeof(log_operations[0]),
    .submit = log_submit,
    .resume = message_resume,
    .flush = message_flush,
    .notify = message_notify,
    .prepare_sleep = message_prepare_sleep,
    .forget = message_forget,
};
