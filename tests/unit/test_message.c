// SPDX-License-Identifier: Apache-2.0
// The message backend: whole messages, in order, held back by either side and never lost.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "message.h"
#include "support.h"

#define SIZE    65536u
#define LARGEST 16384u // a ring holds four of its port's largest messages

static struct message message;
static struct shared_ring operator_reads;  // what the model sends
static struct shared_ring operator_writes; // what the model receives

static void setup(void)
{
    struct error err;
    int out = shared_ring_create("out", SIZE, &err), in = shared_ring_create("in", SIZE, &err);
    message = (struct message){.wake_fd = eventfd(0, EFD_NONBLOCK)};
    cr_assert_eq(shared_ring_map(&message.output, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&operator_reads, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&message.input, in, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&operator_writes, in, SIZE, &err), 0);
    close(out);
    close(in);
}

TestSuite(message, .init = setup);

static unsigned wake_ups(void)
{
    uint64_t value = 0;
    return read(message.wake_fd, &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

static struct port_request sending(const void *data, uint32_t length)
{
    return (struct port_request){
        .operation = MESSAGE_SEND, .payload = (const uint8_t *)data, .length = length};
}

static struct port_request receiving(uint8_t *target, uint32_t capacity)
{
    return (struct port_request){
        .operation = MESSAGE_RECEIVE, .reply = target, .reply_capacity = capacity};
}

static enum port_progress submit(struct port_request *request)
{
    return message_backend.submit(&message, request);
}

static enum port_progress resume(struct port_request *request)
{
    return message_backend.resume(&message, request);
}

static void flush(void)
{
    message_backend.flush(&message);
}

static bool prepare_sleep(void)
{
    uint64_t wake_ns = UINT64_MAX;
    bool ready = message_backend.prepare_sleep(&message, &wake_ns);
    cr_expect_eq(wake_ns, UINT64_MAX);
    return ready;
}

// The next message of the model, or -1.
static int64_t take(uint8_t *target)
{
    struct message_frame frame;
    uint64_t available = shared_ring_available(&operator_reads);
    if (!available)
        return -1;
    cr_assert_geq(available, sizeof(frame));
    shared_ring_peek(&operator_reads, 0, &frame, sizeof(frame));
    cr_assert_eq(frame.severity, 0u);
    cr_assert_geq(available, sizeof(frame) + frame.length, "half a message is visible");
    shared_ring_peek(&operator_reads, sizeof(frame), target, frame.length);
    shared_ring_consume(&operator_reads, sizeof(frame) + frame.length);
    return frame.length;
}

static bool give(const void *data, uint32_t length)
{
    const struct message_frame frame = {.length = length};
    if (shared_ring_space(&operator_writes) < sizeof(frame) + length)
        return false;
    shared_ring_append(&operator_writes, &frame, sizeof(frame));
    shared_ring_append(&operator_writes, data, length);
    shared_ring_publish(&operator_writes);
    return true;
}

Test(message, offers_what_the_abi_says)
{
    cr_assert_eq(message_backend.operation_count, 2u);
    cr_expect_eq(message_backend.kind, PORT_KIND_MESSAGE);
    cr_expect_eq(message_backend.operations[0].number, (uint32_t)MESSAGE_SEND);
    cr_expect_eq(message_backend.operations[0].max_request_bytes, PORT_MAX_BYTES);
    cr_expect_eq(message_backend.operations[0].max_reply_bytes, 0u);
    cr_expect_eq(message_backend.operations[1].number, (uint32_t)MESSAGE_RECEIVE);
    cr_expect_eq(message_backend.operations[1].max_request_bytes, 0u);
    cr_expect_eq(message_backend.operations[1].max_reply_bytes, PORT_MAX_BYTES);
}

Test(message, unknown_operation)
{
    struct port_request request = {.operation = 3};
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
}

Test(message, sends_whole_messages)
{
    uint8_t got[64];
    struct port_request one = sending("hello", 5), empty = sending(NULL, 0), two = sending("x", 1);
    cr_expect_eq(submit(&one), PORT_DONE);
    cr_expect_eq(submit(&empty), PORT_DONE);
    cr_expect_eq(submit(&two), PORT_DONE);
    cr_expect_eq(take(got), -1, "visible before the flush");
    flush();
    cr_assert_eq(take(got), 5);
    cr_expect_eq(memcmp(got, "hello", 5), 0);
    cr_expect_eq(take(got), 0, "an empty message is one");
    cr_expect_eq(take(got), 1);
    cr_expect_eq(take(got), -1);
}

// An operator who waits is woken by notify(), once.
Test(message, wakes_who_waits)
{
    uint8_t got[64];
    struct port_request request = sending("hello", 5);
    submit(&request);
    flush();
    message_backend.notify(&message);
    cr_expect_eq(wake_ups(), 0u);
    take(got);
    cr_expect_not(shared_ring_wait_data(&operator_reads));
    for (int i = 0; i < 3; i++) {
        request = sending("hello", 5);
        submit(&request);
        flush();
        cr_expect_eq(wake_ups(), 0u);
    }
    message_backend.notify(&message);
    cr_expect_eq(wake_ups(), 1u);
    message_backend.notify(&message);
    cr_expect_eq(wake_ups(), 0u);
}

// A full ring holds messages back; a short one does not overtake a long one, in whatever batch.
Test(message, sends_keep_their_order)
{
    static uint8_t large[LARGEST], got[LARGEST];
    struct port_request filler[3], waits = sending(large, LARGEST), small = sending("s", 1);
    for (unsigned i = 0; i < 3; i++) {
        filler[i] = sending(large, LARGEST);
        cr_assert_eq(submit(&filler[i]), PORT_DONE);
    }
    cr_expect_eq(submit(&waits), PORT_PENDING);
    cr_expect_eq(submit(&small), PORT_PENDING);
    flush();
    struct port_request later = sending("t", 1);
    cr_expect_eq(resume(&waits), PORT_PENDING);
    cr_expect_eq(resume(&small), PORT_PENDING, "overtook the large one");
    cr_expect_eq(submit(&later), PORT_PENDING);
    flush();
    cr_expect_eq(take(got), LARGEST);
    cr_expect_eq(resume(&waits), PORT_DONE);
    cr_expect_eq(resume(&small), PORT_DONE);
    cr_expect_eq(resume(&later), PORT_DONE);
    cr_expect_eq(message.pending_sends, 0u);
    flush();
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(take(got), LARGEST);
    cr_assert_eq(take(got), 1);
    cr_expect_eq(got[0], 's');
    cr_assert_eq(take(got), 1);
    cr_expect_eq(got[0], 't');
}

// Room appeared between the last try and the sleep: the send is not slept over.
Test(message, send_is_not_slept_over)
{
    static uint8_t large[LARGEST], got[LARGEST];
    for (uint32_t length = 1; length <= LARGEST;
         length = length * 4 < LARGEST ? length * 4 : length + LARGEST / 3) {
        uint32_t posted = 0;
        struct port_request waits = sending(large, length);
        for (;;) {
            waits = sending(large, length);
            if (submit(&waits) == PORT_PENDING)
                break;
            posted++;
        }
        flush();
        cr_assert_gt(posted, 2u);
        cr_assert_eq(resume(&waits), PORT_PENDING);
        flush();
        // The operator takes one message, without being asked for a wake-up yet, and leaves.
        cr_assert_eq(take(got), length);
        cr_assert_geq(SIZE - shared_ring_available(&operator_reads),
                      sizeof(struct message_frame) + length);
        cr_expect(prepare_sleep(), "asleep with %u bytes to send and room for them", length);
        cr_assert_eq(resume(&waits), PORT_DONE);
        flush();
        while (take(got) >= 0) {
        }
    }
}

// Asleep because there is no room: the operator who makes some wakes.
Test(message, sleeps_until_there_is_room)
{
    static uint8_t large[LARGEST];
    struct port_request request[4];
    for (unsigned i = 0; i < 4; i++) {
        request[i] = sending(large, LARGEST);
        submit(&request[i]);
    }
    flush();
    cr_expect_not(prepare_sleep());
    cr_expect(shared_ring_consume(&operator_reads, sizeof(struct message_frame) + LARGEST),
              "nobody is woken");
    cr_expect_eq(resume(&request[3]), PORT_DONE);
}

// Nothing is pending: neither input nor room is a reason to stay awake.
Test(message, sleeps_when_nothing_waits)
{
    give("unread", 6);
    cr_expect_not(prepare_sleep());
    cr_expect_eq(operator_writes.header->consumer_waiting, 0u);
}

// A message for the model waits until it posts a buffer, and nothing is written before.
Test(message, receives_on_demand)
{
    uint8_t got[64];
    struct port_request request = receiving(got, sizeof(got));
    memset(got, 0xee, sizeof(got));
    cr_expect_eq(submit(&request), PORT_PENDING);
    cr_expect_not(prepare_sleep());
    cr_expect(give("hello", 5));
    cr_expect(prepare_sleep(), "a message is there");
    cr_expect_eq(resume(&request), PORT_DONE);
    cr_expect_eq(request.status, 0u);
    cr_assert_eq(request.reply_length, 5u);
    cr_expect_eq(memcmp(got, "hello", 5), 0);
    for (unsigned i = 5; i < sizeof(got); i++)
        cr_expect_eq(got[i], 0xee);
    // An empty message is one too.
    request = receiving(got, sizeof(got));
    cr_expect(give("", 0));
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.reply_length, 0u);
    cr_expect_eq(request.status, 0u);
}

// Too small a buffer: the message stays for a larger one, whole.
Test(message, message_waits_for_a_larger_buffer)
{
    uint8_t got[64];
    cr_expect(give("0123456789", 10));
    for (uint32_t capacity = 0; capacity < 10; capacity++) {
        struct port_request small = receiving(got, capacity);
        cr_expect_eq(submit(&small), PORT_DONE);
        cr_expect_eq(small.status, (uint32_t)PORT_STATUS_TOO_LARGE);
        cr_expect_eq(small.reply_length, 0u);
    }
    struct port_request large = receiving(got, 10);
    cr_expect_eq(submit(&large), PORT_DONE);
    cr_expect_eq(large.reply_length, 10u);
    cr_expect_eq(memcmp(got, "0123456789", 10), 0);
}

// The supervisor waits for room in the ring: told when there is some.
Test(message, wakes_who_waits_for_room)
{
    static uint8_t large[LARGEST];
    for (unsigned i = 0; i < 3; i++)
        cr_assert(give(large, LARGEST));
    cr_assert_not(give(large, LARGEST));
    cr_expect_not(shared_ring_wait_space(&operator_writes, LARGEST + 8));
    struct port_request request = receiving(large, LARGEST);
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(wake_ups(), 0u);
    flush();
    cr_expect_eq(wake_ups(), 1u);
    flush();
    cr_expect_eq(wake_ups(), 0u);
}

// Two receives: the message that came first belongs to the first one.
Test(message, receives_keep_their_order)
{
    uint8_t first[8], second[8];
    struct port_request one = receiving(first, 8), two = receiving(second, 8);
    cr_assert_eq(submit(&one), PORT_PENDING);
    give("1", 1);
    cr_expect_eq(submit(&two), PORT_PENDING, "the second took the first one's message");
    cr_expect_eq(resume(&one), PORT_DONE);
    cr_expect_eq(resume(&two), PORT_PENDING);
    give("2", 1);
    cr_expect_eq(resume(&two), PORT_DONE);
    cr_expect_eq(first[0], '1');
    cr_expect_eq(second[0], '2');
}

// A supervisor that writes nonsense breaks the port, not the VMM.
Test(message, frames_that_lie)
{
    uint8_t got[64];
    static const struct {
        uint32_t length, bytes;
    } cases[] = {{7, 6}, {UINT32_MAX, 6}, {UINT32_MAX - 7, 0}, {1, 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct message_frame frame = {.length = cases[i].length};
        setup();
        shared_ring_append(&operator_writes, &frame, sizeof(frame));
        shared_ring_append(&operator_writes, "abcdef", cases[i].bytes);
        shared_ring_publish(&operator_writes);
        struct port_request request = receiving(got, sizeof(got));
        cr_expect_eq(submit(&request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_BROKEN, "case %zu", i);
        cr_expect_eq(request.reply_length, 0u);
    }
    setup();
    shared_ring_append(&operator_writes, "abc", 3); // not even a frame
    shared_ring_publish(&operator_writes);
    struct port_request request = receiving(got, sizeof(got));
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_BROKEN);
    setup();
    atomic_store(&operator_writes.header->head, 1ull << 40);
    request = receiving(got, sizeof(got));
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_BROKEN);
}

Test(message, operator_that_lies_stops_sends)
{
    atomic_store(&message.output.header->tail, 99999);
    struct port_request request = sending("x", 1);
    cr_expect_eq(submit(&request), PORT_PENDING);
    cr_expect_not(prepare_sleep());
}

Test(message, forgets)
{
    static uint8_t large[LARGEST];
    uint8_t got[8];
    struct port_request lost[5], gone = receiving(got, 8);
    for (unsigned i = 0; i < 5; i++) {
        lost[i] = sending(large, LARGEST);
        submit(&lost[i]);
    }
    submit(&gone);
    flush();
    message_backend.forget(&message);
    memset(lost, 0xff, sizeof(lost));
    memset(&gone, 0xff, sizeof(gone));
    cr_expect_not(prepare_sleep(), "something is still waited for");
    shared_ring_consume(&operator_reads, shared_ring_available(&operator_reads));
    give("abc", 3);
    struct port_request send = sending("kept", 4), receive = receiving(got, 8);
    cr_expect_eq(submit(&send), PORT_DONE);
    cr_expect_eq(submit(&receive), PORT_DONE);
    cr_expect_eq(receive.reply_length, 3u);
    flush();
    cr_expect_eq(take(large), 4);
    cr_expect_eq(take(large), -1, "a message of a request that is gone");
}

// What waits, as port.c keeps it: requests stay where they are, in order of arrival.
#define PLACES 8u

struct line {
    struct port_request requests[PLACES];
    uint8_t buffers[PLACES][LARGEST];
    unsigned order[PLACES];
    unsigned count;
    bool busy[PLACES];
};

static unsigned place(const struct line *line)
{
    unsigned free = 0;
    while (line->busy[free])
        free++;
    return free;
}

static void wait_in(struct line *line, unsigned at)
{
    line->busy[at] = true;
    line->order[line->count++] = at;
}

// Resumes all that wait; the first ones may finish, and only they. Returns how many did.
static unsigned resume_line(struct line *line, void (*finished)(const struct port_request *))
{
    unsigned done = 0;
    for (unsigned i = 0; i < line->count; i++) {
        if (resume(&line->requests[line->order[i]]) != PORT_DONE)
            continue;
        cr_assert_eq(done++, i, "finished out of order");
        finished(&line->requests[line->order[i]]);
        line->busy[line->order[i]] = false;
    }
    line->count -= done;
    memmove(line->order, line->order + done, line->count * sizeof(line->order[0]));
    return done;
}

static uint32_t received;

static void expect_received(const struct port_request *request)
{
    cr_assert_eq(request->status, 0u);
    cr_assert_eq(request->reply_length, received * 131 % LARGEST);
    for (uint32_t k = 0; k < request->reply_length; k++)
        cr_assert_eq(request->reply[k], (uint8_t)received);
    received++;
}

static void expect_sent(const struct port_request *request)
{
    cr_assert_eq(request->status, 0u);
}

// Both directions at random: every message once, whole, in order.
Test(message, streams)
{
    static struct line sends, receives;
    static uint8_t got[LARGEST];
    struct random random = random_start(65);
    uint32_t sent = 0, taken = 0, given = 0;
    for (int round = 0; round < 20000; round++) {
        resume_line(&sends, expect_sent);
        resume_line(&receives, expect_received);
        if (sends.count < PLACES && random_chance(&random, 60)) {
            unsigned at = place(&sends);
            uint32_t length = sent * 97 % LARGEST;
            memset(sends.buffers[at], (int)(sent++ & 255), length);
            sends.requests[at] = sending(sends.buffers[at], length);
            if (submit(&sends.requests[at]) == PORT_PENDING)
                wait_in(&sends, at);
            else
                cr_assert_eq(sends.count, 0u, "overtook one that waits");
        }
        if (receives.count < PLACES && random_chance(&random, 50)) {
            unsigned at = place(&receives);
            receives.requests[at] = receiving(receives.buffers[at], LARGEST);
            if (submit(&receives.requests[at]) == PORT_PENDING) {
                wait_in(&receives, at);
            } else {
                cr_assert_eq(receives.count, 0u, "overtook one that waits");
                expect_received(&receives.requests[at]);
            }
        }
        flush();
        for (uint64_t i = random_below(&random, 3); i > 0; i--) {
            int64_t length = take(got);
            if (length < 0)
                break;
            cr_assert_eq(length, taken * 97 % LARGEST);
            for (int64_t k = 0; k < length; k++)
                cr_assert_eq(got[k], (uint8_t)taken);
            taken++;
        }
        memset(got, (int)(given & 255), given * 131 % LARGEST);
        if (random_chance(&random, 50) && give(got, given * 131 % LARGEST))
            given++;
    }
    cr_expect_gt(taken, 5000u);
    cr_expect_gt(received, 5000u);
}
