// SPDX-License-Identifier: Apache-2.0
// The log backend: messages with a severity, held back or refused, never mixed up.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "message.h"
#include "support.h"

#define SIZE 65536u

static struct message state;
static struct shared_ring supervisor_reads;
static struct shared_ring supervisor_says;
static uint8_t text[LOG_MAX_BYTES];

static void setup(void)
{
    struct error err;
    int out = shared_ring_create("out", SIZE, &err), in = shared_ring_create("in", SIZE, &err);
    state = (struct message){.wake_fd = eventfd(0, EFD_NONBLOCK)};
    cr_assert_eq(shared_ring_map(&state.output, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&supervisor_reads, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&state.input, in, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&supervisor_says, in, SIZE, &err), 0);
    close(out);
    close(in);
    memset(text, 'x', sizeof(text));
}

TestSuite(log_port, .init = setup);

static struct port_request writing(uint32_t severity, uint32_t length)
{
    return (struct port_request){
        .operation = LOG_WRITE, .argument = severity, .payload = text, .length = length};
}

// Takes the next message; returns its severity, or -1 if there is none.
static int take(uint32_t length)
{
    struct message_frame frame;
    uint8_t got[LOG_MAX_BYTES];
    if (!shared_ring_available(&supervisor_reads))
        return -1;
    shared_ring_peek(&supervisor_reads, 0, &frame, sizeof(frame));
    cr_assert_eq(frame.length, length);
    shared_ring_peek(&supervisor_reads, sizeof(frame), got, length);
    cr_assert_eq(memcmp(got, text, length), 0);
    shared_ring_consume(&supervisor_reads, sizeof(frame) + length);
    return (int)frame.severity;
}

Test(log_port, offers_what_the_abi_says)
{
    cr_assert_eq(log_backend.operation_count, 1u);
    cr_expect_eq(log_backend.kind, PORT_KIND_LOG);
    cr_expect_eq(log_backend.operations[0].number, (uint32_t)LOG_WRITE);
    cr_expect_eq(log_backend.operations[0].max_request_bytes, LOG_MAX_BYTES);
    cr_expect_eq(log_backend.operations[0].max_reply_bytes, 0u);
}

Test(log_port, severities)
{
    for (uint32_t severity = 0; severity <= LOG_SEVERITY_DEBUG; severity++) {
        struct port_request request = writing(severity, severity * 500);
        cr_expect_eq(log_backend.submit(&state, &request), PORT_DONE);
        cr_expect_eq(request.status, 0u);
        log_backend.flush(&state);
        cr_expect_eq(take(severity * 500), (int)severity);
    }
    static const uint32_t wrong[] = {8, 9, 255, 256, UINT32_MAX};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct port_request request = writing(wrong[i], 1);
        cr_expect_eq(log_backend.submit(&state, &request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    }
    // A log has no other direction.
    struct port_request request = {
        .operation = MESSAGE_RECEIVE, .reply = text, .reply_capacity = sizeof(text)};
    cr_expect_eq(log_backend.submit(&state, &request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    log_backend.flush(&state);
    cr_expect_eq(take(0), -1);
}

// A message that waits for room keeps its severity and its place.
Test(log_port, waits_for_room)
{
    static struct port_request requests[32];
    unsigned sent = 0, done = 0;
    for (unsigned i = 0; i < COUNT(requests); i++) {
        requests[i] = writing(i % 8, LOG_MAX_BYTES);
        done += log_backend.submit(&state, &requests[i]) == PORT_DONE;
    }
    cr_assert_gt(done, 8u);
    cr_assert_lt(done, COUNT(requests));
    log_backend.flush(&state);
    for (unsigned taken = 0; taken < COUNT(requests); taken++) {
        cr_assert_eq(take(LOG_MAX_BYTES), (int)(taken % 8), "message %u", taken);
        for (sent = done; sent < COUNT(requests); sent++) {
            if (log_backend.resume(&state, &requests[sent]) != PORT_DONE)
                break;
            done++;
        }
        log_backend.flush(&state);
    }
    cr_expect_eq(take(0), -1);
}

// The supervisor says that the file is full.
Test(log_port, full)
{
    struct port_request request = writing(1, 1);
    cr_expect_eq(log_backend.submit(&state, &request), PORT_DONE);
    atomic_store(&supervisor_says.header->closed, 1);
    request = writing(1, 1);
    cr_expect_eq(log_backend.submit(&state, &request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_EXHAUSTED);
    log_backend.flush(&state);
    cr_expect_eq(take(1), 1);
    cr_expect_eq(take(1), -1);
}

// A message port's messages have no severity, whatever the argument.
Test(log_port, messages_have_none)
{
    struct port_request request = {
        .operation = MESSAGE_SEND, .argument = 5, .payload = text, .length = 3};
    cr_expect_eq(message_backend.submit(&state, &request), PORT_DONE);
    message_backend.flush(&state);
    cr_expect_eq(take(3), 0);
}
