// SPDX-License-Identifier: Apache-2.0
// The loopback backend: answers itself.
#include "loopback.h"

#include <string.h>

static const struct port_operation loopback_operations[] = {
    {LOOPBACK_ECHO, PORT_MAX_BYTES, PORT_MAX_BYTES, "echo"},
    {LOOPBACK_DISCARD, PORT_MAX_BYTES, 0, "discard"},
    {LOOPBACK_GENERATE, 0, PORT_MAX_BYTES, "generate"},
};

static void fill(uint8_t *target, uint32_t length)
{
    // The pattern repeats: written once, it is copied from itself.
    uint32_t done = length < 251 ? length : 251;
    for (uint32_t i = 0; i < done; i++)
        target[i] = (uint8_t)i;
    while (done < length) {
        uint32_t part = done < length - done ? done : length - done;
        memcpy(target + done, target, part);
        done += part;
    }
}

static enum port_progress loopback_submit(void *state, struct port_request *request)
{
    (void)state;
    switch (request->operation) {
    case LOOPBACK_ECHO:
        request->reply_length =
            request->length < request->reply_capacity ? request->length : request->reply_capacity;
        memcpy(request->reply, request->payload, request->reply_length);
        return PORT_DONE;
    case LOOPBACK_DISCARD:
        return PORT_DONE;
    case LOOPBACK_GENERATE:
        request->reply_length = request->argument < request->reply_capacity
                                    ? request->argument
                                    : request->reply_capacity;
        fill(request->reply, request->reply_length);
        return PORT_DONE;
    default:
        // The fabric passes only operations of the table above.
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
}

static enum port_progress loopback_resume(void *state, struct port_request *request)
{
    return loopback_submit(state, request); // never pending
}

static void loopback_nothing(void *state)
{
    (void)state;
}

static bool loopback_prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

const struct port_backend loopback_backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "loopback",
    .operations = loopback_operations,
    .operation_count = sizeof(loopback_operations) / sizeof(loopback_operations[0]),
    .submit = loopback_submit,
    .resume = loopback_resume,
    .flush = loopback_nothing,
    .prepare_sleep = loopback_prepare_sleep,
    .forget = loopback_nothing,
};
